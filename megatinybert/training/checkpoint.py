"""Checkpoints that are there whole or not at all.

A checkpoint is written under a temporary name by all ranks; when all have finished, rank 0 records every file with its
size in state.json and renames the folder, which publishes it. DeepSpeed's own `latest` file is written before the other
ranks are done, so it is not used. Layout: checkpoints/step-00000100/{state.json, <trainee>/<DeepSpeed's files>}.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepspeed.runtime.engine import DeepSpeedEngine

from megatinybert.runtime.differences import refuse_differences
from megatinybert.runtime.dist import World
from megatinybert.runtime.files import publish_folder, write_atomically

_STATE = "state.json"


def save(
    folder: Path, engines: Mapping[str, DeepSpeedEngine], step: int, facts: dict[str, Any], world: World, keep: int
) -> None:
    """Publish the state of `engines` after `step` steps, and remove all but the newest `keep` checkpoints.

    facts: what a run that continues from here must have in common with this one (`check_facts`).
    """
    final = folder / f"step-{step:08d}"
    temporary = folder / f"{final.name}.tmp"
    if world.is_main:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    world.barrier()
    for name, engine in engines.items():
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
        "set these back to continue it, or choose another --run.output_dir to start anew",
    )


def load(path: Path, engines: Mapping[str, DeepSpeedEngine]) -> None:
    """Restore weights and optimizer state. The files are unpickled by DeepSpeed: load only checkpoints of your own."""
    for name, engine in engines.items():
        loaded, _ = engine.load_checkpoint(str(path), tag=name)
        if loaded is None:
            raise ValueError(f"{path}: DeepSpeed found no state of {name} there")


def _published(folder: Path) -> list[Path]:
    return [path for path in folder.glob("step-*") if path.is_dir() and path.suffix != ".tmp"]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
