"""Whether the output folder is writable and the disk has room."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from megatinybert.config.deepspeed import DeepSpeedSettings
from megatinybert.config.missing import nearest_existing, unusable_output
from megatinybert.runtime.findings import Finding


def check_output_folder(folder: Path) -> Finding | None:
    """A failure where nothing can be written to the output folder, or it cannot be made."""
    problem = unusable_output(folder)
    return Finding("fail", "output folder", problem) if problem else None


def check_room(folder: Path, keep: int, members: Mapping[Path, int]) -> Finding:
    """Whether the checkpoints of a run in `folder` fit on the disk. members: bytes of one, by the member's folder."""
    one = sum(members.values())
    free = shutil.disk_usage(nearest_existing(folder)).free
    # A new checkpoint is whole before the oldest goes. Those that are there need no more room.
    there = {member: len(list((member / "checkpoints").glob("step-*"))) for member in members}
    needed = sum(count * max(keep + 1 - there[member], 1) for member, count in members.items())
    text = f"a checkpoint takes {size(one)}, {keep} are kept; {size(free)} are free"
    if free < one:
        return Finding(
            "fail", "disk", f"--run.output_dir {folder}: {text}: not enough for one; name a folder on another disk"
        )
    if free < needed:
        text = f"--run.output_dir {folder}: {text}; while one is written {size(needed)} more are needed: free some"
        return Finding("warn", "disk", f"{text}, or lower --run.keep_checkpoints")
    return Finding("ok", "disk", text)


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
