"""What the output folder of a run says of itself, by a look at its files alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

STUDENT_FOLDER = "student"  # in the output folder, of what was exported
LOCK = ".lock"  # in the output folder; the file stays when the run has ended


def is_run(folder: Path) -> bool:
    """Whether a folder is the output of a run, rather than a model."""
    return os.path.isfile(folder / "config.yaml") and not os.path.isfile(folder / "config.json")


def model_of(name: str) -> str:
    """The student of a run by the name of its output folder; other names as they are."""
    return str(Path(name) / STUDENT_FOLDER) if is_run(Path(name)) else name


def is_begun(folder: Path) -> bool:
    """Whether a folder has been the output of a run: before its first step it holds no more than the lock."""
    return os.path.isfile(folder / LOCK) or is_run(folder)


def students_in(output: Path) -> list[str]:
    """The names of the students of the run that has this folder; [] of none, or of a run of one student."""
    recipe = output / "config.yaml"
    if not recipe.is_file():
        return []
    content: Any = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    students = content.get("students") if isinstance(content, dict) else None
    return [student["name"] for student in students or []]


def several_students(output: Path) -> str:
    """What to say of this folder where one student's is needed; "" of a run of one student, and of no run."""
    folders = ", ".join(str(output / name) for name in students_in(output))
    return f"holds several students: name the folder of one of them ({folders})" if folders else ""
