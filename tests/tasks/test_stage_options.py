"""Advice looks at the options that were given: it names those that count, and nothing that is done already."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from megatinybert.config.load import load_options
from megatinybert.config.task import TASK, TaskConfig, TaskTeacherConfig
from megatinybert.tasks.stage_options import better_student, facts_of_options, longer, measurements_of


def config(*more: str) -> TaskConfig:
    given = ["--task.name", "sst-2", "--task.data_dir", "d", "--teacher.model", "t", "--student.config", "3L-312"]
    return load_options([*given, *more], TASK)


@pytest.mark.parametrize(("steps", "measured"), [(0, 0), (1, 2), (9, 10), (25, 10), (300, 11)])
def test_a_stage_is_measured_at_both_ends_and_some_times_between(steps: int, measured: int) -> None:
    assert measurements_of(config(), "one", steps, 10) == measured
    assert measurements_of(config("--run.held_out_interval", "100"), "one", 250, 10) == 4  # at 0, 100, 200 and 250


@pytest.mark.parametrize(("rows", "measured"), [(320, 11), (321, 10), (800, 5), (1066, 4), (50_000, 4)])
def test_a_stage_measures_no_more_rows_than_it_trains_on_but_three_times(rows: int, measured: int) -> None:
    """Steps: 100 of 32 rows."""
    assert measurements_of(config(), "two", 100, rows) == measured
    assert measurements_of(config("--run.held_out_interval", "10"), "two", 100, rows) == 11


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((), "--finetune.epochs"),
        (("--finetune.epochs", "30"), "--finetune.epochs above 30"),
        (("--finetune.max_steps", "2000"), "--finetune.max_steps above 2,000"),
    ],
)
def test_a_stage_trains_longer_by_the_option_that_counts(given: tuple[str, ...], expected: str) -> None:
    assert longer(config(*given), "finetune") == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            ("--student.init", "random"),
            "Train it longer (--one.epochs, --two.epochs), train on more rows, or take better first weights "
            "(--student.init solved, or a general student).",
        ),
        (
            ("--student.init", "solved", "--one.epochs", "0", "--two.epochs", "5"),
            "Train it longer (--two.epochs above 5), train on more rows, or take better first weights "
            "(--student.init a general student).",
        ),
        (
            ("--student.init", "runs/first", "--one.max_steps", "7"),
            "Train it longer (--one.max_steps above 7, --two.epochs), or train on more rows.",
        ),
    ],
)
def test_a_students_advice_is_not_what_it_has_already(given: tuple[str, ...], expected: str) -> None:
    assert better_student(config(*given)) == expected


@pytest.mark.parametrize(("layers", "rates"), [(None, [None, 3e-4]), (12, [5e-5, 3e-4])])
def test_a_learning_rate_by_default_is_that_of_the_model_in_the_files(
    layers: int | None, rates: list[float | None], tmp_path: Path
) -> None:
    """Of a teacher that is no folder here nothing is said of it before it is opened."""
    if layers:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "num_hidden_layers": layers}))
    asked = config().model_copy(update={"teacher": TaskTeacherConfig(model=str(tmp_path))})
    facts = {**facts_of_options(asked, "teacher"), **facts_of_options(asked, "one")}
    assert [facts.get(f"--{section}.learning_rate") for section in ("finetune", "one")] == rates
    assert facts_of_options(asked, "teacher", 384)["--finetune.learning_rate"] == 1e-4
