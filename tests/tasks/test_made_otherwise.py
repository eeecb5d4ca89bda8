"""Stages that were begun by other options are refused by a look at their checkpoints, with nothing opened."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from megatinybert.config.load import load_options
from megatinybert.config.task import TASK, TaskConfig
from megatinybert.runtime.dist import World
from megatinybert.runtime.trainees import Trainees
from megatinybert.tasks.made_otherwise import check_options_of_stages
from megatinybert.tasks.stage_options import facts_of_options, stage_folder
from megatinybert.training.checkpoint import save

BEGUN = {"two.max_steps": "30", "two.temperature": "1.0", "schedule.warmup_fraction": "0.1"}


def configuration(output: Path, **overrides: str) -> TaskConfig:
    given = {"task.name": "rte", "task.data_dir": "none", "teacher.model": "none", "student.init": "none"}
    values = given | {"run.output_dir": str(output)} | BEGUN | overrides
    return load_options([part for name, value in values.items() for part in (f"--{name}", value)], TASK)


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """The output folder of a task whose stage two has a checkpoint and no model yet."""
    facts = {**facts_of_options(configuration(tmp_path), "two"), "rows": "of which options alone say nothing"}
    world = World(0, 1, torch.device("cpu"))
    save(stage_folder(tmp_path, "two") / "checkpoints", Trainees({}), 12, facts, world, keep=1)
    return tmp_path


@pytest.mark.parametrize(
    ("option", "value", "line"),
    [
        ("two.temperature", "2.0", "--two.temperature: 1.0 there, 2.0 now"),
        ("two.max_steps", "20", r"steps \(by --two.max_steps or --two.epochs\): 30 there, 20 now"),
        ("schedule.warmup_fraction", "0.2", "--schedule.warmup_fraction: 0.1 there, 0.2 now"),
    ],
)
def test_other_options_are_told_by_their_names(begun: Path, option: str, value: str, line: str) -> None:
    other = configuration(begun, **{option: value})
    with pytest.raises(ValueError, match=f"step-00000012 was written by another kind of run:\n  {line}\nset these"):
        check_options_of_stages(other, ("one", "two"))
    check_options_of_stages(other, ("one", "predict"))  # which do not go on with stage two


def test_the_same_options_and_those_that_decide_nothing_are_accepted(begun: Path, tmp_path: Path) -> None:
    check_options_of_stages(configuration(begun), ("one", "two"))
    check_options_of_stages(configuration(begun, **{"two.micro_batch": "1", "one.max_steps": "7"}), ("one", "two"))
    check_options_of_stages(configuration(tmp_path / "new", **{"two.temperature": "2.0"}), ("one", "two"))
