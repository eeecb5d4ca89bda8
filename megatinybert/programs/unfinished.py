"""What to do about a run that has not reached its end."""

from __future__ import annotations

from pathlib import Path

from megatinybert.config.missing import meant_beside
from megatinybert.config.run_folder import is_begun, is_run
from megatinybert.config.schema import ConfigError
from megatinybert.training.lock import check_unlocked


def check_student(run: Path) -> None:
    """Raise ValueError where the run in this folder has left no student yet."""
    if not (run / "student" / "config.json").is_file():
        raise ValueError(f"{run} is unfinished: it holds no student/. {run_again(run)}")


def run_again(run: Path) -> str:
    """What the same training command does next in the folder `run`, for a message. Imports no torch."""
    try:
        check_unlocked(run)
    except ConfigError as held:
        return f"A run is going on: {held}."
    if any((run / "checkpoints").glob("step-*/state.json")):
        return "Run the same training command again: it continues from the newest checkpoint."
    return "There is no checkpoint to continue from: the same training command starts anew."


def not_a_run(folder: Path, file: str, kind: str = "a run") -> str:
    """What a folder is that lacks a file which every run writes at its first step. Imports no torch."""
    if not folder.is_dir():
        return f"{folder}: no such folder{meant_beside(folder)}"
    if is_begun(folder):
        return f"{folder} is of a run that has not made its first step: it holds no {file}. {run_again(folder)}"
    if is_run(folder.parent):
        return f"{folder} is in the output folder of a run: name {folder.parent}"
    return f"{folder} is not the output folder of {kind}: it holds no {file}. That is what --run.output_dir named"
