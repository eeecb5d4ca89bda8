"""Which checkpoint a run continues, by a look at the disk alone. No torch is imported here."""

from __future__ import annotations

from pathlib import Path

from megatinybert.config.missing import RESUME
from megatinybert.config.schema import OpenRunConfig
from megatinybert.training.checkpoints import checkpoint


def find_checkpoint(run: OpenRunConfig, checksums: bool = True) -> tuple[Path | None, list[str]]:
    """(the checkpoint that --run.resume means, None where there is no whole one; what is wrong with others).

    checksums: whether files are read to see that they are whole (`checkpoint.damage`).
    """
    if run.resume in RESUME:
        return checkpoint.newest(checkpoints_of(run), checksums)
    problem = checkpoint.damage(Path(run.resume), checksums)
    return (None, [problem]) if problem else (Path(run.resume), [])


def checkpoints_of(run: OpenRunConfig) -> Path:
    return Path(run.output_dir) / "checkpoints"


def newest_of(run: OpenRunConfig) -> Path | None:
    """The newest checkpoint of the output folder, whatever --run.resume says, by a quick look."""
    return checkpoint.newest(checkpoints_of(run), checksums=False)[0]
