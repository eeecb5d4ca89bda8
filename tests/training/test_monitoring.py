"""The bar says what a loss in training is of where held-out losses are of something else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from megatinybert.samples.short_rows import ShortRows
from megatinybert.training.monitoring import _loss_of
from tests.helpers.toys import bert_config


def family(data: object, *dropouts: float) -> Any:
    members = {}
    for place, dropout in enumerate(dropouts):
        shape = bert_config(1, 12, hidden_dropout_prob=dropout, attention_probs_dropout_prob=0.0)
        trainee = SimpleNamespace(student=SimpleNamespace(config=shape))
        members[str(place)] = SimpleNamespace(trainee=trainee, data=data, length=128)
    return SimpleNamespace(members=members, first=members["0"])


@pytest.mark.parametrize(("dropouts", "dropped"), [((0,), ""), ((0.1,), " with dropout"), ((0, 0.1), " with dropout")])
def test_losses_with_dropout_and_on_short_rows_are_told_apart(dropouts: tuple[float, ...], dropped: str) -> None:
    inner: Any = SimpleNamespace(samples=100)
    run = family(ShortRows(inner, seed=0, share=1.0, global_batch=4), *dropouts)
    told = [_loss_of(run, step) for step in range(4)]  # those of step 1 are of whole rows always
    assert told == [dropped, dropped, *[f"{dropped} on short rows (cut windows)"] * 2]
    assert _loss_of(family(inner, *dropouts), 3) == dropped
