"""Early ends of a run: a signal, a file STOP or the time limit, at the same step on all ranks."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import psutil  # type: ignore[import-untyped]
import torch

from megatinybert.config.duration import duration_seconds
from megatinybert.runtime.dist import World
from megatinybert.runtime.rendezvous import AGENT
from megatinybert.runtime.signals import ONE_SIGNAL, STOP_SIGNALS

STOP = "STOP"  # the file in the output folder
_LARGEST_RESERVE = 60.0  # seconds of the time limit that are kept for leaving


class Stopped(Exception):
    """The run has ended early, at a step boundary; what it says is for the person. All ranks raise it."""

    raised_by_all_ranks = True  # see dist.is_raised_by_all


class Requests:
    """Requests to stop, of any rank.

    folder: which may hold the file STOP. time_limit: seconds from the start of the process, or of the agent that starts
    it again after a fault; rank 0 keeps to it. saving: seconds that a save takes beside training, and thus not between
    two steps.
    """

    def __init__(self, folder: Path, time_limit: float | None, world: World) -> None:
        self._file, self._world = folder / STOP, world
        self._asked = False
        self._interrupted: float | None = None
        self._before = torch.zeros((), device=world.device)
        self._ends = None if time_limit is None else _began() + time_limit
        self._reserve = 0.0 if time_limit is None else min(_LARGEST_RESERVE, time_limit * 0.05)
        self._boundary, self._longest, self.saving = time.time(), 0.0, 0.0

    def agreed(self) -> bool:
        """Whether all ranks stop here. Every rank calls it after each step.

        With several ranks, what one asks after a step counts after the next: the sum over ranks is then there already,
        so that the host waits neither for the others nor for the device.
        """
        asked = self._asked_here() or (self._world.is_main and self._out_of_time())
        if self._world.size == 1:
            return asked
        before, self._before = self._before, self._world.sum(torch.full((), float(asked), device=self._world.device))
        return bool(before)

    def came_late(self) -> bool:
        """Whether any rank was asked when no step was left to stop before; a file STOP is removed. Every rank calls it
        after the last step.
        """
        late = any(self._world.gather(self._asked_here()))
        if late:
            self.forget()
        return late

    def forget(self) -> None:
        """Remove the file STOP, on rank 0, so that the run can be continued."""
        if self._world.is_main:
            self._file.unlink(missing_ok=True)

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """A second SIGINT ends the process at once."""
        now = time.monotonic()
        if number == signal.SIGINT:
            if self._interrupted is None:
                self._interrupted = now
                if self._world.is_main:
                    os.write(2, b"\nstopping after this step, with a checkpoint; Ctrl-C once more ends at once\n")
            elif now - self._interrupted > ONE_SIGNAL:
                os._exit(130)
        self._asked = True

    def _asked_here(self) -> bool:
        """By a signal to this rank, or the file STOP, at which rank 0 looks."""
        return self._asked or (self._world.is_main and self._file.exists())

    def _out_of_time(self) -> bool:
        """Whether another two steps, with all that was ever done between two, may not fit into the time limit.

        Then the save that is under way is waited for, and a last one follows.
        """
        now = time.time()
        self._boundary, self._longest = now, max(self._longest, now - self._boundary)
        return self._ends is not None and now + 2 * (self._longest + self.saving) + self._reserve > self._ends


@contextlib.contextmanager
def interrupted_as(text: str) -> Iterator[None]:
    """Where Ctrl-C or a signal interrupts what is inside, have the program say `text` before it ends."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise _saying(text, error) from None


@contextlib.contextmanager
def before_a_step(name: str, done: int, is_saved: Callable[[], bool]) -> Iterator[None]:
    """The same of what precedes the first step of a run. name: what trains. done: the steps before it. is_saved:
    whether there is a checkpoint of these, asked where it is interrupted.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        anew = "nothing of it was saved: the same command begins it anew"
        left = f"the same command continues from step {done:,}" if is_saved() else anew
        raise _saying(f"{name}: stopped before step {done + 1:,}; {left}", error) from None


def _saying(text: str, interrupt: KeyboardInterrupt) -> KeyboardInterrupt:
    """What is said further inside says more."""
    return KeyboardInterrupt(*(interrupt.args or (text,)))


def _began() -> float:
    return float(os.environ.get(AGENT) or psutil.Process().create_time())


@contextlib.contextmanager
def listening(folder: Path, time_limit: str | None, world: World) -> Iterator[Requests]:
    """Take SIGTERM, SIGUSR1 (Slurm's early warning), SIGINT and SIGHUP (a closed terminal) as requests inside. See
    `Requests`. What is ignored stays so, as SIGHUP under nohup.

    time_limit: as in --run.time_limit.
    """
    requests = Requests(folder, None if time_limit is None else duration_seconds(time_limit), world)
    if threading.current_thread() is not threading.main_thread():  # which alone can take signals
        yield requests
        return
    taken = [number for number in STOP_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, requests.on_signal) for number in taken}
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
