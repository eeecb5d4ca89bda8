"""What is doubtful of a command is told before its first stage."""

from __future__ import annotations

from pathlib import Path

from megatinybert.runtime.dist import World
from megatinybert.runtime.findings import Findings
from megatinybert.task import read_arguments
from megatinybert.tasks.inputs import TaskInputs, open_inputs
from megatinybert.tasks.plan import doubts_about
from tests.helpers.task_toys import options

STAGES = ("teacher", "mlm", "augment", "one", "two", "eval")


def opened(inputs: Path, output: Path, world: World, **changes: object) -> TaskInputs:
    found = open_inputs(read_arguments(["all", *options(inputs, "singles", output, **changes)])[1], world, Findings())
    assert found is not None
    return found


def test_stages_of_few_steps_are_told_unless_they_are_done(
    task_inputs: Path, done_task: Path, world: World, tmp_path: Path
) -> None:
    given: dict[str, object] = {"finetune.max_steps": None, "predict.input": "new.txt"}
    idle, asked, teacher = doubts_about("all", opened(task_inputs, tmp_path, world, **given), STAGES, 48)
    assert idle == "--predict.input: no effect on the action all"
    assert asked.startswith("--mlm.max_steps 30, --one.max_steps 30, --two.max_steps 30: ")
    assert teacher.startswith("stage teacher: 60 steps (20 passes over 48 rows) are few: --finetune.epochs 34 ")
    assert doubts_about("all", opened(task_inputs, done_task, world), STAGES, 48) == []
    assert doubts_about("predict", opened(task_inputs, tmp_path, world, **given), ("predict",), 0) == []


def test_how_long_rows_are_is_looked_at(task_inputs: Path, world: World, tmp_path: Path) -> None:
    """Of rows as long as --task.max_length allows there would be 98 steps."""
    given: dict[str, object] = {"task.max_length": 64, "two.max_steps": None, "two.global_batch": 80}
    longest = opened(task_inputs, tmp_path, world, **given)
    assert doubts_about("two", longest, ("two",), 48_000) == []
