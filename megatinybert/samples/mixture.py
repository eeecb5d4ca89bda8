"""Which corpus of a mixture a position draws from.

Positions fall into rounds of R. With C_k the sum of the first k shares, the first k corpora own floor(C_k R r) of the
positions before round r, counted in exact integers. So corpus k owns A_k(r) = floor(C_{k+1} R r) - floor(C_k R r) of
them, which is within one position of its share however long the run, and A_k(r+1) - A_k(r) positions of round r. A
keyed permutation scatters them over the round. The nth position of a corpus takes the nth window of that corpus's own
order, so every corpus makes epochs of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from megatinybert.runtime.counts import counted
from megatinybert.samples.order import Stream, keyed_hash, permute
from megatinybert.samples.windows import Windows

_ROUND = 4096  # positions of a round, and more where a share is small
_SMALLEST_SHARE = Fraction(1, 1_000_000)


def exact_shares(weights: Sequence[float]) -> list[Fraction]:
    """Positive weights -> shares that add up to 1, exactly those of the decimal numbers that were written."""
    exact = [Fraction(str(weight)) for weight in weights]
    return [weight / sum(exact) for weight in exact]


def interleave(
    corpora_B: np.ndarray, rows_of: Callable[[int, np.ndarray], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """One batch of rows of several corpora. corpora_B: the corpus of each row, int64.

    rows_of: takes a corpus and its places in `corpora_B`, gives its rows in that order, as `Windows.batch` does.
    """
    batch: dict[str, np.ndarray] = {}
    for corpus in np.unique(corpora_B):
        places = np.flatnonzero(corpora_B == corpus)
        for name, rows in rows_of(int(corpus), places).items():
            batch.setdefault(name, np.empty((len(corpora_B), *rows.shape[1:]), rows.dtype))[places] = rows
    return batch


class Mixture:
    """The samples of several corpora, mixed by weight, in place of one corpus's `Windows`.

    corpora: the windows of each, all of one length. shares: of `exact_shares`, one for each. names: for messages.
    samples: of all corpora together, which is what counts as one epoch.

    Raises ValueError where a share is below one in a million.
    """

    def __init__(self, corpora: Sequence[Windows], shares: Sequence[Fraction], names: Sequence[str], seed: int) -> None:
        for share, name in zip(shares, names, strict=True):
            if share < _SMALLEST_SHARE:
                raise ValueError(
                    f"--data.mixture gives {name} a share of {float(share):.1e} of all windows, less than one in a "
                    "million: raise its weight or leave it out"
                )
        self.corpora, self.shares, self.names, self.seed = list(corpora), list(shares), list(names), seed
        self.samples = sum(windows.samples for windows in corpora)
        # Two positions of each corpus in every round, so that rounding never makes a count negative.
        self.round = max(_ROUND, math.ceil(2 / min(shares)))
        self._denominator = math.lcm(*(share.denominator for share in shares))
        numerators = [int(share * self._denominator) for share in shares]
        self._cumulative = [sum(numerators[:count]) for count in range(len(numerators) + 1)]

    def batch(self, positions: np.ndarray) -> dict[str, np.ndarray]:
        """positions: int64 (B,) -> the batch at those places of the order, as `Windows.batch` gives it."""
        corpora_B, index_B = self.place(positions)
        return interleave(corpora_B, lambda corpus, places: self.corpora[corpus].batch(index_B[places]))

    def place(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """positions: int64 (B,) -> (corpus of each, int64 (B,); position in that corpus's own order, int64 (B,))."""
        rounds_B, inside_B = np.divmod(np.asarray(positions, dtype=np.int64), self.round)
        key_B = keyed_hash(self.seed, rounds_B, Stream.MIXTURE)
        slot_B = permute(inside_B.astype(np.uint64), np.uint64(self.round), key_B).astype(np.int64)
        rounds, of_B = np.unique(rounds_B, return_inverse=True)
        before = self._owned(rounds)
        first_slot_BK = (self._owned(rounds + 1) - before)[of_B]
        corpora_B = (slot_B[:, None] >= first_slot_BK[:, 1:]).sum(axis=1)
        rows = np.arange(len(slot_B))
        index_B = np.diff(before)[of_B, corpora_B] + slot_B - first_slot_BK[rows, corpora_B]
        return corpora_B, index_B

    def drawn(self, positions: int) -> np.ndarray:
        """How many of the first `positions` positions each corpus owns: int64 (K,)."""
        rounds, rest = divmod(positions, self.round)
        corpora, _ = self.place(rounds * self.round + np.arange(rest))
        return np.diff(self._owned(np.array([rounds])))[0] + np.bincount(corpora, minlength=len(self.corpora))

    def lines(self, positions: int) -> list[str]:
        """What a run over the first `positions` positions makes of each corpus, for people."""
        drawn = self.drawn(positions).tolist()
        return [
            f"{name}: {_percent(share)} of the run, {counted(count, 'window')}, "
            f"{count / windows.samples:.3g} passes over its {windows.samples:,}"
            for share, name, windows, count in zip(self.shares, self.names, self.corpora, drawn, strict=True)
        ]

    def warnings(self, positions: int) -> list[str]:
        """A line about each corpus that a run over the first `positions` positions takes nothing of."""
        drawn = self.drawn(positions).tolist()
        return [
            f"--data.mixture gives {name} {_percent(share)}, and a run of {positions:,} windows takes none of it: "
            "raise its weight, or leave it out"
            for share, name, count in zip(self.shares, self.names, drawn, strict=True)
            if not count
        ]

    def _owned(self, rounds: np.ndarray) -> np.ndarray:
        """rounds: int64 (r,) -> how many of the positions before each the first 0 .. K corpora own: int64 (r, K + 1).

        In Python's integers: the products exceed 64 bits.
        """
        owned = [
            [numerator * self.round * count // self._denominator for numerator in self._cumulative]
            for count in rounds.tolist()
        ]
        return np.array(owned, dtype=np.int64).reshape(len(rounds), len(self._cumulative))


def _percent(share: Fraction) -> str:
    return f"{100 * float(share):.3g} %"
