"""Masked-language modelling (Devlin et al. 2019, section 3.1)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from megatinybert.models.capture import Features
from megatinybert.objectives.base import Objective, Term
from megatinybert.objectives.label_loss import widen
from megatinybert.samples.masking import IGNORED


class Mlm(Objective):
    """Cross-entropy of the student's logits at the masked positions with the tokens that were there. No teacher."""

    def __init__(self) -> None:
        super().__init__()
        self.terms = [Term("mlm", "mlm", 1.0)]
        self.teacher_layers = 0

    def forward(self, student: Features, teacher: Features | None, batch: dict[str, Tensor]) -> list[Tensor]:
        assert student.logits is not None
        return [masked_loss(student.logits, batch["masked_labels"])]


def masked_loss(logits_BPV: Tensor, labels_BP: Tensor) -> Tensor:
    """Mean over the masked tokens of the batch, a scalar in float32 (float64 for float64); 0 where there are none.

    labels: int64 token ids, and IGNORED in slots without a masked token.
    """
    logits, labels = widen(logits_BPV).flatten(0, 1), labels_BP.flatten()
    total = functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    return total / (labels != IGNORED).sum().clamp(min=1)
