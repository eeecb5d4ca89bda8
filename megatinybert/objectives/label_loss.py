"""Fine-tuning: a head against the labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from megatinybert.models.capture import Features
from megatinybert.objectives.base import Objective, Term


class LabelLoss(Objective):
    """Cross-entropy of the student's logits and the batch's labels, or of a regression the mean squared error."""

    def __init__(self, regression: bool) -> None:
        super().__init__()
        self.regression = regression
        self.terms = [Term("label", "label", 1.0)]
        self.teacher_layers = 0

    def forward(self, student: Features, teacher: Features | None, batch: dict[str, Tensor]) -> list[Tensor]:
        assert student.logits is not None
        return [label_loss(student.logits, batch["labels"], self.regression)]


def label_loss(logits_BC: Tensor, labels_B: Tensor, regression: bool) -> Tensor:
    """Mean over the batch, a scalar, computed in float32 (float64 for float64).

    labels: int64 class indices, or the scores of a regression, whose logits are (B, 1).
    """
    logits_BC = widen(logits_BC)
    if regression:
        return (logits_BC[:, 0] - labels_B.to(logits_BC.dtype)).square().mean()
    return functional.cross_entropy(logits_BC, labels_B)


def widen(logits: Tensor) -> Tensor:
    """To float32, but for float64."""
    return logits if logits.dtype == torch.float64 else logits.float()
