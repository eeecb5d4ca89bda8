"""The stopwatch tells the parts of a step apart, also those inside of one backward pass; functions timed in turn."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from megatinybert.runtime.stopwatch import Stopwatch, duration, median_seconds, seconds_in_turn

CPU = torch.device("cpu")


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("megatinybert.runtime.stopwatch.time", clock)
    return clock


class Slow(torch.autograd.Function):
    """The identity, taking its time in both directions."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, clock: Clock, forward: int, backward: int) -> Tensor:
        ctx.clock, ctx.backward_seconds = clock, backward
        clock.now += forward
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        ctx.clock.now += ctx.backward_seconds
        return gradient, None, None, None


def test_parts_are_means_over_steps(clock: Clock) -> None:
    watch = Stopwatch(CPU)
    for seconds in (1, 3):
        watch.start()
        for part in ("teacher", "student", "teacher"):
            clock.now += seconds
            watch.lap(part)
        clock.now += 100  # between two steps, which belongs to none
    assert watch.read() == {"teacher": 4.0, "student": 2.0}
    assert watch.read() == {}
    watch.start()
    clock.now += 5
    watch.lap("student")
    assert watch.read() == {"student": 5.0}, "a reading begins anew"


@pytest.mark.parametrize(("where", "student"), [("hidden", 0b100000011), ("queries", 0b100000001)])
def test_the_backward_pass_of_the_loss_is_told_from_that_of_what_it_was_computed_of(
    clock: Clock, where: str, student: int
) -> None:
    weight, projection = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    watch = Stopwatch(CPU)
    watch.start()
    clock.now += 0b100000000
    queries = Slow.apply(weight, clock, 0, 0b1)
    hidden = Slow.apply(queries * 2, clock, 0, 0b10)
    watch.lap("student")
    of = hidden if where == "hidden" else queries  # a loss may leave the last states out
    one, other = (Slow.apply(of, clock, 0b1000, seconds) for seconds in (0b100, 0b10000000))
    loss = (one * projection + other).sum()
    watch.lap("objective")
    watch.lap_at_gradient("objective", [queries, hidden])
    loss.backward()
    watch.lap("student")
    assert watch.read() == {"student": student, "objective": 0b10000 + 0b100 + 0b10000000}


@pytest.mark.gpu
def test_on_a_gpu_parts_are_time_of_the_device() -> None:
    device = torch.device("cuda")
    watch = Stopwatch(device)
    a = torch.rand(4096, 4096, device=device)
    a @ a  # which loads the library
    for _ in range(3):
        torch.cuda.synchronize()
        watch.start()
        began = time.perf_counter()
        for _ in range(30):
            a @ a
        watch.lap("many")
        a @ a
        watch.lap("one")
        queued = time.perf_counter() - began
    parts = watch.read()
    assert queued < parts["many"], "nobody waited for the device"
    assert 20 < parts["many"] / parts["one"] < 45


def costs(clock: Clock, order: list[str], name: str, *seconds: float) -> Callable[[], object]:
    """A function that takes these seconds, call by call."""
    left = list(seconds)

    def call() -> None:
        order.append(name)
        clock.now += left.pop(0)

    return call


def test_medians_are_of_turns_after_a_first_one(clock: Clock) -> None:
    order: list[str] = []
    candidates = {
        "torch": costs(clock, order, "torch", 90, 3, 1, 2),
        "apex": costs(clock, order, "apex", 0, 5, 5, 70),
    }
    assert median_seconds(candidates, CPU, rounds=3) == {"torch": 2, "apex": 5}
    assert order == ["torch", "apex"] * 4


def test_the_time_of_one_of_several_calls(clock: Clock) -> None:
    order: list[str] = []
    functions = {
        "one": costs(clock, order, "one", 7, 7, 7, 7, 1, 3, 2, 8),
        "other": costs(clock, order, "other", *[4] * 8),
    }
    found = seconds_in_turn(functions, CPU, rounds=2, warm_up=2, calls=2)
    assert found == {"one": [2, 5], "other": [4, 4]}
    assert order == ["one", "one", "other", "other"] * 4


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.5, "0.5 s"), (99, "99 s"), (300, "5 minutes"), (9000, "2.5 hours"), (864_000, "10 days")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(63.4, "63 s"), (320, "5.3 minutes"), (7100, "120 minutes")])
def test_durations_that_are_guessed(seconds: float, text: str) -> None:
    assert duration(seconds, digits=2) == text
