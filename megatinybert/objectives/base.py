"""What every objective is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from megatinybert.models.capture import Features, Wanted


@dataclass(frozen=True)
class Term:
    """One scalar of a loss: `group` is what people watch ("attention"), `name` one layer of it ("attention_0")."""

    name: str
    group: str
    weight: float


class Objective(nn.Module):
    """A loss between the features of student and teacher, with whatever it learns beside the student.

    terms: the scalars that `forward` computes, in its order. teacher_layers: how many layers of the teacher it needs.
    Those of general.sh that have a teacher are made of (ObjectiveConfig, the student's and the teacher's BertConfig),
    and raise ValueError where the two models do not fit.
    """

    terms: list[Term]
    teacher_layers: int

    @property
    def wanted(self) -> Wanted:
        """What it reads of its teacher's features; unless an objective says less, those of all `teacher_layers`."""
        return Wanted(frozenset(range(self.teacher_layers + 1)), frozenset(range(self.teacher_layers)))

    @property
    def last_projection(self) -> nn.Linear | None:
        """What takes the student's last hidden states to the teacher's, where the objective learns such a map."""
        return None

    @property
    def fixed(self) -> list[nn.Parameter]:
        """Its weights that keep their first values."""
        return []

    def forward(self, student: Features, teacher: Features | None, batch: dict[str, Tensor]) -> list[Tensor]:
        """Unweighted scalars (float32), one for each of `terms`.

        teacher: None in a run without one. batch: what both models read, with the labels where there are any.
        """
        raise NotImplementedError


def by_group(terms: Sequence[Term], losses: Sequence[float]) -> dict[str, float]:
    """Sum the unweighted losses of each group, in the order of the terms."""
    sums: dict[str, float] = {}
    for term, loss in zip(terms, losses, strict=True):
        sums[term.group] = sums.get(term.group, 0.0) + loss
    return sums
