"""Stages of few steps are warned of, by the option that limits them."""

from __future__ import annotations

import pytest

from megatinybert.config.load import load_options
from megatinybert.config.task import TASK
from megatinybert.tasks.few_steps import few_steps, on_few_steps

GIVEN = ["--task.name", "custom", "--task.data_dir", "none", "--teacher.model", "none", "--student.config", "4L-312"]
STAGES = ("teacher", "mlm", "one", "two")


def told(given: str, rows: int, length: float = 20.0) -> list[str]:
    return few_steps(load_options([*GIVEN, *given.split()], TASK), STAGES, rows, length)


@pytest.mark.parametrize(
    ("rows", "length"), [(8551, 11), (3668, 53), (2490, 70), (5749, 31), (635, 37), (67349, 14), (160, 20)]
)
def test_the_tasks_of_glue_have_enough_by_default(rows: int, length: int) -> None:
    assert told("", rows, length) == []


def test_few_rows_are_told_with_the_passes_that_are_enough() -> None:
    (teacher, mlm, one, two) = told("", 60)
    what = "38 steps (20 passes over 60 rows) are few"
    assert teacher == f"stage teacher: {what}: --finetune.epochs 54 makes 102; more rows help, too"
    assert mlm == f"stage mlm: {what}: --mlm.epochs 54 makes 102; more rows help, too"
    assert [line.partition(" makes")[0] for line in (one, two)] == [
        f"stage {name}: {what}: --{name}.epochs 54" for name in ("one", "two")
    ]


def test_few_passes_over_long_rows_are_told_of_what_has_them() -> None:
    """The teacher sees every row once."""
    assert told("", 20_000, 500) == [
        f"stage {name}: 32 steps (0.051 passes over 20,000 rows) are few: --{name}.epochs 0.16 makes 100"
        for name in ("mlm", "one", "two")
    ]
    more = "more rows help, too"
    assert told("--finetune.epochs 1 --one.global_batch 256", 3000) == [
        f"stage teacher: 94 steps (1 pass over 3,000 rows) are few: --finetune.epochs 1.1 makes 104; {more}",
        f"stage one: 98 steps (8.4 passes over 3,000 rows) are few: --one.epochs 8.6 makes 101; {more}",
    ]


def test_steps_that_were_asked_for_are_told_once() -> None:
    quick = "--finetune.max_steps 40 --one.max_steps 40 --two.max_steps 40 --mlm.max_steps 100"
    assert told(quick, 60) == [
        "--finetune.max_steps 40, --one.max_steps 40, --two.max_steps 40: enough for a trial; below 100 steps a stage "
        "mostly learns little"
    ]
    assert told("--two.max_steps 1 --one.epochs 60 --finetune.epochs 60 --mlm.epochs 60", 60) == [
        "--two.max_steps 1: enough for a trial; below 100 steps a stage mostly learns little"
    ]


def test_how_many_rows_there_will_be_with_copies_is_not_known() -> None:
    assert [line.split(":")[0] for line in told("--augment.copies 2", 60)] == ["stage teacher", "stage mlm"]
    assert len(told("--augment.copies 2 --one.max_steps 5", 60)) == 3


def test_scores_of_stages_of_few_steps_are_told_to_say_little() -> None:
    stages = {"teacher": {"steps": 40}, "one": {"steps": 100}, "two": {"steps": 99}}
    assert on_few_steps(stages) == [
        "Stages of few steps (teacher 40, two 99; below 100 one mostly learns little): what a student keeps of its "
        "teacher then says little."
    ]
    assert on_few_steps({"one": {"steps": 100}}) == on_few_steps({}) == []
