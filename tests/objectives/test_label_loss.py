"""Fine-tuning's loss against the formulas, value and gradient."""

import math

import pytest
import torch

from megatinybert.models.capture import Features
from megatinybert.objectives.label_loss import LabelLoss


def test_cross_entropy() -> None:
    torch.manual_seed(0)
    logits = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([2, 0, 1, 1, 2])
    objective = LabelLoss(regression=False)
    (loss,) = objective(Features(logits=logits), None, {"labels": labels})
    rows = logits.detach().tolist()
    expected = [
        math.log(sum(map(math.exp, row))) - row[label] for row, label in zip(rows, labels.tolist(), strict=True)
    ]
    assert float(loss.detach()) == pytest.approx(sum(expected) / 5, rel=1e-12)
    loss.backward()
    one_hot = torch.eye(3, dtype=torch.float64)[labels]
    assert torch.allclose(logits.grad, (logits.detach().softmax(-1) - one_hot) / 5, rtol=1e-12)
    assert [(term.name, term.weight) for term in objective.terms] == [("label", 1.0)]
    assert objective.teacher_layers == 0


def test_squared_error_of_scores() -> None:
    logits = torch.tensor([[1.0], [2.0], [4.5]], dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0.0, 2.5, 4.0])
    (loss,) = LabelLoss(regression=True)(Features(logits=logits), None, {"labels": labels})
    assert float(loss.detach()) == pytest.approx((1 + 0.25 + 0.25) / 3, rel=1e-12)
    loss.backward()
    assert logits.grad.flatten().tolist() == pytest.approx([2 / 3, -1 / 3, 1 / 3])


@pytest.mark.parametrize("regression", [False, True])
def test_arithmetic_is_float32_for_16_bit_logits(regression: bool) -> None:
    logits = torch.tensor([[9.0], [-3.0]], dtype=torch.bfloat16).expand(2, 1 if regression else 4)
    labels = torch.tensor([0.03125, 0.5]) if regression else torch.tensor([0, 3])
    (loss,) = LabelLoss(regression)(Features(logits=logits), None, {"labels": labels})
    assert loss.dtype == torch.float32
    (exact,) = LabelLoss(regression)(Features(logits=logits.double()), None, {"labels": labels})
    assert float(loss) == pytest.approx(float(exact), rel=1e-6)
