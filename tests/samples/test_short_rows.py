"""Windows cut into short rows: no token lost, framed like any row, and the same for any ranks and micro batches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from megatinybert.samples.short_rows import ShortRows, cut

CLS, SEP = 101, 102


@dataclass(frozen=True)
class Counting:
    """Rows of consecutive tokens with a second segment from the middle on."""

    length: int
    samples: int = 100

    def batch(self, positions: np.ndarray) -> dict[str, np.ndarray]:
        inside = 1000 + positions[:, None] * 1000 + np.arange(self.length - 2)
        ends = np.ones((len(positions), 1), dtype=np.int64)
        ids = np.concatenate([CLS * ends, inside, SEP * ends], axis=1)
        segments = np.broadcast_to((np.arange(self.length) > self.length // 2).astype(np.int64), ids.shape)
        return {"input_ids": ids, "token_type_ids": segments}


@pytest.mark.parametrize("pieces", [2, 4, 8])
@pytest.mark.parametrize("length", [66, 67, 128])
def test_pieces_hold_every_token_in_order_and_are_framed(pieces: int, length: int) -> None:
    whole = Counting(length).batch(np.arange(3))
    rows = cut(whole, pieces)
    ids, segments = rows["input_ids"], rows["token_type_ids"]
    assert ids.shape == segments.shape == (3 * pieces, 2 + -(-(length - 2) // pieces))
    assert (ids[:, 0] == CLS).all() and (ids[:, -1] == SEP).all()
    for row in range(3):
        held = ids[row * pieces : (row + 1) * pieces, 1:-1]
        assert set(held.ravel()) == set(whole["input_ids"][row, 1:-1])
        assert (np.diff(held, axis=1) == 1).all()
    assert (segments.min(axis=1) == 0).all() and (np.diff(segments, axis=1) >= 0).all()


def test_segments_stay_with_their_tokens() -> None:
    whole = Counting(66).batch(np.arange(1))
    rows = cut(whole, 4)  # of 16 tokens each; the second segment begins within the third piece
    assert rows["token_type_ids"].tolist() == [[0] * 18, [0] * 18, [0, 0] + [1] * 16, [0] * 18]


def test_position_ids_begin_as_the_row_does() -> None:
    whole = Counting(34).batch(np.arange(2)) | {"position_ids": np.stack([np.arange(34), np.arange(34) * 2])}
    assert cut(whole, 4)["position_ids"].tolist() == [list(range(10))] * 4 + [list(range(0, 20, 2))] * 4


def test_a_step_is_cut_alike_whatever_its_micro_batches() -> None:
    data = ShortRows(Counting(128), seed=3, share=0.5, global_batch=4)
    lengths = []
    for step in range(60):
        whole = data.batch(4 * step + np.arange(4))
        halves = [data.batch(4 * step + 2 * half + np.arange(2)) for half in range(2)]
        for name in whole:
            np.testing.assert_array_equal(whole[name], np.concatenate([half[name] for half in halves]))
        lengths.append(whole["input_ids"].shape[1])
    assert lengths[0] == 128 and set(lengths) == {128, 65, 34, 18}
    assert 15 < sum(length < 128 for length in lengths) < 45
    assert lengths != [
        ShortRows(Counting(128), 4, 0.5, 4).batch(4 * s + np.arange(4))["input_ids"].shape[1] for s in range(60)
    ]


def test_windows_that_are_short_already_stay() -> None:
    data = ShortRows(Counting(12), seed=0, share=1.0, global_batch=2)
    assert all(data.batch(2 * step + np.arange(2))["input_ids"].shape == (2, 12) for step in range(20))
