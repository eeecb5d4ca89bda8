"""A classifier's pooler and last layer, solved from those of its teacher on the rows of a task."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import BertForSequenceClassification

from megatinybert.models.capture import run_captured
from megatinybert.runtime.dist import World
from megatinybert.runtime.progress_bar import progress_bar
from megatinybert.training.solve.calibration import Batch, Calibration
from megatinybert.training.solve.moments import Moments
from megatinybert.training.solve.student import set_linear

_PASSES = 2
_BOTH = "first of the student, and the teacher's before its tanh"  # states that are kept, beside each other


@torch.no_grad()
def solve_head(
    student: BertForSequenceClassification,
    teacher: BertForSequenceClassification,
    calibration: Calibration,
    world: World,
) -> float:
    """Give the student's head weights by which it answers as its teacher does.

    Returns the error of its logits on held-out rows, as a share of their variance.

    Its pooler takes after those neurons of the teacher's pooler that matter most, E[tanh^2] |w|^2; its classifier is
    fitted to the teacher's logits on the student's own pooled states. Both are in eval mode on the world's device, and
    the student's body has its weights. Every rank calls it.
    """
    ours: Any = student
    theirs: Any = teacher
    width, wide = student.config.hidden_size, teacher.config.hidden_size
    moments = Moments(width, wide, world.device)
    squares_E = torch.zeros(wide, dtype=torch.float64, device=world.device)
    title = f"solving the classifier on {calibration.in_words()}, {_PASSES} passes"
    with progress_bar(_PASSES * calibration.count, "batch", desc=title, disable=not world.is_main) as bar:
        for batch, first, before in _first_states(student, teacher, calibration):
            moments.add(first, before, batch.held_out)
            squares_E += before.tanh().square().sum(dim=0)
            bar.update(world.size)
        effect_E = world.sum(squares_E) * theirs.classifier.weight.double().square().sum(dim=0)
        kept = effect_E.topk(min(width, wide)).indices.sort().values
        set_linear(ours.bert.pooler.dense, moments.shared(world).chosen(kept).ridge())
        moments = Moments(width, theirs.classifier.out_features, world.device)
        for batch, first, before in _first_states(student, teacher, calibration):
            pooled = torch.tanh(ours.bert.pooler.dense(first.float())).double()
            logits = theirs.classifier(before.tanh().to(theirs.classifier.weight.dtype)).double()
            moments.add(pooled, logits, batch.held_out)
            bar.update(world.size)
    solved = moments.shared(world).ridge()
    set_linear(ours.classifier, solved)
    return solved.error


def _first_states(
    student: BertForSequenceClassification, teacher: BertForSequenceClassification, calibration: Calibration
) -> Iterator[tuple[Batch, Tensor, Tensor]]:
    """(batch, the student's last state of the first token (B, D), the teacher's pooler before its tanh (B, E)), in
    float64. Kept for the next pass where there is room.
    """
    ours: Any = student
    theirs: Any = teacher
    for batch in calibration:
        both = batch.states.get(_BOTH)
        if both is None:
            first = run_captured(ours.bert, batch.inputs).hidden_states[-1][:, 0]
            wide = run_captured(theirs.bert, batch.inputs).hidden_states[-1][:, 0]
            both = torch.cat((first.double(), theirs.bert.pooler.dense(wide).double()), dim=1)
            calibration.keep(batch, _BOTH, both)
        first, before = both.tensor_split([student.config.hidden_size], dim=1)
        yield batch, first, before
