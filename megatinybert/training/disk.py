"""Whether the output folder is writable and the disk has room."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from megatinybert.config.deepspeed import DeepSpeedSettings
from megatinybert.config.missing import nearest_existing, unusable_output
from megatinybert.config.schema import RunConfig
from megatinybert.runtime.counts import counted
from megatinybert.runtime.findings import Finding
from megatinybert.training.checkpoints.checkpoint import stays, steps_in


def check_output_folder(folder: Path) -> Finding | None:
    """A failure where nothing can be written to the output folder, or it cannot be made."""
    problem = unusable_output(folder)
    return Finding("fail", "output folder", problem) if problem else None


def check_room(folder: Path, run: RunConfig, saves: Sequence[int], members: Mapping[Path, int]) -> Finding:
    """Whether the checkpoints of a run in `folder` fit on the disk.

    saves: the steps of all that it saves, in order. members: bytes of one, by the member's folder.
    """
    one = sum(members.values())
    free = shutil.disk_usage(nearest_existing(folder)).free
    needed = sum(count * _more(run, saves, steps_in(member / "checkpoints")) for member, count in members.items())
    kept = f"{run.keep_checkpoints:,} {'is' if run.keep_checkpoints == 1 else 'are'} kept"
    stay = f", and those of every {counted(run.keep_every, 'step')}" if run.keep_every else ""
    text = f"a checkpoint takes {size(one)}, {kept}{stay}; {size(free)} are free"
    if free < one:
        return Finding(
            "fail", "disk", f"--run.output_dir {folder}: {text}: not enough for one; name a folder on another disk"
        )
    if free < needed:
        text = f"--run.output_dir {folder}: {text}; while one is written {size(needed)} more are needed: free some"
        fewer = "raise --run.keep_every" if run.keep_every else "lower --run.keep_checkpoints"
        return Finding("warn", "disk", f"{text}, or {fewer}")
    return Finding("ok", "disk", text)


def _more(run: RunConfig, saves: Sequence[int], there: Collection[int]) -> int:
    """How many checkpoints more than are there will be on the disk at once. saves, there: their steps, in order."""
    last = max(there, default=-1)
    steps = [*there, *(step for step in saves if step > last)]
    newest = run.keep_checkpoints + 1  # a new one is whole before the oldest goes
    at_last = len(steps[-newest:]) + sum(stays(step, run.keep_every) for step in steps[:-newest])
    return max(at_last - len(there), 1)


def not_saved(error: Exception, step: int, needed: int, folder: Path) -> str:
    """What to say of a checkpoint that could not be written. needed: its bytes."""
    return (
        f"the checkpoint of step {step:,} is not saved: {error}. {room(needed, folder)}. Training goes on, and the "
        "next one is tried as usual"
    )


def room(needed: int, folder: Path) -> str:
    """needed: bytes of what is to be written to the folder."""
    free = shutil.disk_usage(nearest_existing(folder)).free
    return f"It takes about {size(needed)}, and {size(free)} are free on the disk of {folder}"


def checkpoint_bytes(parameters: int, settings: DeepSpeedSettings, optimizer: str) -> int:
    """Bytes of a checkpoint of all ranks, but for a few thousand of names and shapes.

    Weights in the precision of training (stage 3 leaves them out), from stage 1 on also a float32 copy that the
    optimizer updates, and AdamW's two float32 means (Muon's single one of a matrix counts for two).
    """
    weights = 2 if settings.precision in ("bf16", "fp16") else 4
    master = 4 if settings.stage > 0 else 0
    means = 0 if optimizer == "sgd" else 8
    return parameters * ((weights if settings.stage < 3 else 0) + master + means)


def size(count: float) -> str:
    """A number of bytes for people, in powers of ten."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB"
