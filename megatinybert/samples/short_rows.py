"""Steps whose windows are cut into short rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from megatinybert.samples.batches import TrainingData
from megatinybert.samples.order import Stream, keyed_hash, uniform

_PIECES = (2, 4, 8)  # of a window, drawn evenly
_FEWEST = 6  # tokens of a piece, special ones not counted


@dataclass(frozen=True)
class ShortRows:
    """Samples of training whose windows are cut, in a share of the steps, into 2, 4 or 8 rows each.

    Which steps, and into how many, is a function of (seed, step), so all rows of a batch are of one length and ranks
    and micro batches change nothing. The first step has whole windows: on it a run is tried before it begins. A student
    that only sees long rows is poor at short ones, such as single sentences (docs/solved-students.md has the figures).
    """

    inner: TrainingData
    seed: int
    share: float
    global_batch: int

    @property
    def samples(self) -> int:
        return self.inner.samples

    def batch(self, positions: np.ndarray) -> dict[str, np.ndarray]:
        """positions: int64 (B,), all of one step -> the batch, of B rows or of a multiple of B shorter ones."""
        whole = self.inner.batch(positions)
        return cut(whole, self.pieces(int(positions[0]) // self.global_batch, whole["input_ids"].shape[1]))

    def pieces(self, step: int, length: int) -> int:
        """How many rows a window of so many tokens is cut into in a step, counted from 0."""
        choices = [pieces for pieces in _PIECES if length - 2 >= pieces * _FEWEST]
        if step == 0 or not choices or uniform(self.seed, step, Stream.SHORT) >= self.share:
            return 1
        return choices[int(keyed_hash(self.seed, step, Stream.PIECES) % np.uint64(len(choices)))]


def cut(rows: Mapping[str, np.ndarray], pieces: int) -> dict[str, np.ndarray]:
    """Rows (B, S), [CLS] tokens [SEP] without padding, in pieces: (B pieces, 2 + ceil((S - 2) / pieces)).

    Each piece gets [CLS] and [SEP] of its own, and segment ids that begin at 0. The last piece begins early enough to
    be as long as the others, so no token is lost. Position ids, where there are any, are those of the row's begin.
    """
    if pieces == 1:
        return dict(rows)
    tokens = rows["input_ids"].shape[1] - 2
    each = -(-tokens // pieces)
    begins = np.minimum(np.arange(pieces) * each, tokens - each)
    places = 1 + begins[:, None] + np.arange(each)  # (pieces, each)
    found: dict[str, np.ndarray] = {}
    for name, array_BS in rows.items():
        if name == "position_ids":
            found[name] = np.repeat(array_BS[:, : each + 2], pieces, axis=0)
            continue
        inside = array_BS[:, places].reshape(-1, each)
        if name == "token_type_ids":
            inside = inside - inside.min(axis=1, keepdims=True)
            first, last = inside[:, :1], inside[:, -1:]
        else:
            first, last = (np.repeat(array_BS[:, [place]], pieces, axis=0) for place in (0, -1))
        found[name] = np.concatenate([first, inside, last], axis=1)
    return found
