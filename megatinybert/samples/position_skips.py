"""Windows whose positions skip ahead."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from megatinybert.samples.batches import TrainingData
from megatinybert.samples.order import Stream, keyed_hash, uniform


class Skips:
    """Draws the position ids of each row of a batch, by a function of (seed, position of the row).

    A share `probability` of the rows is cut into three runs. The first keeps its positions from 0 on; each of the
    others begins some positions beyond the end of the one before it, up to the last of `positions`. Cuts and skips are
    drawn evenly. So rows of S tokens hold every position below `positions`, and every pair of them. This is the
    skip-wise training of Zhu et al. (2023, "PoSE") with a third run, since the first one has to begin with [CLS].

    Raises ValueError where there is no position to skip to.
    """

    def __init__(self, seed: int, probability: float, length: int, positions: int) -> None:
        """length: tokens of a row (S). positions: those that both models have."""
        if positions <= length:
            raise ValueError(
                f"--data.position_skips {probability:g}: windows of --data.sequence_length {length} tokens take all "
                f"{positions} positions of the models, so there is none to skip to; set it to 0"
            )
        self.seed, self.probability, self.length, self.positions = seed, probability, length, positions

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """rows: int64 (B,), positions in the order of training -> position ids, int64 (B, S)."""
        place_S = np.arange(self.length)
        skips_B = uniform(self.seed, rows, Stream.SKIPPED) < self.probability
        cuts_B2 = 1 + self._draw(rows, self.length - 1, (Stream.CUT_1, Stream.CUT_2))  # [CLS] is before both
        ahead_B2 = self._draw(rows, self.positions - self.length + 1, (Stream.AHEAD_1, Stream.AHEAD_2))
        steps_B2 = np.diff(ahead_B2, axis=1, prepend=0) * skips_B[:, None]
        return place_S + (steps_B2[:, :, None] * (place_S >= cuts_B2[:, :, None])).sum(axis=1)

    def _draw(self, rows: np.ndarray, choices: int, streams: tuple[Stream, Stream]) -> np.ndarray:
        """Two whole numbers below `choices` for each row, the smaller one first: int64 (B, 2)."""
        numbers = [keyed_hash(self.seed, rows, stream) % np.uint64(choices) for stream in streams]
        return np.sort(np.stack(numbers, axis=1).astype(np.int64), axis=1)


@dataclass(frozen=True)
class Skipping:
    """Samples of training with the position ids that `skips` draws, otherwise in every epoch."""

    inner: TrainingData
    skips: Skips

    @property
    def samples(self) -> int:
        return self.inner.samples

    def batch(self, positions: np.ndarray) -> dict[str, np.ndarray]:
        """positions: int64 (B,) -> the batch, with "position_ids" int64 (B, S)."""
        return {**self.inner.batch(positions), "position_ids": self.skips(positions)}
