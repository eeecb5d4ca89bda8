"""Atomic checkpoints, and the best weights of a run.

A checkpoint is written under a temporary name by all ranks; when all have finished, rank 0 records every file with its
size in state.json and renames the folder, which publishes it. DeepSpeed's own `latest` file is written before the other
ranks are done, so it is not used. Layout: checkpoints/step-00000100/{state.json, <trainee>/<DeepSpeed's files>}.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatinybert.runtime.differences import refuse_differences
from megatinybert.runtime.dist import World
from megatinybert.runtime.files import publish_folder, write_atomically
from megatinybert.runtime.trainees import Trainees

_STATE = "state.json"  # of a checkpoint
_BEST = "best.json"  # of the best weights


def save(folder: Path, trainees: Trainees, step: int, facts: dict[str, Any], world: World, keep: int) -> None:
    """Publish the state of `trainees` after `step` steps, and remove all but the newest `keep` checkpoints.

    facts: what a run that continues from here must have in common with this one (`check_facts`).
    """
    final = folder / f"step-{step:08d}"
    temporary = folder / f"{final.name}.tmp"
    if world.is_main:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    world.barrier()
    for name, engine in trainees.items():
        engine.save_checkpoint(str(temporary), tag=name, save_latest=False)
    world.barrier()
    if world.is_main:
        files = {str(path.relative_to(temporary)): path.stat().st_size for path in _files(temporary)}
        state = {"step": step, "facts": facts, "files": files}
        write_atomically(temporary / _STATE, json.dumps(state, indent=2, sort_keys=True))
        publish_folder(temporary, final)
        for old in sorted(_published(folder))[:-keep]:
            shutil.rmtree(old)
    world.barrier()


def newest(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest whole checkpoint of a run, or None; and a line about each newer one that is not whole."""
    passed_over: list[str] = []
    for path in sorted(_published(folder), reverse=True):
        problem = damage(path)
        if problem is None:
            return path, passed_over
        passed_over.append(f"{path} is not whole ({problem})")
    return None, passed_over


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint's files, or None where it is whole."""
    try:
        files = json.loads((path / _STATE).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError) as error:
        return f"{_STATE} cannot be read: {error}"
    for name, size in files.items():
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != size:
            return f"{name} has {file.stat().st_size:,} bytes, not {size:,}"
    return None


def read_state(path: Path) -> tuple[int, dict[str, Any]]:
    """(steps done, facts) of a checkpoint."""
    state = json.loads((path / _STATE).read_text(encoding="utf-8"))
    return state["step"], state["facts"]


def check_facts(path: Path, facts: dict[str, Any]) -> None:
    """Raise ValueError listing where this run differs from the one that wrote the checkpoint."""
    _, before = read_state(path)
    refuse_differences(
        f"{path} was written by another kind of run",
        before,
        facts,
        "set these back to continue it, or choose another --run.output_dir for a new run",
    )


def load(path: Path, trainees: Trainees) -> None:
    """Restore weights and optimizer state. The files are unpickled by DeepSpeed: load only checkpoints of your own."""
    for name, engine in trainees.items():
        loaded, _ = engine.load_checkpoint(str(path), tag=name)
        if loaded is None:
            raise ValueError(f"{path}: DeepSpeed found no state of {name} there")


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
            self.export(self.folder, {_BEST: json.dumps(state, indent=2) + "\n"})

    def forget(self) -> None:
        """Take away what is kept, for a new run. One rank calls it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def state(self) -> tuple[int, float | None] | None:
        """(step, value, None where it is undefined) of what is kept; None where nothing is."""
        file = self.folder / _BEST
        if not file.exists():
            return None
        state = json.loads(file.read_text(encoding="utf-8"))
        return state["step"], state["value"]


def _published(folder: Path) -> list[Path]:
    return [path for path in folder.glob("step-*") if path.is_dir() and path.suffix != ".tmp"]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _rank(value: float | None) -> float:
    return -math.inf if value is None or math.isnan(value) else value
