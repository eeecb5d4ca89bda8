"""Checkpoints of students that train together: each has its own, of the same steps, as a run of its own would."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from megatinybert.config.family import students_in
from megatinybert.runtime.dist import World
from megatinybert.runtime.trainees import Trainees
from megatinybert.training import checkpoint
from megatinybert.training.stage import STUDENT, Facts, Family


def save_all(family: Family, trainees: Trainees, step: int, facts: Mapping[str, Facts], world: World) -> None:
    """Publish the state of all members after `step` steps, and only then remove earlier ones. Every rank calls it.

    facts: of each. Raises NotSaved where that of one cannot be written; none has one of this step then.
    """
    run = family.first.config.run
    saved: list[Path] = []
    try:
        for name, stage in family.members.items():
            one = Trainees({STUDENT: trainees[name]})
            checkpoint.save(stage.checkpoints, one, step, dict(facts[name]), world, keep=None)
            saved.append(stage.checkpoints / checkpoint.name_of(step))
    except checkpoint.NotSaved:
        if world.is_main:
            for path in saved:
                shutil.rmtree(path, ignore_errors=True)
        raise
    if world.is_main:
        for path in saved:
            checkpoint.prune(path.parent, path, run.keep_checkpoints, run.keep_every)
    world.barrier()


def where_all_continue(output: Path, resume: str, names: Sequence[str]) -> tuple[str, list[str]]:
    """(--run.resume of each member, with {name} for its name; a line about each newer step that is passed over).

    output: the family's folder. resume: --run.resume of the family; of one member's checkpoint, it means that step of
    all. names: of the members. Raises ValueError where the folder holds another family, or a run of one student, and
    where checkpoints of members are there, but no step that all have whole. It reads all files of the newest ones.
    """
    if resume not in ("auto", "never"):
        family = Path(resume).absolute().parents[2] if len(Path(resume).absolute().parents) > 2 else output
        return str(family / "{name}" / "checkpoints" / Path(resume).name), []
    steps = {name: checkpoint.steps_in(output / name / "checkpoints") for name in names}
    _check_same_members(output, names)
    if resume == "never" or not any(steps.values()):
        return resume, []
    passed_over: list[str] = []
    for step in sorted({step for own in steps.values() for step in own}, reverse=True):
        problems = {name: checkpoint.damage(own[step]) if step in own else "has none" for name, own in steps.items()}
        if not any(problems.values()):
            return str(output / "{name}" / "checkpoints" / checkpoint.name_of(step)), passed_over
        why = "; ".join(f"{name}: {problem}" for name, problem in problems.items() if problem)
        passed_over.append(f"not all students have a whole checkpoint of step {step:,} ({why})")
    raise ValueError(
        f"{output} holds checkpoints, but no step that all students have whole:\n  " + "\n  ".join(passed_over) + "\n"
        "choose another --run.output_dir for a new run, or name the students that have one and continue those"
    )


def check_one_student(output: Path) -> None:
    """Raise ValueError where a run of one student would start among the checkpoints of several."""
    names = students_in(output)
    if any(checkpoint.steps_in(output / name / "checkpoints") for name in names):
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
    began = any(checkpoint.steps_in(output / name / "checkpoints") for name in before)
    if began and sorted(before) != sorted(names):
        raise ValueError(
            f"--students: the run in {output} began with {', '.join(before)}, and now there are {', '.join(names)}: "
            "give the same ones to continue it, or choose another --run.output_dir"
        )
