"""The faults of a soak (soak.py) on one machine: which there are, and how they are inflicted on a run."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from megatinybert.programs.launcher import STOPPED
from tests.helpers.toys import environment
from tests.scripts.soak_run import LONGEST, SETTLED, Soaked

MARK = "MEGATINYBERT_SOAK"  # environment of all processes of a run
FULL_SECONDS = 5.0

# How often each kind is inflicted in 30 minutes.
FULL_DISK = "full disk"
FAULTS = {
    "SIGKILL of a rank": 22,
    "SIGKILL of the agent": 8,
    "SIGKILL of the front end": 8,
    "SIGTERM to the front end": 8,
    "file STOP": 6,
    FULL_DISK: 7,
    "newest checkpoint of zeros, SIGKILL of a rank": 4,
    "newest checkpoint cut short, SIGKILL of a rank": 4,
    "SIGSTOP of a rank": 3,
}
# Where each of them is followed by another number of ranks.
OTHER_RANKS = {"SIGKILL of the front end": 20, "SIGTERM to the front end": 20, "file STOP": 10}
# The exit codes of the front end after those that end it.
ENDS = {
    "SIGKILL of the agent": 1,
    "SIGKILL of the front end": -signal.SIGKILL,
    "SIGTERM to the front end": STOPPED,
    "file STOP": STOPPED,
}


class OneMachine(Soaked):
    """With --run.restarts; where the front end ends, the same command is started again, as a scheduler would.

    other_ranks: whether with another number of ranks, then.
    """

    def __init__(self, options: Sequence[str], drawn: Path, pause: float, other_ranks: bool = False) -> None:
        super().__init__(options, drawn, pause)
        self._ranks, self._other_ranks = 2, other_ranks
        self._front: subprocess.Popen[bytes]

    def start(self) -> None:
        more = {MARK: str(self.drawn), "DEEPSPEED_ARGS": f"--num_accelerators {self._ranks}", "DS_ACCELERATOR": "cpu"}
        with self.log().open("ab") as log:
            self._front = subprocess.Popen(
                [sys.executable, "tests/scripts/drawing.py", *self.options],
                env=environment(**self.variables(**more)),
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            )

    def goes_on(self, seconds: float) -> bool:
        try:
            self._front.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def ended(self) -> int:
        code = self._front.wait(LONGEST)
        until = time.monotonic() + LONGEST
        while left := self._left():
            if time.monotonic() > until:
                raise RuntimeError(f"{left} are left behind")
            time.sleep(0.1)
        return code

    def remove(self) -> None:
        while left := self._left():
            for process in left:
                with contextlib.suppress(psutil.Error):  # it has ended meanwhile
                    process.kill()

    def inflict(self, kind: str, choose: random.Random) -> list[str]:
        if kind == FULL_DISK:
            fill(self.output)
        elif kind == "file STOP":
            (self.output / "STOP").touch()
        elif kind == "SIGTERM to the front end":
            self._front.terminate()
        elif kind == "SIGKILL of the front end":
            self._front.kill()
        elif kind == "SIGKILL of the agent":
            self._agent().kill()
        elif kind == "SIGSTOP of a rank":
            time.sleep(SETTLED)
            choose.choice(self._rank_processes()).send_signal(signal.SIGSTOP)
        else:
            if "checkpoint" in kind:
                spoil(self.newest(), "zeros" in kind, choose)
            choose.choice(self._rank_processes()).kill()
        if kind not in ENDS:
            return []
        code = self.ended()
        if self._other_ranks:
            self._ranks = choose.choice([count for count in (1, 2, 3, 4) if count != self._ranks])
        self.start()
        return [] if code == ENDS[kind] else [f"exit code {code} after {kind}, not {ENDS[kind]}"]

    def _left(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == str(self.drawn) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def _agent(self) -> psutil.Process:
        return psutil.Process(self._front.pid).children()[0]

    def _rank_processes(self) -> list[psutil.Process]:
        """By rank."""
        servers = [child for child in self._agent().children() if "forkserver" in " ".join(child.cmdline())]
        return sorted((rank for server in servers for rank in server.children()), key=lambda rank: rank.pid)


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
