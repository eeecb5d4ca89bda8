"""A checkpoint is taken over bit for bit at any ZeRO stage, and by ranks of the launcher."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from deepspeed.accelerator import get_accelerator
from safetensors.torch import load_file

from megatinybert.config.deepspeed import load_ds_config
from megatinybert.config.load import load_config
from megatinybert.models.configuration import read_bert_config
from megatinybert.programs.distil import distil
from megatinybert.runtime.dist import World
from megatinybert.runtime.trainees import Trainees
from megatinybert.training.checkpoints import checkpoint
from megatinybert.training.checkpoints.full_state import MOMENTS, WEIGHT, FullState, read_full_state
from megatinybert.training.choices import TORCH, Choice, Choices
from megatinybert.training.convert import check_target, load_converted
from megatinybert.training.engine import build_engine
from megatinybert.training.export import full_weights
from megatinybert.training.placement import Placement
from megatinybert.training.step import loss_scale
from megatinybert.training.trainee import build_trainee
from tests.helpers.apex_packages import write_nvidia
from tests.helpers.processes import GENERAL, exit_codes, start_ranks
from tests.helpers.toys import metrics, recipe
from tests.helpers.warm_python import warm_python
from tests.programs.test_mlm import on_the_teachers_body, options
from tests.scripts.golden import STEPS, golden_options

LAST = f"checkpoints/step-{STEPS:08d}"
HERE = Placement(1, 1, "fp32")  # of the golden run


def trainees_of(inputs: Path, ds: str, world: World, choices: Choices = TORCH, **overrides: object) -> Trainees:
    """The toy's student with its first weights, on an engine."""
    config = load_config(recipe(inputs, deepspeed=ds, **overrides))
    trainee = build_trainee(config, read_bert_config(config.teacher.model, "--teacher.model"))
    settings = load_ds_config(config.deepspeed, config, world.size)
    return Trainees({"student": build_engine(trainee, config.optimizer, settings, choices)})


def shapes_of(trainees: Trainees) -> dict[str, torch.Size]:
    """In the order of the optimizer: matrices before vectors."""
    named = {
        name: getattr(weight, "ds_shape", weight.shape) for name, weight in trainees.only.module.named_parameters()
    }
    return dict(sorted(named.items(), key=lambda item: len(item[1]) < 2))


def read(path: Path, stage: int, shapes: dict[str, torch.Size]) -> FullState:
    state = FullState(shapes)
    read_full_state(path / "student", stage, state)
    return state


def assert_same(found: FullState, expected: FullState) -> None:
    assert found.about.updates == expected.about.updates
    assert found.about.counters == expected.about.counters
    assert found.tensors.keys() == expected.tensors.keys()
    for key, tensor in expected.tensors.items():
        assert torch.equal(found.tensors[key], tensor), key


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_a_state_is_the_same_at_every_stage_and_back(
    stage: int, toy_inputs: Path, golden_run: Path, world: World, tmp_path: Path
) -> None:
    there = trainees_of(toy_inputs, f"zero{stage}", world)
    shapes = shapes_of(there)
    expected = read(golden_run / LAST, 1, shapes)
    assert set(expected.about.kinds) == {WEIGHT, *MOMENTS} and expected.about.updates == STEPS
    assert all(tensor.abs().max() > 0 for tensor in expected.tensors.values())
    load_converted(golden_run / LAST, there, HERE, world)
    for name, weight in full_weights(there.only, there.only.module).items():
        assert torch.equal(weight, expected.tensors[WEIGHT, name]), name
    checkpoint.save(tmp_path, there, STEPS, {}, world, keep=2)
    there.destroy()
    assert_same(read(tmp_path / f"step-{STEPS:08d}", stage, shapes), expected)

    back = trainees_of(toy_inputs, "zero1", world)
    load_converted(tmp_path / f"step-{STEPS:08d}", back, Placement(1, stage, "fp32"), world)
    checkpoint.save(tmp_path / "back", back, STEPS, {}, world, keep=2)
    back.destroy()
    assert_same(read(tmp_path / "back" / f"step-{STEPS:08d}", 1, shapes), expected)


@pytest.mark.parametrize("stage", [1, 3])
def test_sixteen_bit_weights_are_rounded_from_those_that_the_optimizer_has(
    stage: int, toy_inputs: Path, golden_run: Path, world: World
) -> None:
    trainees = trainees_of(toy_inputs, f"zero{stage}-bf16", world)
    expected = read(golden_run / LAST, 1, shapes_of(trainees))
    load_converted(golden_run / LAST, trainees, HERE, world)
    masters = full_weights(trainees.only, trainees.only.module)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("megatinybert.training.export.safe_get_full_fp32_param", lambda _: None)
        rounded = full_weights(trainees.only, trainees.only.module)
    trainees.destroy()
    for name, weight in masters.items():
        assert torch.equal(weight, expected.tensors[WEIGHT, name]), name
        assert torch.equal(rounded[name], weight.bfloat16().float()), name


@pytest.mark.parametrize("stage", [1, 3])
def test_the_loss_scale_goes_on_between_runs_in_fp16_alone(
    stage: int, toy_inputs: Path, golden_run: Path, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(get_accelerator(), "is_fp16_supported", lambda: True)
    before = trainees_of(toy_inputs, "zero2-fp16", world)
    load_converted(golden_run / LAST, before, HERE, world)
    assert loss_scale(before.only) == 2**16  # its first one
    before.only.optimizer.loss_scaler.cur_scale = 2.0**10
    checkpoint.save(tmp_path, before, STEPS, {}, world, keep=2)
    before.destroy()
    file = tmp_path / "ds.json"
    file.write_text(json.dumps({"fp16": {"enabled": True}, "zero_optimization": {"stage": stage}}))
    after = trainees_of(toy_inputs, str(file), world)
    load_converted(tmp_path / f"step-{STEPS:08d}", after, Placement(1, 2, "fp16"), world)
    assert loss_scale(after.only) == 2**10
    after.destroy()


def test_apex_counts_its_steps_by_group(
    toy_inputs: Path, golden_run: Path, world: World, tmp_path: Path, install_apex: Callable[[Path], None]
) -> None:
    """By a stand-in for apex."""
    install_apex(write_nvidia(tmp_path / "packages"))
    choices = dataclasses.replace(TORCH, optimizer=Choice("apex", "asked for"))
    trainees = trainees_of(toy_inputs, "zero0", world, choices)
    load_converted(golden_run / LAST, trainees, HERE, world)
    assert [group["step"] for group in trainees.only.optimizer.param_groups] == [STEPS, STEPS]
    checkpoint.save(tmp_path, trainees, STEPS, {}, world, keep=2)
    shapes = shapes_of(trainees)
    trainees.destroy()
    assert_same(read(tmp_path / f"step-{STEPS:08d}", 0, shapes), read(golden_run / LAST, 1, shapes))


@pytest.mark.parametrize(("optimizer", "stage"), [("sgd", 1), ("adamw", 1), ("adamw", 3)])
def test_sgd_and_adamw_before_its_first_step_have_weights_alone(
    optimizer: str, stage: int, toy_inputs: Path, world: World, tmp_path: Path
) -> None:
    given: dict[str, object] = {"optimizer.name": optimizer}
    first = trainees_of(toy_inputs, f"zero{stage}", world, **given, **{"run.seed": 5})
    checkpoint.save(tmp_path, first, 0, {}, world, keep=2)
    shapes, expected = shapes_of(first), full_weights(first.only, first.only.module)
    first.destroy()
    assert read(tmp_path / "step-00000000", stage, shapes).about.kinds == [WEIGHT]
    for new in {0, 1, 3} - {stage}:
        other = trainees_of(toy_inputs, f"zero{new}", world, **given)
        load_converted(tmp_path / "step-00000000", other, Placement(1, stage, "fp32"), world)
        found = full_weights(other.only, other.only.module)
        other.destroy()
        assert all(torch.equal(found[name], weight) for name, weight in expected.items())


def test_two_ranks_continue_where_one_was_and_one_where_two_were(
    toy_inputs: Path, golden_run: Path, world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """ZeRO 1. The second time nothing is left to do but to export the student, which is then the same bit for bit."""
    two, one = tmp_path / "two", tmp_path / "one"
    resume = golden_run / "checkpoints" / f"step-{STEPS - 5:08d}"
    given = golden_options(toy_inputs, two, **{"run.resume": resume})
    codes = exit_codes(start_ranks(2, GENERAL, given, tmp_path, python=warm_python()))
    said = (tmp_path / "rank-0.log").read_text()
    assert codes == [0, 0], said
    line = r"^continuing at 2 ranks, ZeRO 1, from a checkpoint of 1 rank, ZeRO 1: converted in \d+\.\d s$"
    assert re.search(line, said, re.MULTILINE), said
    found, expected = ([row["loss/total"] for row in metrics(folder)[-5:]] for folder in (two, golden_run))
    assert found == pytest.approx(expected, rel=1e-6)
    assert json.loads((two / LAST / "state.json").read_text())["facts"]["world size"] == 2

    distil(load_config(golden_options(toy_inputs, one, **{"run.resume": two / LAST, "deepspeed": "zero3"})), world)
    assert "continuing at 1 rank, ZeRO 3, from a checkpoint of 2 ranks, ZeRO 1: conv" in capfd.readouterr().err
    students = [load_file(folder / "student" / "model.safetensors") for folder in (one, two)]
    assert students[0].keys() == students[1].keys()
    assert all(torch.equal(students[0][name], weight) for name, weight in students[1].items())


@pytest.mark.slow
@pytest.mark.parametrize(("train", "stage"), [("whole", 0), ("whole", 3), ("head", 3)])
def test_tied_and_frozen_weights(train: str, stage: int, toy_inputs: Path, world: World, tmp_path: Path) -> None:
    """Masked-language modelling: the head's matrix is that of the embeddings; or the body does not train."""
    mlm: dict[str, object] = {"run.save_interval": 2, **(on_the_teachers_body(toy_inputs) if train == "head" else {})}
    distil(load_config(options(toy_inputs, tmp_path / "whole", **mlm)), world)
    resume = tmp_path / "whole" / "checkpoints" / "step-00000002"
    elsewhere = {"run.resume": resume, "deepspeed": f"zero{stage}"}
    distil(load_config(options(toy_inputs, tmp_path / "other", **mlm, **elsewhere)), world)
    found, expected = ([row["loss/total"] for row in metrics(tmp_path / name)[-2:]] for name in ("other", "whole"))
    assert found == pytest.approx(expected, rel=1e-6)
    students = [load_file(tmp_path / name / "student" / "model.safetensors") for name in ("other", "whole")]
    for name, weight in students[1].items():
        torch.testing.assert_close(students[0][name], weight, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ({"zero_optimization": {"stage": 3, "offload_optimizer": {"device": "nvme"}}}, "offload_optimizer.device nvme"),
        ({"bf16": {"enabled": True}, "zero_optimization": {"stage": 1}, "data_types": {"grad_accum_dtype": "fp32"}},
         "data_types.grad_accum_dtype fp32 at ZeRO 1"),
    ],
)  # fmt: skip
def test_what_cannot_take_over_a_checkpoint_is_refused(
    blocks: dict[str, Any], message: str, toy_inputs: Path, tmp_path: Path
) -> None:
    file = tmp_path / "ds.json"
    file.write_text(json.dumps(blocks))
    config = load_config(recipe(toy_inputs, deepspeed=file))
    with pytest.raises(ValueError, match=message) as caught:
        check_target(load_ds_config(config.deepspeed, config, 1))
    assert f"--deepspeed {file} cannot take it over" in str(caught.value)
    check_target(load_ds_config("zero3-bf16", config, 1))
