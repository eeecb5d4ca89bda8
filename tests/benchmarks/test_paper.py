"""The formulas for many GPUs, against a real model and their known limits."""

import pytest
import torch
from transformers import BertModel

from benchmarks import paper


@pytest.mark.parametrize("sizes", [(4, 312, 1200), (6, 768, 3072)])
def test_weights_are_those_of_the_model(sizes: tuple[int, int, int]) -> None:
    with torch.device("meta"):
        model = BertModel(paper.shape(*sizes), add_pooling_layer=False)
    assert paper.parameters(paper.shape(*sizes)) == sum(weight.numel() for weight in model.parameters())


def test_splitting_saves_memory_and_adds_up() -> None:
    for stage in (1, 2, 3):
        assert paper.state_bytes(1000, stage, ranks=1) == 20_000
    stages = [paper.state_bytes(1000, stage, ranks=10**6) for stage in (1, 2, 3)]
    assert stages == pytest.approx([8000, 4000, 0], abs=0.1)


def test_communication_has_its_known_limits() -> None:
    assert paper.step_bytes(1000, 1, ranks=1) == 0
    assert paper.step_bytes(1000, 1, ranks=2) == 4000
    assert paper.step_bytes(1000, 3, ranks=2) == 6000
    fast = paper.Machine(peak=1e15, utilisation=0.5, bandwidth=1e30, latency=0)
    assert paper.efficiency(1.0, 1e9, 1024, fast) == pytest.approx(1)
    assert paper.efficiency(1.0, 1e9, 1024, paper.Machine(1e15, 0.5, 1e9, 0)) == pytest.approx(0.5)
