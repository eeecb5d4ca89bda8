"""A run in a soak (soak.py): started, watched, and kept from training by one fault after the other."""

from __future__ import annotations

import random
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from megatinybert.programs.launcher import STARTS
from tests.scripts.drawing import DRAW

WITH_FAULTS = 0.75  # share of a run's time after which the faults are over, so that none comes too late
SETTLED = 2.0  # seconds after which a run that has begun again says that it trains
LONGEST = 300.0  # seconds in which a run is to be back
GOES_ON = 3  # steps that rank 0 takes only if all others live


class Event(NamedTuple):
    """A fault. seconds: the longest time without a step since then. again: whether processes had to start again."""

    kind: str
    seconds: float
    again: bool


class Outcome(NamedTuple):
    """wall: seconds from the first step to the last. problems: what was not as it should be."""

    wall: float
    events: list[Event]
    problems: list[str]


class Soaked(ABC):
    """A run: its options, the folder where its ranks note their samples, seconds that each step waits.

    As a context it leaves no process behind.
    """

    def __init__(self, options: Sequence[str], drawn: Path, pause: float) -> None:
        self.options, self.drawn, self.pause = list(options), drawn, pause

    def __enter__(self) -> Soaked:
        self.drawn.mkdir()
        return self

    def __exit__(self, *of_error: object) -> None:
        self.remove()

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def goes_on(self, seconds: float) -> bool:
        """Wait: False where the run ends meanwhile."""

    @abstractmethod
    def ended(self) -> int:
        """The exit code of the run, which is ending, once nothing of it is left."""

    @abstractmethod
    def inflict(self, kind: str, choose: random.Random) -> list[str]:
        """Inflict a fault, and see that the run can go on: what was not as it should be."""

    @abstractmethod
    def remove(self) -> None:
        """End all that is left of it."""

    @property
    def output(self) -> Path:
        return Path(self.options[self.options.index("--run.output_dir") + 1])

    def log(self, part: str = "") -> Path:
        return self.drawn.with_name(f"{self.drawn.name}{part}.log")

    def variables(self, **more: str) -> dict[str, str]:
        """Of the environment of tests/scripts/drawing.py, as the front end of a run."""
        own = {"DRAWN": str(self.drawn), "PAUSE": str(self.pause), STARTS: "1"}
        return {**own, "TORCH_CPP_LOG_LEVEL": "ERROR", **more}  # it imports torch before the program can say so

    def run_to_end(self) -> None:
        """Undisturbed. Raises RuntimeError where it does not end well."""
        self.start()
        code = None if self.goes_on(LONGEST * 10) else self.ended()
        if code != 0:
            raise RuntimeError(f"the undisturbed run failed, exit code {code}: {self.drawn.parent}")

    def files(self) -> set[Path]:
        """One for each process that has been rank 0."""
        return set(self.drawn.glob("0-*.bin"))

    def times(self) -> NDArray[np.float64]:
        """When rank 0 began each step, in Unix time, ascending."""
        return np.unique(np.concatenate([np.fromfile(file, DRAW)["time"] for file in self.files()]))

    def newest(self) -> Path:
        return max((self.output / "checkpoints").glob("step-" + "[0-9]" * 8))


def drawn(kinds: Mapping[str, int], minutes: float, choose: random.Random) -> list[str]:
    """As many of each as in 30 minutes, in proportion, but one at the least, in an order by chance."""
    faults = [kind for kind, count in kinds.items() for _ in range(max(round(count * minutes / 30), 1))]
    choose.shuffle(faults)
    return faults


def inflict_all(run: Soaked, kinds: Sequence[str], seconds: float, choose: random.Random) -> Outcome:
    """Start the run, and inflict the faults in about so many seconds."""
    events: list[Event] = []
    problems: list[str] = []
    run.start()
    wait_for_step(run, set(), 0.0)
    began = time.monotonic()
    mean = 0.0  # seconds that a fault has cost so far
    for number, kind in enumerate(kinds):
        rest = (WITH_FAULTS * seconds - (time.monotonic() - began)) / (len(kinds) - number)
        if not run.goes_on(max(rest - mean, 0.0) * choose.uniform(0.5, 1.5) + 0.5):
            break
        known, at, last = run.files(), time.monotonic(), run.times()[-1]
        print(f"{at - began:7.1f} s: {kind}", file=sys.stderr, flush=True)
        problems += run.inflict(kind, choose)
        again = wait_for_step(run, known, time.time())
        times = run.times()
        events.append(Event(kind, float(np.diff(times[times >= last]).max(initial=0.0)), again))
        mean = (mean * number + time.monotonic() - at) / (number + 1)
    if len(events) < len(kinds):
        problems.append(f"the run ended after {len(events)} of {len(kinds)} faults")
    code = None if run.goes_on(LONGEST + 2 * seconds) else run.ended()
    if code != 0:
        problems.append(f"exit code {code} at the end: {run.drawn.parent}")
    return Outcome(float(np.ptp(run.times())), events, problems)


def wait_for_step(run: Soaked, known: set[Path], over: float) -> bool:
    """Until the run trains, or has ended: whether by other processes than those whose files are `known`.

    over: when the fault was, in Unix time.
    """
    until = time.monotonic() + LONGEST
    while not any(file.stat().st_size for file in run.files() - known):
        if known and np.count_nonzero(run.times() > over) >= GOES_ON:
            return False
        if not run.goes_on(0.05):
            if not run.files():
                raise RuntimeError(f"the run ended before its first step: {run.drawn.parent}")
            return True
        if time.monotonic() > until:
            raise RuntimeError(f"no step in {LONGEST:.0f} s: {run.drawn.parent}")
    return True
