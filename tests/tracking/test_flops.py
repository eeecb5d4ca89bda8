"""Operations are those that torch counts, and the utilisation is their time at the peak."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertModel

from megatinybert.runtime import hardware as peak
from megatinybert.runtime.hardware import Peak
from megatinybert.runtime.waiting import Waiting
from megatinybert.tracking.flops import Part, StepWork, forward_flops, training_flops
from tests.helpers.toys import bert_config

CPU = torch.device("cpu")


def test_operations_are_what_torch_counts() -> None:
    config = bert_config(layers=3)
    model = BertModel(config, add_pooling_layer=False)
    model.set_attn_implementation("eager")  # as fused attention computes the scores twice in its backward pass
    with FlopCounterMode(display=False) as forward:
        output = model(input_ids=torch.ones(2, 17, dtype=torch.long))
    assert forward_flops(config, 3, rows=2, length=17) == forward.get_total_flops()
    with FlopCounterMode(display=False) as backward:
        output.last_hidden_state.sum().backward()
    assert training_flops(config, rows=2, length=17) == forward.get_total_flops() + backward.get_total_flops()


def test_each_part_is_held_against_the_peak_of_its_precision() -> None:
    config, shapes = bert_config(layers=3), [(2, 17), (1, 9)]
    forward = forward_flops(config, 3, 2, 17) + forward_flops(config, 3, 1, 9)
    parts = {"teacher": Part(config, 1, Peak(4e3, "fp16", "")), "student": Part(config, 3, Peak(1e3, "fp32", ""))}
    alone, ranks = StepWork(parts, 1).speed(shapes, 10.0), StepWork(parts, 4).speed(shapes, 10.0)
    assert alone["speed/model_flops_utilisation"] == pytest.approx((forward / 4e3 + 3 * forward / 1e3) / 10)
    assert alone["speed/tflops"] == pytest.approx(4 * forward / 10 / 1e12)
    assert alone["speed/tokens_per_second"] == pytest.approx((2 * 17 + 9) / 10)
    # Every rank does its own share, on hardware of its own.
    assert ranks["speed/model_flops_utilisation"] == alone["speed/model_flops_utilisation"]
    assert ranks["speed/tflops"] == pytest.approx(4 * alone["speed/tflops"])
    assert ranks["speed/tokens_per_second"] == pytest.approx(4 * alone["speed/tokens_per_second"])


@pytest.mark.parametrize(
    ("name", "dtype", "tflops"),
    [
        ("NVIDIA H200", "bf16", 989.4),
        ("NVIDIA H100 80GB HBM3", "tf32", 494.7),
        ("NVIDIA H100 PCIe", "fp16", 756.0),
        ("NVIDIA A100-SXM4-40GB", "bf16", 312.0),
        ("NVIDIA A100 80GB PCIe", "fp32", 19.5),
        ("Tesla T4", "fp16", 65.0),
        ("Tesla V100-SXM2-16GB", "fp16", 125.0),
        ("NVIDIA GeForce RTX 4090", "bf16", 165.2),
        ("NVIDIA A10", "tf32", 62.5),
    ],
)
def test_common_gpus_are_in_the_table(name: str, dtype: str, tflops: float) -> None:
    assert peak.look_up(name, dtype) == tflops * 1e12


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("NVIDIA A10G", "bf16"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "bf16"),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "bf16"),
        ("Tesla T4", "bf16"),
        ("", "fp32"),
    ],
)
def test_other_devices_and_precisions_are_not_guessed(name: str, dtype: str) -> None:
    assert peak.look_up(name, dtype) is None


def test_the_peak_of_a_cpu_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Waiting, "share", lambda _: 0.05)
    found = peak.find_peak(torch.float32, CPU)
    assert found.source == "measured" and found.dtype == "fp32" and str(found).endswith(" TFLOP/s in fp32 (measured)")
    monkeypatch.setattr(Waiting, "share", lambda _: 0.5)
    busy = "(measured on busy cores, waiting 50 % of the time: too low)"
    assert str(peak.find_peak(torch.float32, CPU)).endswith(f" TFLOP/s in fp32 {busy}")
    assert 1e8 < found.flops_per_second < 1e15
    seconds = iter([0.02, 0.5, 0.25, 0.5])  # one that tells the size, and three that count
    monkeypatch.setattr(peak, "seconds_of", lambda *_: next(seconds))
    clock = iter([0.0, 0.1, 0.2, 1.0])
    monkeypatch.setattr(peak, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    assert peak.measure_peak(torch.float32, CPU, 0.3) == 2 * 256**3 / 0.25


def test_measuring_leaves_the_random_numbers_of_a_run_alone() -> None:
    before = torch.get_rng_state()
    peak.measure_peak(torch.float32, CPU, 0.0)
    assert torch.equal(torch.get_rng_state(), before)
