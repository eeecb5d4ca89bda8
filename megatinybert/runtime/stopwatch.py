"""Where a step's time goes, without waiting for the device."""

from __future__ import annotations

import functools
import itertools
import math
import statistics
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

Moment = torch.cuda.Event | float
Laps = list[tuple[str, Moment]]  # a part of the step, and the moment it ended; the first one is the start


class Stopwatch:
    """Splits steps into parts. On CUDA a moment is an event in the stream, on a CPU it is the clock's time.

    On CUDA the parts are time of the device, in which it may have waited for the host; together they are the step
    either way. One part may have several laps: of each micro batch, or forward and backward.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._unread: deque[Laps] = deque()
        self._seconds: dict[str, float] = defaultdict(float)
        self._steps = 0

    def start(self) -> None:
        """Begin a step."""
        # What the device is through with is added up here, so that unread events stay few.
        while self._unread and self._is_over(self._unread[0]):
            self._add_up(self._unread.popleft())
        self._unread.append([("", self._now())])

    def lap(self, part: str) -> None:
        """Count the time since the lap before as time of `part`."""
        self._unread[-1].append((part, self._now()))

    def lap_at_gradient(self, part: str, tensors: Sequence[Tensor]) -> None:
        """End a lap of `part` in the backward pass, as soon as a gradient has come back to one of `tensors`.

        Autograd takes the operations in the reverse of the order in which they were made. So where `tensors` are what
        a loss was computed of, all of the loss's backward is before that moment, and all of theirs after it.
        """
        torch.autograd.graph.register_multi_grad_hook(tensors, lambda _: self.lap(part), mode="any")

    def read(self) -> dict[str, float]:
        """Seconds of each part in a step, mean over the steps since the last reading. Waits for the device."""
        while self._unread:
            laps = self._unread.popleft()
            _, end = laps[-1]
            if isinstance(end, torch.cuda.Event):
                end.synchronize()
            self._add_up(laps)
        means = {part: seconds / self._steps for part, seconds in self._seconds.items()}
        self._seconds.clear()
        self._steps = 0
        return means

    def _now(self) -> Moment:
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _is_over(self, laps: Laps) -> bool:
        _, end = laps[-1]
        return isinstance(end, float) or end.query()

    def _add_up(self, laps: Laps) -> None:
        for (_, begin), (part, end) in itertools.pairwise(laps):
            self._seconds[part] += _between(begin, end)
        self._steps += 1


def _between(begin: Moment, end: Moment) -> float:
    if isinstance(begin, float) or isinstance(end, float):
        return float(end) - float(begin)  # type: ignore[arg-type]
    return begin.elapsed_time(end) / 1000  # which is in milliseconds


def seconds_of(function: Callable[[], object], device: torch.device) -> float:
    """Seconds from an idle device to an idle device."""
    synchronize(device)
    start = time.perf_counter()
    function()
    synchronize(device)
    return time.perf_counter() - start


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_in_turn(
    functions: Mapping[str, Callable[[], object]], device: torch.device, rounds: int, warm_up: int = 1, calls: int = 1
) -> dict[str, list[float]]:
    """Seconds of one call of each function, in each round, from an idle device to an idle device.

    The functions take turns, so that whatever else the machine does meanwhile falls on all of them. warm_up: rounds
    before the others that do not count. calls: in a row, timed together, of functions that are too short to time one.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(warm_up + rounds):
        for name, function in functions.items():
            seconds[name].append(seconds_of(functools.partial(_repeat, function, calls), device) / calls)
    return {name: values[warm_up:] for name, values in seconds.items()}


def _repeat(function: Callable[[], object], times: int) -> None:
    for _ in range(times):
        function()


def median_seconds(
    functions: Mapping[str, Callable[[], object]], device: torch.device, rounds: int, warm_up: int = 1, calls: int = 1
) -> dict[str, float]:
    """The median over the rounds of `seconds_in_turn`."""
    seconds = seconds_in_turn(functions, device, rounds, warm_up, calls)
    return {name: statistics.median(values) for name, values in seconds.items()}


def duration(seconds: float, digits: int = 3) -> str:
    """A time for people."""
    units = ((120, 1, "s"), (7200, 60, "minutes"), (172_800, 3600, "hours"), (math.inf, 86_400, "days"))
    unit, name = next((unit, name) for limit, unit, name in units if seconds < limit)
    return f"{float(f'{seconds / unit:.{digits}g}'):.{digits + 2}g} {name}"
