"""Checkpoints of students that train together: each has its own, of the same steps, as a run of its own would."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from megatinybert.config.missing import RESUME
from megatinybert.config.run_folder import students_in
from megatinybert.training.checkpoints import checkpoint


def where_all_continue(output: Path, resume: str, names: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """(--run.resume of each member; a line about each newer step that is passed over).

    output: the family's folder. resume: --run.resume of the family; of one member's checkpoint, it means that step of
    all. names: of the members. Raises ValueError where the folder holds another family, or a run of one student, and
    where checkpoints of members are there, but no step that all have whole. It reads all files of the newest ones.
    """
    if resume not in RESUME:
        parents = Path(resume).absolute().parents
        family = parents[2] if len(parents) > 2 else output
        return {name: str(_checkpoints(family, name) / Path(resume).name) for name in names}, []
    steps = {name: checkpoint.steps_in(_checkpoints(output, name)) for name in names}
    _check_same_members(output, names)
    if resume == "never" or not any(steps.values()):
        return dict.fromkeys(names, resume), []
    passed_over: list[str] = []
    for step in sorted({step for own in steps.values() for step in own}, reverse=True):
        paths = {name: _path(_checkpoints(output, name), step) for name in names}
        problems = {name: checkpoint.damage(path) if path else "has none" for name, path in paths.items()}
        if not any(problems.values()):
            return {name: str(path) for name, path in paths.items()}, passed_over
        why = "; ".join(f"{name}: {problem}" for name, problem in problems.items() if problem)
        passed_over.append(f"not all students have a whole checkpoint of step {step:,} ({why})")
    raise ValueError(
        f"{output} holds checkpoints, but no step that all students have whole:\n  " + "\n  ".join(passed_over) + "\n"
        "choose another --run.output_dir for a new run, or name the students that have one and continue those"
    )


def _checkpoints(output: Path, name: str) -> Path:
    return output / name / "checkpoints"


def _path(folder: Path, step: int) -> Path | None:
    """A member's checkpoint of a step; None where there is none.

    All are written before the first has its name, so one without it is whole where another member's has it: a run was
    killed between the two.
    """
    names = (checkpoint.name_of(step), checkpoint.name_of(step) + checkpoint.UNPUBLISHED)
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def check_one_student(output: Path) -> None:
    """Raise ValueError where a run of one student would start among the checkpoints of several."""
    names = students_in(output)
    if any(checkpoint.steps_in(_checkpoints(output, name)) for name in names):
        raise ValueError(
            f"--run.output_dir {output} holds a run of several students ({', '.join(names)}): give --students as that "
            "run did to continue it, or choose another folder"
        )


def _check_same_members(output: Path, names: Sequence[str]) -> None:
    if checkpoint.steps_in(output / "checkpoints"):
        raise ValueError(
            f"--run.output_dir {output} holds a run of one student: choose another folder for several, or leave out "
            "--students to continue it"
        )
    before = students_in(output)
    began = any(checkpoint.steps_in(_checkpoints(output, name)) for name in before)
    if began and sorted(before) != sorted(names):
        raise ValueError(
            f"--students: the run in {output} began with {', '.join(before)}, and now there are {', '.join(names)}: "
            "give the same ones to continue it, or choose another --run.output_dir"
        )
