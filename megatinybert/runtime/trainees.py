"""The students in training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepspeed.runtime.engine import DeepSpeedEngine


class Trainees(Mapping[str, "DeepSpeedEngine"]):
    """The students by name, each with its objective in an engine of its own (`engine.module` is a `Trainee`).

    seconds: what their steps have taken in this process, without what lies between steps.
    """

    def __init__(self, engines: Mapping[str, DeepSpeedEngine]) -> None:
        self._engines = dict(engines)
        self.seconds = 0.0

    def __getitem__(self, name: str) -> DeepSpeedEngine:
        return self._engines[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._engines)

    def __len__(self) -> int:
        return len(self._engines)

    @property
    def only(self) -> DeepSpeedEngine:
        """The engine of a run that has one student."""
        (engine,) = self._engines.values()
        return engine

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Without dropout inside; in training mode again after it."""
        for engine in self._engines.values():
            engine.eval()
        yield
        for engine in self._engines.values():
            engine.train()

    def destroy(self) -> None:
        """Give back what DeepSpeed holds of them."""
        for engine in self._engines.values():
            engine.destroy()
