"""What cannot be had of a teacher that is partitioned over the ranks."""

from __future__ import annotations

from collections.abc import Iterable

from megatinybert.config.schema import Quantize

OPTION = "--teacher.deepspeed"


def refuse_whole_teacher(inits: Iterable[str], quantize: Quantize, compiled: str) -> None:
    """Raise ValueError for options that need all of a teacher's weights in one place.

    inits: --student.init of all students. compiled: --run.compile.
    """
    problems = []
    if "solved" in inits:
        problems.append(
            "--student.init solved reads the teacher's weights layer by layer on every rank, and is the default: take "
            "random, a model folder, or the output folder of a run whose student was solved without this option, which "
            "--run.max_steps 1 and DS_ACCELERATOR=cpu are enough for"
        )
    if "teacher" in inits:
        problems.append("--student.init teacher reads the whole teacher on every rank: take random or a model folder")
    if quantize != "none":
        problems.append(f"--teacher.quantize {quantize} needs whole weights: leave it out")
    if compiled == "always":
        problems.append("--run.compile always: a teacher in parts is not compiled; take auto or never")
    if problems:
        raise ValueError("\n  ".join([f"{OPTION} partitions the teacher over the ranks, so", *problems]))
