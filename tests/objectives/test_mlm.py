"""The masked-LM loss against the formula, value and gradient."""

import math

import pytest
import torch

from megatinybert.models.capture import Features
from megatinybert.objectives.mlm import Mlm


def test_the_mean_over_masked_tokens() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 7, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([[4, -100, -100], [0, 6, -100]])
    objective = Mlm()
    (loss,) = objective(Features(logits=logits), None, {"masked_labels": labels})
    masked = [(0, 0, 4), (1, 0, 0), (1, 1, 6)]
    rows = [logits.detach()[row, slot].tolist() for row, slot, _ in masked]
    each = [math.log(sum(map(math.exp, row))) - row[label] for row, (*_, label) in zip(rows, masked, strict=True)]
    assert float(loss.detach()) == pytest.approx(sum(each) / 3, rel=1e-12)
    loss.backward()
    expected = torch.zeros_like(logits)
    for row, slot, label in masked:
        expected[row, slot] = logits.detach()[row, slot].softmax(-1) / 3
        expected[row, slot, label] -= 1 / 3
    assert torch.allclose(logits.grad, expected, rtol=1e-12)
    assert [term.name for term in objective.terms] == ["mlm"] and objective.teacher_layers == 0


def test_no_masked_token_is_a_loss_of_0() -> None:
    logits = torch.randn(2, 1, 7, requires_grad=True)
    (loss,) = Mlm()(Features(logits=logits), None, {"masked_labels": torch.full((2, 1), -100)})
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_arithmetic_is_float32_for_16_bit_logits() -> None:
    torch.manual_seed(0)
    logits, labels = 5 * torch.randn(2, 2, 50).to(torch.bfloat16), torch.tensor([[1, 2], [3, -100]])
    (loss,) = Mlm()(Features(logits=logits), None, {"masked_labels": labels})
    (exact,) = Mlm()(Features(logits=logits.double()), None, {"masked_labels": labels})
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(exact), rel=1e-6)
