"""Documents that were there before, found by hashes of their ids.

64 bits decide: of a hundred million documents, one is taken for a copy by mistake with a probability of 3 in 10,000.
The hash of a document that comes in parts follows from those of its parts.
"""

from __future__ import annotations

import os
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np

HASHES = "documents.hashes.partial"
_HASH = np.dtype("<u8")
_SEGMENT = 1 << 22  # hashes that are held in memory, and in one sorted piece on disk
_BASE = 0x9E3779B97F4A7C15 | 5  # odd, so that it has an inverse modulo 2^64
_INVERSE = pow(_BASE, -1, 1 << 64)
_FEWEST_POWERS = 1 << 19  # as many as a block mostly needs: 4 MiB


def document_hashes(tokens: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """uint64 (documents,). tokens: ids of all documents, 1-D, without [SEP]; counts: how many each has, above 0.

    It is the sum over a document's ids of mix(id) * BASE^position, modulo 2^64, computed for all documents at once:
    with positions in `tokens`, and divided by BASE^(first position).
    """
    if not len(counts):
        return np.empty(0, dtype=_HASH)
    starts = np.cumsum(counts) - counts
    terms = _mixed(1 << int(tokens.max()).bit_length()).take(tokens, mode="clip")  # nothing to clip: only faster
    size = max(_FEWEST_POWERS, 1 << (len(tokens) - 1).bit_length())
    terms *= _powers(_BASE, size)[: len(tokens)]
    inverse = _powers(_INVERSE, size)[starts]
    return np.asarray(np.add.reduceat(terms, starts) * inverse, dtype=_HASH)


def joined(first: int, length: int, second: int) -> int:
    """The hash of two parts of a document. length: of the first, in ids."""
    return (first + pow(_BASE, length, 1 << 64) * second) % (1 << 64)


@lru_cache(maxsize=4)
def _powers(base: int, count: int) -> np.ndarray:
    factors = np.full(count, base, dtype=np.uint64)
    factors[0] = 1
    return np.cumprod(factors, dtype=np.uint64)


@lru_cache(maxsize=2)
def _mixed(count: int) -> np.ndarray:
    """A random number for every id (the finaliser of splitmix64)."""
    z = (np.arange(count, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


class SeenDocuments:
    """The hashes of the documents so far. Memory holds 4 million of them, 32 MiB; the rest lies on disk, 16 bytes each
    while a build runs: in order in a file that a resumed build reads again, and in sorted pieces.
    """

    def __init__(self, folder: Path, count: int, segment: int = _SEGMENT) -> None:
        """count: of the hashes of an earlier run. Raises ValueError where their file is missing or cut short."""
        path = folder / HASHES
        if count and (not path.is_file() or path.stat().st_size < count * _HASH.itemsize):
            raise ValueError(f"{path} is missing or cut short: delete {folder} and start over")
        self._log = path.open("r+b" if count else "w+b")
        self._log.truncate(count * _HASH.itemsize)
        self._pieces = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed in close()
        self._segments: list[np.ndarray] = []  # on disk, each sorted
        self._recent: list[np.ndarray] = []  # in memory, each sorted, each less than half of the one before
        self._segment = segment
        while part := self._log.read(segment * _HASH.itemsize):
            self._remember(np.sort(np.frombuffer(part, dtype=_HASH)))

    def unseen(self, hashes: np.ndarray) -> np.ndarray:
        """Which of these, in order, are there for the first time: bool (N,). They are remembered."""
        unique, first = np.unique(hashes, return_index=True)
        known = np.zeros(len(unique), dtype=bool)
        for piece in (*self._segments, *self._recent):
            places = np.minimum(np.searchsorted(piece, unique), len(piece) - 1)
            known |= piece[places] == unique
        mask = np.zeros(len(hashes), dtype=bool)
        mask[first[~known]] = True
        self._log.write(hashes[mask].astype(_HASH).tobytes())
        self._remember(unique[~known])
        return mask

    def flush(self) -> int:
        """Make them durable: their number."""
        self._log.flush()
        os.fsync(self._log.fileno())
        return self._log.tell() // _HASH.itemsize

    def close(self) -> None:
        self._log.close()
        self._pieces.close()

    def _remember(self, hashes: np.ndarray) -> None:
        """hashes: sorted."""
        if not len(hashes):
            return
        self._recent.append(hashes)
        while len(self._recent) > 1 and 2 * len(self._recent[-1]) >= len(self._recent[-2]):
            last = self._recent.pop()
            self._recent[-1] = np.sort(np.concatenate([self._recent[-1], last]))
        if len(self._recent[0]) >= self._segment:
            whole = self._recent.pop(0)
            offset = self._pieces.seek(0, os.SEEK_END)
            self._pieces.write(whole.tobytes())
            self._pieces.flush()
            self._segments.append(np.memmap(self._pieces, _HASH, "r", offset, (len(whole),)))
