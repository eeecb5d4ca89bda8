"""The faults of a soak (soak.py): which there are, and how they are inflicted on a run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]

from megatinybert.programs.launcher import STARTS, STOPPED
from tests.helpers.toys import environment
from tests.scripts.drawing import DRAW

MARK = "MEGATINYBERT_SOAK"  # environment of all processes of a run
FULL_SECONDS = 5.0
WITH_FAULTS = 0.75  # share of a run's time after which the faults are over, so that none comes too late
SETTLED = 2.0  # seconds after which a run that has begun again says that it trains
LONGEST = 300.0  # seconds in which a run is to be back


# How often each kind is inflicted in 30 minutes.
FAULTS = {
    "SIGKILL of a rank": 22,
    "SIGKILL of the agent": 8,
    "SIGKILL of the front end": 8,
    "SIGTERM to the front end": 8,
    "file STOP": 6,
    "full disk": 7,
    "newest checkpoint of zeros, SIGKILL of a rank": 4,
    "newest checkpoint cut short, SIGKILL of a rank": 4,
    "SIGSTOP of a rank": 3,
}
# In the other part, where each of them is followed by another number of ranks.
OTHER_RANKS = {"SIGKILL of the front end": 20, "SIGTERM to the front end": 20, "file STOP": 10}
# The exit codes of the front end after those that end it.
ENDS = {
    "SIGKILL of the agent": 1,
    "SIGKILL of the front end": -signal.SIGKILL,
    "SIGTERM to the front end": STOPPED,
    "file STOP": STOPPED,
}


def drawn(kinds: Mapping[str, int], minutes: float, choose: random.Random, disk: bool) -> list[str]:
    """As many of each in proportion, but one at the least, in an order by chance."""
    faults = [kind for kind, count in kinds.items() for _ in range(max(round(count * minutes / 30), 1))]
    faults = [kind for kind in faults if disk or kind != "full disk"]
    choose.shuffle(faults)
    return faults


@dataclass
class Event:
    """seconds: to the next step; None where no process had to start again."""

    kind: str
    seconds: float | None


@dataclass
class Soaked:
    """A run: its options, the folder where its ranks note their samples, seconds that each step waits."""

    name: str
    options: list[str]
    drawn: Path
    pause: float
    ranks: int = 2
    front: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def output(self) -> Path:
        return Path(self.options[self.options.index("--run.output_dir") + 1])

    @property
    def log(self) -> Path:
        return self.drawn.with_name(f"{self.drawn.name}.log")

    def start(self) -> None:
        self.drawn.mkdir(exist_ok=True)
        variables = {"DRAWN": str(self.drawn), "PAUSE": str(self.pause), MARK: str(self.drawn), STARTS: "1"}
        variables |= {"DS_ACCELERATOR": "cpu", "DEEPSPEED_ARGS": f"--num_accelerators {self.ranks}"}
        with self.log.open("ab") as log:
            self.front = subprocess.Popen(
                [sys.executable, "tests/scripts/drawing.py", *self.options],
                env=environment(**variables),
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            )

    def run_to_end(self) -> None:
        """Undisturbed. Raises RuntimeError where it does not end well."""
        self.start()
        assert self.front
        if self.front.wait() != 0:
            raise RuntimeError(f"the undisturbed run failed: {self.log}")

    def ended(self) -> int:
        """The exit code of the front end, once it has ended and nothing of it is left."""
        assert self.front
        code = self.front.wait(LONGEST)
        until = time.monotonic() + LONGEST
        while self.left():
            if time.monotonic() > until:
                raise RuntimeError(f"{self.left()} are left behind")
            time.sleep(0.1)
        return code

    def left(self) -> list[int]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == str(self.drawn) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process.pid)
            except psutil.Error:
                continue
        return found

    def agent(self) -> psutil.Process:
        assert self.front
        return psutil.Process(self.front.pid).children()[0]

    def rank_processes(self) -> list[psutil.Process]:
        """By rank."""
        servers = [child for child in self.agent().children() if "forkserver" in " ".join(child.cmdline())]
        return sorted((rank for server in servers for rank in server.children()), key=lambda rank: rank.pid)

    def files(self) -> set[Path]:
        """One for each process that has been rank 0."""
        return set(self.drawn.glob("0-*.bin"))

    def newest(self) -> Path:
        return max((self.output / "checkpoints").glob("step-" + "[0-9]" * 8))


def inflict(
    run: Soaked, kinds: list[str], seconds: float, choose: random.Random
) -> tuple[float, list[Event], list[str]]:
    """(seconds from the first step to the last, what was inflicted, what was not as it should be). seconds: to take."""
    events: list[Event] = []
    problems: list[str] = []
    known: set[Path] = set()
    run.start()
    wait_for_step(run, known)
    began = time.monotonic()
    mean = 0.0  # seconds that a fault has cost so far
    for number, kind in enumerate(kinds):
        rest = (WITH_FAULTS * seconds - (time.monotonic() - began)) / (len(kinds) - number)
        if not idle(run, max(rest - mean, 0.0) * choose.uniform(0.5, 1.5) + 0.5):
            break
        known, at = run.files(), time.monotonic()
        print(f"{at - began:7.1f} s: {kind}", file=sys.stderr, flush=True)
        goes_on = act(run, kind, choose, problems)
        if not goes_on:
            events.append(Event(kind, None))
            continue
        wait_for_step(run, known)
        events.append(Event(kind, time.monotonic() - at))
        mean = (mean * number + time.monotonic() - at) / (number + 1)
    if len(events) < len(kinds):
        problems.append(f"the run ended after {len(events)} of {len(kinds)} faults")
    code = run.ended() if idle(run, LONGEST + 2 * seconds) is False else None
    if code != 0:
        problems.append(f"exit code {code} at the end: {run.log}")
    times = np.concatenate([np.fromfile(file, DRAW)["time"] for file in run.files()])
    return float(np.ptp(times)), events, problems


def act(run: Soaked, kind: str, choose: random.Random, problems: list[str]) -> bool:
    """Inflict a fault, and start the run again where it ends the front end: whether processes begin anew."""
    assert run.front
    if kind == "full disk":
        fill(run.output)
        return False
    if kind == "file STOP":
        (run.output / "STOP").touch()
    elif kind == "SIGTERM to the front end":
        run.front.terminate()
    elif kind == "SIGKILL of the front end":
        run.front.kill()
    elif kind == "SIGKILL of the agent":
        run.agent().kill()
    elif kind == "SIGSTOP of a rank":
        time.sleep(SETTLED)
        choose.choice(run.rank_processes()).send_signal(signal.SIGSTOP)
    else:
        if "checkpoint" in kind:
            spoil(run.newest(), "zeros" in kind, choose)
        choose.choice(run.rank_processes()).kill()
    if kind in ENDS:
        code = run.ended()
        if code != ENDS[kind]:
            problems.append(f"exit code {code} after {kind}, not {ENDS[kind]}")
        if run.name == "other ranks":
            run.ranks = choose.choice([count for count in (1, 2, 3, 4) if count != run.ranks])
        run.start()
    return True


def spoil(checkpoint: Path, zeros: bool, choose: random.Random) -> None:
    file = choose.choice(sorted(checkpoint.rglob("*.pt")))
    size = file.stat().st_size
    if zeros:
        with file.open("r+b") as out:
            out.seek(size // 2)
            out.write(bytes(min(4096, size - size // 2)))
    else:
        os.truncate(file, size // 2)


def fill(folder: Path) -> None:
    """Fill the disk of the folder, wait, and free it."""
    ballast = folder.parent / "ballast"
    try:
        with ballast.open("wb", buffering=0) as out:
            while True:
                out.write(bytes(1 << 16))
    except OSError:
        pass
    time.sleep(FULL_SECONDS)
    ballast.unlink()


def idle(run: Soaked, seconds: float) -> bool:
    """Wait: False where the run ends meanwhile."""
    assert run.front
    try:
        run.front.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def wait_for_step(run: Soaked, known: set[Path]) -> None:
    """Until a process that was not there before has begun a step, or the run has ended."""
    until = time.monotonic() + LONGEST
    while not any(file.stat().st_size for file in run.files() - known):
        if not idle(run, 0.02):
            return
        if time.monotonic() > until:
            raise RuntimeError(f"no step in {LONGEST:.0f} s: {run.log}")
