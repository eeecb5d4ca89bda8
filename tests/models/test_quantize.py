"""A teacher whose matrix products are in 8 bits: near the teacher that it is made of, and only where it can be."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from megatinybert.config.deepspeed import load_ds_config
from megatinybert.config.load import load_config
from megatinybert.config.schema import Quantize
from megatinybert.models import quantize as quantized
from megatinybert.models.configuration import read_bert_config
from megatinybert.models.load import Teacher, load_teacher, teacher_dtype
from megatinybert.programs.distil import distil
from megatinybert.runtime.dist import World
from megatinybert.training.checkpoints.checkpoint import read_state
from megatinybert.training.compile_choice import Work, choose_compilation
from megatinybert.training.trainee import build_trainee
from tests.helpers.compiler import needs_compiler
from tests.helpers.toys import metrics, padded_batch, recipe, write_teacher
from tests.scripts.golden import golden_options

CPU = torch.device("cpu")
LAYERS = 4


def teacher_of(inputs: Path, quantize: Quantize, device: torch.device = CPU) -> Teacher:
    recipe(inputs)
    return load_teacher(str(inputs / "teacher"), LAYERS, teacher_dtype("auto", device, quantize), device, quantize)


def relative_error(found: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    pairs = zip(found, expected, strict=True)
    return max(float((one.float() - other).norm() / other.norm()) for one, other in pairs)


def errors(inputs: Path, quantize: Quantize, device: torch.device) -> list[float]:
    """Of hidden states, queries and keys, against float32."""
    batch = {name: tensor.to(device) for name, tensor in padded_batch(4).items()}
    exact = load_teacher(str(inputs / "teacher"), LAYERS, torch.float32, device).features(batch)
    near = teacher_of(inputs, quantize, device).features(batch)
    return [
        relative_error(near.hidden_states, exact.hidden_states),
        relative_error(near.queries, exact.queries),
        relative_error(near.keys, exact.keys),
    ]


def test_int8_is_near_and_not_the_same(toy_inputs: Path) -> None:
    recipe(toy_inputs)
    for error in errors(toy_inputs, "int8", CPU):
        assert 1e-4 < error < 0.05
    teacher = teacher_of(toy_inputs, "int8")
    assert teacher.quantize == "int8" and teacher.model.dtype == torch.float32
    assert teacher.fingerprint == teacher_of(toy_inputs, "none").fingerprint  # of the weights before they are rounded
    rounded = [
        type(module.weight).__name__ for module in teacher.model.modules() if isinstance(module, torch.nn.Linear)
    ]
    assert set(rounded) == {"Int8Tensor"} and len(rounded) == 6 * LAYERS


def test_rows_of_a_batch_do_not_matter_to_one_another(toy_inputs: Path) -> None:
    """Each token has a scale of its own."""
    teacher, batch = teacher_of(toy_inputs, "int8"), padded_batch(4)
    some = teacher.features({name: rows[:2] for name, rows in batch.items()}).hidden_states[-1]
    torch.testing.assert_close(teacher.features(batch).hidden_states[-1][:2], some, rtol=1e-5, atol=1e-6)


@pytest.mark.gpu
def test_8_bits_on_a_gpu(tmp_path: Path) -> None:
    pytest.importorskip("torchao")
    write_teacher(tmp_path / "teacher", hidden=32)  # fp8 products have widths of multiples of 16
    device = torch.device("cuda")
    bounds: dict[Quantize, float] = {"int8": 0.1}
    if torch.cuda.get_device_capability() >= (8, 9):
        bounds["fp8"] = 0.2  # 3 bits of mantissa: the same rounding in float32, emulated on a CPU, gives 0.13
    for kind, bound in bounds.items():
        for error in errors(tmp_path, kind, device):
            assert 1e-4 < error < bound


def test_where_it_cannot_be_had(toy_inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="--teacher.quantize fp8 needs a CUDA device of capability 8.9.*take int8"):
        teacher_of(toy_inputs, "fp8")
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "torchao" else find(name, *more)
    )
    with pytest.raises(ValueError, match="--teacher.quantize int8 needs torchao.*pip install"):
        teacher_of(toy_inputs, "int8")
    assert quantized.quantize_problem("none", CPU, torch.float32) is None


def test_it_is_told_that_it_does_not_pay_without_compiling() -> None:
    (finding,) = quantized.check_quantized("int8", "never")
    assert finding.level == "warn" and "--run.compile never" in finding.text and "take auto" in finding.text
    assert not quantized.check_quantized("int8", "auto") and not quantized.check_quantized("none", "never")


@needs_compiler
def test_a_short_run_is_compiled_too_where_it_measures_faster(
    toy_inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = "megatinybert.training.compile_choice._seconds_of_pass"
    monkeypatch.setattr(measured, lambda trials, *_: 1.0 if trials[0]._compiled else 2.0)
    config = load_config(recipe(toy_inputs, **{"teacher.quantize": "int8"}))
    trainee = build_trainee(config, read_bert_config(str(config.teacher.model), "--teacher.model"))
    work = Work([trainee], teacher_of(toy_inputs, "int8"), padded_batch(4), 1)
    settings = load_ds_config(config.deepspeed, config, 1)
    choice = choose_compilation(config, settings, work, World(0, 1, CPU), {})
    assert choice.by == "always" and choice.reason.startswith("measured")


def test_a_run_with_it(
    world: World, toy_inputs: Path, golden_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its losses are near those of the whole teacher, and it is not continued without."""
    options = {"teacher.quantize": "int8", "run.compile": "never"}
    distil(load_config(golden_options(toy_inputs, tmp_path, **options)), world)
    said = capfd.readouterr().err
    assert "4 of 4 layers in float32, products in int8" in said
    assert "warning: teacher: --teacher.quantize int8 with --run.compile never" in said
    ours, golden = metrics(tmp_path)[-1], metrics(golden_run)[-1]
    assert ours["held_out/total"] != golden["held_out/total"]
    assert ours["held_out/total"] == pytest.approx(golden["held_out/total"], rel=0.02)
    (checkpoint, *_) = sorted((tmp_path / "checkpoints").glob("step-*"))
    assert read_state(checkpoint)[1]["teacher.quantize"] == "int8"
    with pytest.raises(ValueError, match="teacher.quantize: int8 there, none now"):
        distil(load_config(golden_options(toy_inputs, tmp_path)), world)
