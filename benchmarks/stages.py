"""Where the time of a step goes: stand-ins for teacher and engine that wait after each stage."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from deepspeed.runtime.engine import DeepSpeedEngine
from torch import Tensor

from benchmarks.measure import seconds_of
from megatinybert.capture import Features
from megatinybert.models import Teacher


class StageClock:
    """Adds up the seconds of each stage."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._device = device

    def time(self, stage: str, function: Callable[..., Any], *arguments: object) -> Any:
        """Call the function, and give back what it gives."""
        results = []
        self.seconds[stage] += seconds_of(lambda: results.append(function(*arguments)), self._device)
        return results[0]


class StagedTeacher:
    """A teacher whose passes are timed."""

    def __init__(self, teacher: Teacher, clock: StageClock) -> None:
        self._teacher, self._clock = teacher, clock

    def features(self, batch: dict[str, Tensor]) -> Features:
        return self._clock.time("teacher", self._teacher.features, batch)


class StagedEngine:
    """An engine whose forward, backward and optimizer step are timed; all else is the engine's own."""

    def __init__(self, engine: DeepSpeedEngine, clock: StageClock) -> None:
        self._engine, self._clock = engine, clock

    def __call__(self, *arguments: object) -> Any:
        return self._clock.time("forward", self._engine, *arguments)

    def backward(self, loss: Tensor) -> Any:
        return self._clock.time("backward", self._engine.backward, loss)

    def step(self) -> Any:
        return self._clock.time("optimizer", self._engine.step)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)
