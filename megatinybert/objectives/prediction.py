"""TinyBERT's prediction-layer loss (Jiao et al. 2020, equation 10)."""

from __future__ import annotations

from torch import Tensor

from megatinybert.models.capture import Features, Wanted
from megatinybert.objectives.base import Objective, Term
from megatinybert.objectives.label_loss import label_loss, widen


class PredictionLoss(Objective):
    """The teacher's answers as targets and, with a weight above 0, the labels beside them.

    Classes: soft cross-entropy at a temperature. Regression: mean squared error of the two models' logits (the
    published code takes the gold scores there, which are the term of the labels here). Both models have their logits in
    the task's order. teacher_layers: all that the teacher has, since its head sits on the last.
    """

    def __init__(self, regression: bool, temperature: float, hard_label_weight: float, teacher_layers: int) -> None:
        super().__init__()
        self.regression, self.temperature, self.teacher_layers = regression, temperature, teacher_layers
        self.terms = [Term("prediction", "prediction", 1.0)]
        if hard_label_weight:
            self.terms.append(Term("label", "label", hard_label_weight))

    @property
    def wanted(self) -> Wanted:
        return Wanted()

    def forward(self, student: Features, teacher: Features | None, batch: dict[str, Tensor]) -> list[Tensor]:
        assert student.logits is not None and teacher is not None and teacher.logits is not None
        if self.regression:
            soft = (widen(student.logits) - widen(teacher.logits)).square().mean()
        else:
            soft = soft_cross_entropy(student.logits, teacher.logits, self.temperature)
        hard = [label_loss(student.logits, batch["labels"], self.regression)] if len(self.terms) > 1 else []
        return [soft, *hard]


def soft_cross_entropy(student_BC: Tensor, teacher_BC: Tensor, temperature: float) -> Tensor:
    """-sum_c softmax(z_t / t)_c log softmax(z_s / t)_c, mean over the batch: a scalar in float32 (float64 for float64).

    As published there is no factor t^2, so a higher temperature t also lowers the gradient. The paper's formula leaves
    open what is averaged; its code takes the mean over the C classes too, a constant factor 1 / C, which AdamW cancels.
    """
    targets_BC = (widen(teacher_BC) / temperature).softmax(dim=-1)
    return -(targets_BC * (widen(student_BC) / temperature).log_softmax(dim=-1)).sum(dim=-1).mean()
