"""Which tokens are masked, by how many and by what: exact counts, and shares over many rows."""

import numpy as np
import pytest
from tokenizers import Tokenizer

from megatinybert.corpus.tokenizer import load_tokenizer
from megatinybert.samples.masking import Masked, MaskedHeldOut, Masking
from tests.helpers.toys import VOCABULARY

PAD, UNK, CLS, SEP, MASK = range(5)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    return load_tokenizer(folder)


class Rows:
    """[CLS] tokens [SEP] with as many tokens as `counts` says, the next row at each position."""

    def __init__(self, *counts: int) -> None:
        self.counts = np.array(counts)
        self.samples, self.length = len(counts), max(counts) + 2

    def __len__(self) -> int:
        return self.samples

    def batch(self, positions: np.ndarray) -> dict[str, np.ndarray]:
        counts = self.counts[positions % len(self.counts)][:, None]
        places = np.arange(self.length)
        tokens = 5 + (7 * positions[:, None] + places) % 95
        tokens = np.where(
            places == 0, CLS, np.where(places <= counts, tokens, np.where(places == counts + 1, SEP, PAD))
        )
        batch = {"input_ids": tokens, "token_type_ids": np.zeros_like(tokens)}
        if (places > counts + 1).any():
            batch["attention_mask"] = (places <= counts + 1).astype(np.int64)
        return batch


def found(batch: dict[str, np.ndarray], row: int) -> dict[int, int]:
    """{place: label} of a row."""
    pairs = zip(batch["masked_positions"][row].tolist(), batch["masked_labels"][row].tolist(), strict=True)
    return {place: label for place, label in pairs if label != -100}


@pytest.mark.parametrize("probability", [0.15, 0.5, 1.0])
def test_every_row_has_exactly_its_share(tokenizer: Tokenizer, probability: float) -> None:
    rows = Rows(*range(1, 40))
    plain, batch = rows.batch(np.arange(39)), Masked(rows, Masking(tokenizer, 0, probability)).batch(np.arange(39))
    for row in range(39):
        chosen = found(batch, row)
        assert len(chosen) == max(round(probability * (row + 1)), 1)
        for place, label in chosen.items():
            assert label == plain["input_ids"][row, place] and 1 <= place <= row + 1
        untouched = [place for place in range(rows.length) if place not in chosen]
        assert (batch["input_ids"][row, untouched] == plain["input_ids"][row, untouched]).all()
        unused = batch["masked_labels"][row] == -100
        assert (batch["masked_positions"][row, unused] == 0).all()
    assert batch["masked_positions"].shape == (39, round(probability * 39))
    assert {batch[name].dtype for name in ("input_ids", "masked_positions", "masked_labels")} == {np.dtype(np.int64)}
    assert (batch["attention_mask"] == plain["attention_mask"]).all()


def test_rows_of_special_tokens_alone_stay_as_they_are(tokenizer: Tokenizer) -> None:
    special = {"input_ids": np.tile([CLS, UNK, MASK, SEP], (3, 1))}
    batch = Masking(tokenizer, 0, 1.0)(special, np.arange(3))
    assert batch["input_ids"].tolist() == [[CLS, UNK, MASK, SEP]] * 3
    assert (batch["masked_labels"] == -100).all()


def test_eight_in_ten_become_the_mask_one_another_token_one_stays(tokenizer: Tokenizer) -> None:
    rows, count = Rows(40), 5000
    batch = Masked(rows, Masking(tokenizer, 1)).batch(np.arange(count))
    labels = batch["masked_labels"]
    now = np.take_along_axis(batch["input_ids"], batch["masked_positions"], axis=1)
    tokens = count * 6
    assert labels.shape == (count, 6) and labels.min() >= 5

    def four_deviations(share: float) -> float:
        return 4 * (share * (1 - share) / tokens) ** 0.5

    masked, same = (now == MASK).mean(), (now == labels).mean()
    assert abs(masked - 0.8) < four_deviations(0.8)
    kept = 0.1 + 0.1 / 95  # the token that is drawn may be the one that was there
    assert abs(same - kept) < four_deviations(kept)
    drawn = now[(now != MASK) & (now != labels)]
    assert drawn.min() == 5 and drawn.max() == 99, "special tokens are never drawn, all others are"
    counts = np.bincount(drawn, minlength=100)[5:]
    expected = len(drawn) / 95
    assert ((counts - expected) ** 2 / expected).sum() < 94 + 4 * (2 * 94) ** 0.5


def test_every_place_is_chosen_alike(tokenizer: Tokenizer) -> None:
    count = 8000
    places = Masked(Rows(20), Masking(tokenizer, 2)).batch(np.arange(count))["masked_positions"]
    counts = np.bincount(places.ravel(), minlength=22)
    assert counts[0] == counts[21] == 0
    expected = 3 * count / 20
    assert ((counts[1:21] - expected) ** 2 / expected).sum() < 19 + 4 * (2 * 19) ** 0.5


def test_what_is_masked_depends_on_seed_and_position_alone(tokenizer: Tokenizer) -> None:
    rows = Rows(30, 12, 25, 8)
    masked = Masked(rows, Masking(tokenizer, 3))
    whole = masked.batch(np.arange(40))
    order = np.random.default_rng(0).permutation(40)
    again = masked.batch(order)
    for number, position in enumerate(order):
        alone = masked.batch(np.array([position]))
        assert found(again, number) == found(whole, position) == found(alone, 0)
        assert (again["input_ids"][number] == whole["input_ids"][position]).all()
        assert (alone["input_ids"][0] == whole["input_ids"][position]).all()
    other = Masked(rows, Masking(tokenizer, 4)).batch(np.arange(40))
    assert [found(other, row) for row in range(40)] != [found(whole, row) for row in range(40)]


def test_the_inner_batch_is_left_as_it_was(tokenizer: Tokenizer) -> None:
    inner = Rows(20).batch(np.arange(4))
    before = inner["input_ids"].copy()
    masked = Masking(tokenizer, 0, 1.0)(inner, np.arange(4))
    assert (inner["input_ids"] == before).all() and (masked["input_ids"] != before).any()


def test_epochs_are_masked_otherwise_and_held_out_rows_alike(tokenizer: Tokenizer) -> None:
    rows, masking = Rows(30, 25), Masking(tokenizer, 0)
    samples, held_out = Masked(rows, masking), MaskedHeldOut(rows, masking)
    assert samples.samples == len(held_out) == 2
    first, second = (samples.batch(np.array([epoch * 2])) for epoch in range(2))
    assert set(found(first, 0)) != set(found(second, 0))
    assert found(held_out.batch(np.array([1, 0])), 1) == found(held_out.batch(np.array([0])), 0)
