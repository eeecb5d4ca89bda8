"""Batches whose loss or gradient is not finite are left out, as often as is allowed, and written down."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from megatinybert.config.load import load_config
from megatinybert.models.capture import Features, Wanted
from megatinybert.programs.distil import distil
from megatinybert.runtime.dist import World
from megatinybert.training.checkpoints import checkpoint
from megatinybert.training.finite import NonFiniteLoss
from megatinybert.training.step import StepResult, train_step
from tests.helpers.processes import exit_codes, start_ranks
from tests.helpers.toys import metrics, recipe

Step = Callable[..., dict[str, StepResult]]


class Poisoned:
    """A teacher whose hidden states are not numbers."""

    def __init__(self, teacher: Any) -> None:
        self._teacher = teacher

    def features(self, batch: dict[str, torch.Tensor], wanted: Wanted) -> Features:
        features: Features = self._teacher.features(batch, wanted)
        states = [None if each is None else each * torch.nan for each in features.hidden_states]
        return dataclasses.replace(features, hidden_states=states)


def poisoned_at(*steps: int) -> Step:
    def step(trainees: Any, teacher: Any, batches: Any, number: int, *more: Any) -> dict[str, StepResult]:
        return train_step(trainees, Poisoned(teacher) if number + 1 in steps else teacher, batches, number, *more)

    return step


def leaving_out(left: int) -> Step:
    """Not even begins the step `left`."""

    def step(trainees: Any, teacher: Any, batches: Any, number: int, *more: Any) -> dict[str, StepResult]:
        if number + 1 != left:
            return train_step(trainees, teacher, batches, number, *more)
        list(batches)
        return {
            name: StepResult(torch.zeros(1 + len(e.module.objective.terms)), 0.0, True) for name, e in trainees.items()
        }

    return step


def run(world: World, inputs: Path, folder: Path, step: Step, **more: object) -> None:
    options = {"run.output_dir": folder, "run.save_interval": 2, "run.micro_batch": 4, "run.log_interval": 2, **more}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("megatinybert.training.loop.train_step", step)
        distil(load_config(recipe(inputs, **options)), world)


@pytest.mark.parametrize(
    "ds_config",
    ["zero0", "zero1", *(pytest.param(each, marks=pytest.mark.slow) for each in ("zero2-bf16", "zero3"))],
)
def test_a_bad_batch_is_as_if_it_had_not_been_there(
    ds_config: str, world: World, toy_inputs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """By weights and moments of the optimizer, bit for bit; and a run that is continued counts on."""
    allowed = {"run.skip_bad_batches": 1, "deepspeed": ds_config}
    run(world, toy_inputs, tmp_path / "bad", poisoned_at(3), **allowed)
    run(world, toy_inputs, tmp_path / "absent", leaving_out(3), deepspeed=ds_config)
    bad, absent = (load_file(tmp_path / name / "student" / "model.safetensors") for name in ("bad", "absent"))
    assert bad.keys() == absent.keys() and all(torch.equal(bad[name], weight) for name, weight in absent.items())
    said = capfd.readouterr().err
    assert "step 3: the loss is not finite" in said and "left out, 1 of 1 (--run.skip_bad_batches)" in said
    report = json.loads((tmp_path / "bad" / "non_finite.json").read_text())
    assert [each["step"] for each in report["skipped"]] == [3] and "step" not in report
    assert report["skipped"][0]["positions"] == list(range(16, 24))
    last = tmp_path / "bad" / "checkpoints" / checkpoint.name_of(4)
    assert checkpoint.read_state(last)[1]["skipped batches"] == [3]
    assert [row["optimizer/overflow_count"] for row in metrics(tmp_path / "bad")[1:]] == [0, 0, 1]
    if ds_config == "zero0":
        with pytest.raises(NonFiniteLoss, match=r"^step 5: .*skip_bad_batches 1, and as many were left out before"):
            run(world, toy_inputs, tmp_path / "bad", poisoned_at(5), **allowed, **{"run.max_steps": 6})
        report = json.loads((tmp_path / "bad" / "non_finite.json").read_text())
        assert report["step"] == 5 and [each["step"] for each in report["skipped"]] == [3]


def test_with_no_batch_allowed_the_run_stops(world: World, toy_inputs: Path, tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLoss, match=r"^step 3: the loss is not finite .*The newest checkpoint is from before"):
        run(world, toy_inputs, tmp_path / "run", poisoned_at(3))
    report = json.loads((tmp_path / "run" / "non_finite.json").read_text())
    assert report["step"] == 3 and "skipped" not in report and report["newest checkpoint"].endswith("step-00000002")
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000002"]


@pytest.mark.slow
@pytest.mark.parametrize("ds_config", ["zero0", "zero2"])
def test_a_batch_that_is_bad_on_one_rank_is_left_out_by_both(ds_config: str, toy_inputs: Path, tmp_path: Path) -> None:
    more = {"run.output_dir": tmp_path / "run", "run.skip_bad_batches": 2, "deepspeed": ds_config}
    ranks = start_ranks(2, ["tests/scripts/poison.py", "3", "1"], recipe(toy_inputs, **more), tmp_path / "logs")
    assert exit_codes(ranks) == [0, 0], (tmp_path / "logs" / "rank-0.log").read_text()
    report = json.loads((tmp_path / "run" / "non_finite.json").read_text())
    assert [(each["step"], each["ranks"], each["positions"]) for each in report["skipped"]] == [
        (3, [1], [20, 21, 22, 23])
    ]
    assert (tmp_path / "run" / "student" / "model.safetensors").exists()
