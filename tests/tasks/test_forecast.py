"""The time that is left, worked by hand."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from megatinybert.config.load import load_options
from megatinybert.config.task import TASK
from megatinybert.runtime.dist import World
from megatinybert.tasks.forecast import Measurement, Work, forecast, with_forecast, work_of_stages
from megatinybert.tracking.flops import forward_flops
from tests.helpers.encoded_rows import encoded_rows
from tests.helpers.toys import bert_config

WORK = {
    "teacher": Work(300.0, 9.0),
    "mlm": Work(300.0),
    "one": Work(100.0, 9.0),
    "two": Work(40.0, 10.0),
    "eval": Work(0.0, 3.0),
}
STAGES = ("teacher", "mlm", "augment", "one", "two", "eval")
UNCOUNTED = {"augment": ["augmentation"], "one": ["solving", "attention maps"], "two": ["solving"]}
# 10 steps take 20 s, a measurement 1 s.
MEASURED = (Measurement(0, 0.0, 1.0), Measurement(10, 20.0, 1.0))


def test_of_one_stage() -> None:
    assert (
        forecast("one", ["one"], 40, MEASURED, WORK, UNCOUNTED)
        == "stage one: about 63 s left, without attention maps, by the speed of the last 10 steps"
    )


@dataclass(frozen=True)
class ShortStage:
    """Of a stage, what a forecast asks."""

    max_steps: int
    measure: Any


def test_only_steps_count_and_not_what_lies_between_them(capsys: pytest.CaptureFixture[str]) -> None:
    """Such as drawing: 10 steps have taken 20 s, whatever the clock says."""
    stage = with_forecast(ShortStage(40, lambda *_: {}), "two", ["two"], WORK, UNCOUNTED)  # type: ignore[arg-type]
    world = World(0, 1, torch.device("cpu"))
    trainees: Any = SimpleNamespace(only=SimpleNamespace(global_steps=0), seconds=0.0)
    stage.measure(trainees, world)
    trainees.only.global_steps, trainees.seconds = 10, 20.0
    stage.measure(trainees, world)
    assert "stage two: about 60 s left, by the speed of the last 10 steps\n" in capsys.readouterr().err


def test_of_what_follows_by_its_operations() -> None:
    """40 steps of 2 s are 100 operations: 0.8 s each."""
    assert forecast("one", STAGES, 40, MEASURED, WORK, UNCOUNTED) == (
        "stage one: about 63 s left, without attention maps, by the speed of the last 10 steps; "
        "with the stages after it about 110 s, without attention maps and solving (one 63 s, two 40 s, "
        "eval 2.4 s: by the operations of each, at this stage's speed)"
    )


def test_what_no_operations_tell_is_left_out_and_said() -> None:
    said = forecast("teacher", STAGES, 40, MEASURED, WORK, UNCOUNTED)
    assert (
        ", without augmentation, solving and attention maps (teacher 63 s, mlm 80 s, one 29 s, two 13 s, eval 0.8 s:"
        in said
    )


def test_after_an_interruption() -> None:
    """The steps before do not count."""
    resumed = (Measurement(20, 10.0, 1.0), Measurement(30, 30.0, 1.0))
    assert (
        forecast("two", ["two"], 40, resumed, WORK, UNCOUNTED)
        == "stage two: about 21 s left, by the speed of the last 10 steps"
    )


def test_measurements_are_counted_with_all_that_they_run() -> None:
    """Of 40 steps that a teacher answers anew, most time is that of their measurements: 882 rows, longer ones, four
    times, and those of other stages, 256 of these, six times.
    """
    teacher, student = bert_config(layers=4), bert_config(layers=2, hidden=12)
    dev = {"dev": encoded_rows([20] * 872), "other": encoded_rows([30] * 10)}

    def passes(rows: int, length: int, *models: Any) -> int:
        return sum(forward_flops(model, model.num_hidden_layers, rows, length) for model in models)

    def work(cache: str) -> dict[str, Work]:
        given = ["--task.name", "sst-2", "--task.data_dir", "d", "--teacher.model", "t", "--student.config", "4L-312"]
        given += ["--two.teacher_cache", cache]
        steps = [word for name in ("finetune", "mlm", "one", "two") for word in (f"--{name}.max_steps", "40")]
        inputs: Any = SimpleNamespace(
            config=load_options([*given, *steps], TASK), dev=dev, teacher=teacher, student=student
        )
        return work_of_stages(inputs, encoded_rows([10] * 2000))

    def on_dev(*models: Any) -> int:
        return passes(872, 20, *models) + passes(10, 30, *models)

    rows, both = 40 * 32, (student, teacher)
    anew, once = work("never"), work("always")
    assert anew["teacher"] == (3 * passes(rows, 10, teacher), 4 * on_dev(teacher))
    assert anew["mlm"] == (3 * passes(rows, 10, teacher), 6 * passes(256, 20, teacher))
    taught = 3 * passes(rows, 10, student) + passes(rows, 10, teacher)
    assert anew["one"] == (taught, 6 * passes(256, 20, *both))
    assert anew["two"] == (taught, 4 * on_dev(*both))
    assert once["two"] == (
        3 * passes(rows, 10, student),
        4 * on_dev(student) + passes(2000, 10, teacher) + on_dev(teacher),
    )
    assert anew["eval"] == (0, on_dev(*both))
