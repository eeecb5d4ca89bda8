"""The command that opens TensorBoard."""

from __future__ import annotations

import sys
from pathlib import Path


def tensorboard_of(events: Path) -> str:
    """The command that shows what is written in and below a folder, with the program of the environment we run in."""
    program = Path(sys.prefix) / "bin" / "tensorboard"
    if sys.prefix == sys.base_prefix or not program.is_file():
        return f"tensorboard --logdir {events}"
    inside = program.is_relative_to(Path.cwd())
    return f"{program.relative_to(Path.cwd()) if inside else program} --logdir {events}"
