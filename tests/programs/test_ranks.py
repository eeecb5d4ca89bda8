"""Two ranks: the same gradients and steps as one process, in every ZeRO stage and precision."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from megatinybert.models.load import load_teacher
from tests.helpers.processes import exit_codes, start_ranks
from tests.helpers.toys import recipe
from tests.helpers.warm_python import warm_python

STAGES = (0, 1, 2, 3)
SCRIPT = "tests/scripts/ranks.py"


class Cases(NamedTuple):
    """Folders with the results of tests/scripts/ranks.py."""

    one: Path
    two: Path


@pytest.fixture(scope="module")
def cases(toy_inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Cases:
    """The script by one process, and by two ranks, which accumulate half as often."""
    folder = tmp_path_factory.mktemp("ranks")
    options = recipe(
        toy_inputs,
        **{
            "student.hidden_dropout": 0,
            "run.global_batch": 8,
            "run.micro_batch": 2,
            "optimizer.gradient_clipping": 0.5,
        },
    )
    found = Cases(folder / "one", folder / "two")
    for path in found:
        path.mkdir()
    python = warm_python()
    started = {
        path: start_ranks(count, [SCRIPT, str(path)], options, path / "logs", python=python)
        for count, path in enumerate(found, start=1)
    }
    for path, ranks in started.items():
        assert set(exit_codes(ranks)) == {0}, (path / "logs" / "rank-0.log").read_text()
    return found


def result(folder: Path, name: str) -> dict[str, Any]:
    return torch.load(folder / f"{name}.pt")


def error(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The largest relative error of a tensor, in the 2-norm."""
    assert found.keys() == expected.keys()
    return max(((found[name] - expected[name]).norm() / expected[name].norm()).item() for name in expected)


def update(case: dict[str, Any]) -> dict[str, Tensor]:
    """How far the steps moved each weight of the student."""
    return {name: case["parameters"][name] - case["before"][name] for name in case["before"]}


@pytest.mark.parametrize("stage", STAGES)
def test_gradients_and_an_sgd_step_equal_those_of_one_process(cases: Cases, stage: int) -> None:
    one, two = result(cases.one, "sgd-0"), result(cases.two, f"sgd-{stage}")
    gradients, norm = error(two["gradients"], one["gradients"]), abs(two["norms"][0] / one["norms"][0] - 1)
    print(f"ZeRO {stage}, relative errors: gradients {gradients:.1e}, norm {norm:.1e}")
    assert any(name.startswith("objective.") for name in one["gradients"])  # the projection's are compared too
    assert gradients < 1e-5
    assert norm < 1e-5
    assert one["norms"][0] > 0.5  # so the step was clipped
    assert error(two["parameters"], one["parameters"]) < 1e-5
    # A step moves a weight by a small part of itself, so rounding of the weight shows in the difference.
    assert error(update(two), update(one)) < 1e-4


@pytest.mark.parametrize("stage", STAGES)
def test_adamw_steps_equal_those_of_one_process(cases: Cases, stage: int) -> None:
    one, two = result(cases.one, "adamw-0"), result(cases.two, f"adamw-{stage}")
    print(f"ZeRO {stage}, relative error of what 4 steps changed: {error(update(two), update(one)):.1e}")
    assert len(one["losses"]) == 4
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-5)
    assert two["norms"] == pytest.approx(one["norms"], rel=1e-5)
    assert error(two["parameters"], one["parameters"]) < 1e-5
    assert error(update(two), update(one)) < 1e-3


def test_muon_steps_are_near_those_of_one_process(cases: Cases) -> None:
    """Its iteration is in bfloat16: what another order of summation changes in a gradient may come out as 2^-8."""
    one, two = result(cases.one, "muon-0"), result(cases.two, "muon-0")
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-4)
    assert error(two["parameters"], one["parameters"]) < 1e-4
    assert error(update(two), update(one)) < 2e-2


def test_the_student_exported_by_two_ranks_of_zero3_is_that_of_zero0(cases: Cases) -> None:
    """Gathered from its parts, after a step of SGD.

    AdamW would not tell a wrong weight from a rounded one. It moves a weight by about rate * g / (|g| + eps). So where
    a gradient is near eps, what another order of summation changes in it comes out up to rate / eps = 10,000 times as
    large here: a weight whose gradient was 2.8e-6 in one step differed by 2e-7 after four. SGD multiplies such
    differences by the rate, 0.01.
    """
    zero0, zero3 = (load_file(cases.two / f"sgd-{stage}-student" / "model.safetensors") for stage in (0, 3))
    alone = load_file(cases.one / "sgd-0-student" / "model.safetensors")
    for exported in (zero3, alone):
        assert {name: t.shape for name, t in exported.items()} == {name: t.shape for name, t in zero0.items()}
        for name, weight in zero0.items():
            torch.testing.assert_close(exported[name], weight, rtol=1e-6, atol=1e-8, msg=name)
    for name, weight in result(cases.two, "sgd-3")["parameters"].items():
        assert torch.equal(zero3[name], weight), name


def test_sixteen_bit_precisions_train_in_stages_1_to_3(cases: Cases) -> None:
    """bf16 has 8 bits of mantissa and fp16 11: after 12 steps their losses are still near those of each other."""
    print("\n           " + "".join(f"{f'ZeRO {stage}':>20}" for stage in STAGES[1:]) + "    (loss, first to last)")
    last = {}
    for precision in ("bf16", "fp16"):
        losses = {stage: result(cases.two, f"{precision}-{stage}")["losses"] for stage in STAGES[1:]}
        print(f"{precision:>10} " + "".join(f"{f'{row[0]:.4f} -> {row[-1]:.4f}':>20}" for row in losses.values()))
        for stage, row in losses.items():
            case = result(cases.two, f"{precision}-{stage}")
            assert all(map(math.isfinite, row + case["norms"])), (precision, stage)
            assert row[-1] < 0.8 * row[0], (precision, stage)
            last[precision, stage] = row[-1]
            # Master weights, not rounded ones, come out.
            rounded = torch.bfloat16 if precision == "bf16" else torch.float16
            word = case["parameters"]["embeddings.word_embeddings.weight"]
            assert not torch.equal(word, word.to(rounded).float()), (precision, stage)
    assert max(last.values()) / min(last.values()) - 1 < 0.01


def test_an_fp16_overflow_skips_its_step_and_halves_the_loss_scale(cases: Cases) -> None:
    case = result(cases.two, "overflow")
    scales, norms = case["scales"], case["norms"]
    skipped = [not math.isfinite(norm) for norm in norms]
    assert skipped[0] and not skipped[-1]
    for before, after, overflow in zip(scales, scales[1:], skipped, strict=False):
        assert after == (before / 2 if overflow else before)
    # Our own count goes on through skipped steps, and the learning rate with it: a step of warm-up, then down.
    assert [rate for (rate,) in case["rates"]] == pytest.approx([0.01, *(0.01 * (1 - step / 11) for step in range(11))])
    assert case["losses"][-1] < case["losses"][0]
    one_step = result(cases.two, "skipped")
    assert not math.isfinite(one_step["norms"][0])
    for name, weight in one_step["before"].items():
        assert torch.equal(one_step["parameters"][name], weight), name


@pytest.mark.parametrize(("name", "bound"), [("bf16", 2e-2), ("fp16", 2e-3)])
def test_features_of_a_sixteen_bit_teacher_are_near_those_of_float32(toy_inputs: Path, name: str, bound: float) -> None:
    batch = {"input_ids": torch.arange(2, 98).reshape(6, 16), "token_type_ids": torch.zeros(6, 16, dtype=torch.int64)}
    dtype, cpu = {"bf16": torch.bfloat16, "fp16": torch.float16}[name], torch.device("cpu")
    teacher = str(toy_inputs / "teacher")
    found = load_teacher(teacher, 4, dtype, cpu).features(batch)
    expected = load_teacher(teacher, 4, torch.float32, cpu).features(batch)
    for kind in ("hidden_states", "queries", "keys"):
        errors = []
        for low, full in zip(getattr(found, kind), getattr(expected, kind), strict=True):
            assert low.dtype == dtype
            errors.append(((low.float() - full).norm() / full.norm()).item())
        print(f"{name} teacher, relative error of {kind}: " + " ".join(f"{e:.1e}" for e in errors))
        assert max(errors) < bound
