"""Stage two's loss against the published formula, value and gradient."""

import math

import pytest
import torch
from torch import Tensor

from megatinybert.models.capture import Features
from megatinybert.objectives.prediction import PredictionLoss


def logits(classes: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    student = (2 * torch.randn(6, classes, dtype=torch.float64)).requires_grad_()
    return student, 2 * torch.randn(6, classes, dtype=torch.float64)


def softmax(row: list[float], temperature: float) -> list[float]:
    powers = [math.exp(value / temperature) for value in row]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("classes", [2, 5])
def test_soft_cross_entropy_is_equation_10(temperature: float, classes: int) -> None:
    student, teacher = logits(classes)
    objective = PredictionLoss(False, temperature, hard_label_weight=0.0, teacher_layers=12)
    (loss,) = objective(Features(logits=student), Features(logits=teacher), {})
    ours = [softmax(row, temperature) for row in student.detach().tolist()]
    theirs = [softmax(row, temperature) for row in teacher.tolist()]
    each = [
        -sum(t * math.log(s) for s, t in zip(row_s, row_t, strict=True))
        for row_s, row_t in zip(ours, theirs, strict=True)
    ]
    assert float(loss.detach()) == pytest.approx(sum(each) / 6, rel=1e-12)
    loss.backward()
    expected = (torch.tensor(ours, dtype=torch.float64) - torch.tensor(theirs, dtype=torch.float64)) / (6 * temperature)
    assert torch.allclose(student.grad, expected, rtol=1e-12, atol=1e-15)
    assert [term.name for term in objective.terms] == ["prediction"]
    assert objective.teacher_layers == 12


def test_a_regression_takes_the_teachers_value() -> None:
    student, teacher = logits(1)
    objective = PredictionLoss(True, temperature=2.0, hard_label_weight=0.0, teacher_layers=4)
    (loss,) = objective(Features(logits=student), Features(logits=teacher), {"labels": torch.full((6,), 99.0)})
    difference = student.detach() - teacher
    assert float(loss.detach()) == pytest.approx(sum(d * d for d in difference.flatten().tolist()) / 6, rel=1e-12)
    loss.backward()
    assert torch.allclose(student.grad, 2 * difference / 6, rtol=1e-12)


@pytest.mark.parametrize("regression", [False, True])
def test_hard_labels_are_a_term_of_their_own(regression: bool) -> None:
    student, teacher = logits(1 if regression else 3)
    labels = torch.arange(6.0) if regression else torch.tensor([0, 1, 2, 0, 1, 2])
    objective = PredictionLoss(regression, 1.0, hard_label_weight=0.25, teacher_layers=4)
    batch = {"labels": labels}
    soft, hard = objective(Features(logits=student), Features(logits=teacher), batch)
    assert [(term.name, term.weight) for term in objective.terms] == [("prediction", 1.0), ("label", 0.25)]
    (alone,) = PredictionLoss(regression, 1.0, 0.0, 4)(Features(logits=student), Features(logits=teacher), batch)
    assert float(soft.detach()) == float(alone.detach())
    if regression:
        expected = (student.detach().flatten() - labels).square().mean()
    else:
        expected = -student.detach().log_softmax(-1)[torch.arange(6), labels].mean()
    assert float(hard.detach()) == pytest.approx(float(expected), rel=1e-12)


def test_a_16_bit_teacher_and_student_are_compared_in_float32() -> None:
    student, teacher = logits(3)
    student, teacher = student.detach().to(torch.bfloat16), teacher.to(torch.float16)
    objective = PredictionLoss(False, 1.0, 0.0, 4)
    (loss,) = objective(Features(logits=student), Features(logits=teacher), {})
    (exact,) = objective(Features(logits=student.double()), Features(logits=teacher.double()), {})
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(exact), rel=1e-6)
