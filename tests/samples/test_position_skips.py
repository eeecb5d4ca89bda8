"""Positions that skip ahead: what rows hold, how often, and that models attend across the skips."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import BertModel

from megatinybert.models.capture import ATTENTION_NAME, run_captured
from megatinybert.samples.position_skips import Skipping, Skips
from tests.helpers.toys import bert_config


class Rows:
    """A sample is its own number, S times."""

    samples = 100

    def batch(self, positions: np.ndarray) -> dict[str, np.ndarray]:
        return {"input_ids": np.repeat(positions[:, None], 8, axis=1)}


def test_rows_rise_from_0_in_at_most_three_runs_and_end_inside() -> None:
    ids = Skips(0, 1.0, 16, 64)(np.arange(5000))
    steps = np.diff(ids, axis=1)
    assert ids.shape == (5000, 16) and ids.dtype == np.int64
    assert (ids[:, 0] == 0).all() and (steps >= 1).all() and ids.max() == 63
    assert ((steps > 1).sum(axis=1) <= 2).all() and (steps > 1).any(axis=0).all()


def test_all_positions_and_all_pairs_of_them_are_reached() -> None:
    ids = Skips(3, 1.0, 16, 24)(np.arange(20_000))
    met = np.zeros((24, 24), dtype=bool)
    for row in ids:
        met[np.ix_(row, row)] = True
    assert met.all()


def test_the_share_of_rows_is_as_asked() -> None:
    ids = Skips(1, 0.25, 16, 64)(np.arange(40_000))
    skipping = (ids != np.arange(16)).any(axis=1)
    # Of two draws of 49 skips, both are 0 once in 49 * 49 rows.
    assert skipping.mean() == pytest.approx(0.25 * (1 - 1 / 49**2), abs=0.01)
    assert (Skips(1, 0.0, 16, 64)(np.arange(100)) == np.arange(16)).all()


def test_they_are_a_function_of_seed_and_position() -> None:
    whole = Skips(5, 0.5, 8, 32)(np.arange(60))
    assert np.array_equal(Skips(5, 0.5, 8, 32)(np.array([41, 7])), whole[[41, 7]])
    assert not np.array_equal(Skips(6, 0.5, 8, 32)(np.arange(60)), whole)
    data = Skipping(Rows(), Skips(5, 0.5, 8, 32))
    batch = data.batch(np.array([41, 7]))
    assert data.samples == 100 and np.array_equal(batch["position_ids"], whole[[41, 7]])
    assert batch["input_ids"][0, 0] == 41


@pytest.mark.parametrize("positions", [16, 8])
def test_where_there_is_nothing_to_skip_to_it_is_refused(positions: int) -> None:
    with pytest.raises(ValueError, match=rf"--data.position_skips 0.5: .* 16 tokens take all {positions} positions"):
        Skips(0, 0.5, 16, positions)


def test_a_row_with_a_skip_is_one_text_to_the_models() -> None:
    """The library takes positions that do not follow each other for several texts in some architectures; not here."""
    torch.manual_seed(0)
    config = bert_config(initializer_range=0.2)
    config._attn_implementation = ATTENTION_NAME
    model = BertModel(config, add_pooling_layer=False).eval()
    ids = torch.randint(5, 100, (1, 8))
    batch = {"input_ids": ids, "token_type_ids": torch.zeros_like(ids)}
    far = torch.tensor([[0, 1, 2, 30, 31, 50, 51, 52]])
    with torch.no_grad():
        skipped = run_captured(model, {**batch, "position_ids": far})
        plain = run_captured(model, batch)
        table = model.embeddings.position_embeddings.weight
        table[:8] = table[far[0]].clone()  # the same embeddings at the usual positions
        moved = run_captured(model, batch)
    assert torch.equal(skipped.hidden_states[-1], moved.hidden_states[-1])
    assert not torch.allclose(skipped.hidden_states[-1], plain.hidden_states[-1], atol=1e-3)
