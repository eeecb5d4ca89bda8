"""What to do about a run that has not reached its end."""

from __future__ import annotations

from pathlib import Path

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
