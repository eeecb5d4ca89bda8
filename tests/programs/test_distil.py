"""What forbids to continue a run is told before its models and text are opened."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from megatinybert.config.load import load_config
from megatinybert.programs.distil import refused_early
from megatinybert.runtime.dist import World
from megatinybert.runtime.trainees import Trainees
from megatinybert.training.checkpoints.checkpoint import save
from tests.helpers.messages import assert_says
from tests.helpers.toys import write_teacher


@pytest.mark.parametrize(("asked", "refused"), [("4L-312", False), ("3L-312", True)])
def test_another_shape_than_the_checkpoints(tmp_path: Path, asked: str, refused: bool) -> None:
    shape = {"student layers, width, heads, intermediate": [4, 312, 12, 1200]}
    save(tmp_path / "run" / "checkpoints", Trainees({}), 12, shape, World(0, 1, torch.device("cpu")), keep=1)
    given = {
        "teacher.model": write_teacher(tmp_path / "teacher"),
        "data.shards": tmp_path / "none",  # which nothing opens
        "student.config": asked,
        "run.output_dir": tmp_path / "run",
    }
    said = refused_early(load_config([word for name, value in given.items() for word in (f"--{name}", str(value))]))
    told = [line for text in said for line in text.splitlines() if "student layers" in line]
    assert bool(told) == refused
    if refused:
        assert_says(told[0], "[4, 312, 12, 1200] there, [3, 312, 12, 1200] now")
