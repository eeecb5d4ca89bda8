"""The best weights of a run by one measurement, kept as an exported model beside its checkpoints."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from megatinybert.runtime.dist import World

_STATE = "best.json"


@dataclass(frozen=True)
class Best:
    """Keeps the weights at which the measurement `tag` was highest, the earlier ones among equals.

    folder: of the exported model; step and value are in its best.json, published with it. export: writes the weights as
    they are, with files of these names and texts, to a folder, in place of what stood there; every rank calls it. A
    continued run measures the same values again, so it comes to the same choice.
    """

    folder: Path
    tag: str
    export: Callable[[Path, Mapping[str, str]], None]
    world: World

    def consider(self, step: int, measurement: Mapping[str, float]) -> None:
        """Keep the present weights where they are the best so far. What is undefined (NaN) is below everything."""
        value = measurement[self.tag]
        known = self.world.first(self.state)  # other ranks could read what rank 0 is about to write
        if known is None or _rank(value) > _rank(known[1]):
            state = {"step": step, "measured": self.tag, "value": value if math.isfinite(value) else None}
            self.export(self.folder, {_STATE: json.dumps(state, indent=2) + "\n"})

    def forget(self) -> None:
        """Take away what is kept, for a run that begins anew. One rank calls it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def state(self) -> tuple[int, float | None] | None:
        """(step, value, None where it is undefined) of what is kept; None where nothing is."""
        file = self.folder / _STATE
        if not file.exists():
            return None
        state = json.loads(file.read_text(encoding="utf-8"))
        return state["step"], state["value"]


def _rank(value: float | None) -> float:
    return -math.inf if value is None or math.isnan(value) else value
