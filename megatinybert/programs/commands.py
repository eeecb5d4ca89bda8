"""Commands that a person is told to go on with, by the programs of the environment that we run in."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

from megatinybert.config.shipped import from_here


def tensorboard_of(events: Path) -> str:
    """What shows in TensorBoard what is written in and below a folder."""
    return f"{_program('tensorboard')} --logdir {events}"


def module_with(name: str, *arguments: str) -> str:
    """What runs a module of this package, in an environment that is activated or not."""
    return shlex.join([_program("python"), "-m", f"megatinybert.{name}", *arguments])


def _program(name: str) -> str:
    """As short as it can be called by from the working directory."""
    program = Path(sys.prefix) / "bin" / name
    is_first = shutil.which(name) == str(program)  # in an environment that is activated
    if is_first or sys.prefix == sys.base_prefix or not program.is_file():
        return name
    return str(from_here(program))
