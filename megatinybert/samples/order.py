"""Which sample comes when: a function of (seed, position).

Nothing is stored and nothing is drawn: the sample at a position is computed by a keyed permutation, so resuming a
run is arithmetic on one number, any rank can ask for any position, and memory does not grow with the corpus.
Positions run on across epochs; every epoch visits every sample exactly once, in an order of its own.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

_ROUNDS = 6  # 4 Feistel rounds already pass as a pseudo-random permutation (Luby and Rackoff 1988); 2 for margin

# Blocks whose samples are mixed together: enough that a batch draws from many places of the corpus, few enough that
# what a slow disk has read ahead of one block is still in memory when the next samples of it are due.
GROUP = 64


class Stream(IntEnum):
    """What a run's random numbers are for: a part of what is hashed, so that two purposes draw independently.

    The order of every run depends on these values, so none changes, and none is given to another purpose.
    Augmentation is a program of its own and has streams of its own (tasks/augment/rewrite.py).
    """

    BLOCKS = 1  # the order of the blocks in an epoch
    SHORT_BLOCK = 2  # the slot of the last block, which may be short
    GROUPS = 3  # the order of the samples within a group of blocks
    PAIRED = 4  # whether a window is split into two segments
    SPLIT = 5  # where it is split
    DROPOUT = 6  # the seed of torch's generator in the passes of a micro batch
    MIXTURE = 7  # which positions of a round draw from which corpus
    CORPUS = 8  # the seed of each corpus of a mixture
    BUCKETS = 9  # the order of the global batches within a group of like lengths
    MASKED = 10  # which tokens of a row are masked
    MASKED_AS = 11  # whether a masked token becomes [MASK], another token or itself
    MASKED_TOKEN = 12  # which other token
    SKIPPED = 13  # whether the positions of a window skip ahead
    CUT_1 = 14  # where they skip: the two cuts
    CUT_2 = 15
    AHEAD_1 = 16  # how far: the positions skipped by the end of each cut
    AHEAD_2 = 17
    SHORT = 18  # whether the windows of a step are cut into short rows
    PIECES = 19  # into how many


def keyed_hash(*parts: int | np.ndarray) -> np.ndarray:
    """Hash integers (scalars or broadcastable arrays) to uint64, well mixed in every bit.

    Each part goes through the finaliser of SplitMix64 (Steele, Lea and Flood 2014). Used for keys and for every
    random choice about a sample, so a choice depends on its arguments alone.
    """
    state: np.ndarray | np.uint64 = np.uint64(0)
    with np.errstate(over="ignore"):
        for part in parts:
            state = state + np.uint64(0x9E3779B97F4A7C15) + np.asarray(part).astype(np.uint64)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return np.asarray(state, dtype=np.uint64)


def uniform(*parts: int | np.ndarray) -> np.ndarray:
    """Hash integers to float64 in [0, 1): the top 53 bits of `keyed_hash`."""
    return (keyed_hash(*parts) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permute(index: np.ndarray, size: np.ndarray | np.uint64, key: np.ndarray | np.uint64) -> np.ndarray:
    """Permute each `index` within [0, size) by the permutation that `key` names. All uint64, broadcast together.

    A Feistel network over Z_a x Z_b with a = ceil(sqrt(size)) and b = ceil(size / a), so that the domain a*b exceeds
    `size` by less than one row; an image outside [0, size) is sent through again until it falls inside (cycle walking).
    """
    index, size, key = np.broadcast_arrays(index, size, key)
    rows = np.ceil(np.sqrt(size.astype(np.float64))).astype(
        np.uint64
    )  # need not be exact: any a and b with a*b >= size do
    columns = (size + rows - np.uint64(1)) // rows
    image = index.copy()
    pending = np.arange(image.size)
    flat, flat_size, flat_key = image.reshape(-1), size.reshape(-1), key.reshape(-1)
    flat_rows, flat_columns = rows.reshape(-1), columns.reshape(-1)
    while pending.size:
        a, b, k = flat_rows[pending], flat_columns[pending], flat_key[pending]
        left, right = flat[pending] // b, flat[pending] % b
        for number in range(_ROUNDS // 2):
            left = (left + keyed_hash(right, k, 2 * number) % a) % a
            right = (right + keyed_hash(left, k, 2 * number + 1) % b) % b
        flat[pending] = left * b + right
        pending = pending[flat[pending] >= flat_size[pending]]
    return image


class SampleOrder:
    """Position -> (sample id, epoch), in two levels so that disks and shared file systems survive.

    Neighbouring samples form blocks of `block` (read next to each other from disk). Blocks are permuted; then samples
    are permuted inside groups of `group` consecutive permuted blocks. With block = 1 the first level alone is a full
    shuffle.

    Raises ValueError where a size is not positive.
    """

    def __init__(self, samples: int, seed: int, block: int = 1, group: int = GROUP) -> None:
        for name, value in (("samples", samples), ("block", block), ("group", group)):
            if value < 1:
                raise ValueError(f"the order of samples needs {name} >= 1, not {value}")
        self.samples, self.seed, self.block, self.group = samples, seed, min(block, samples), group
        self.blocks = -(-samples // self.block)
        self._missing = self.blocks * self.block - samples  # how many samples the last block is short of

    def __call__(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """positions: int64 (n,), any order -> (sample ids int64 (n,), epochs int64 (n,))."""
        positions = np.asarray(positions, dtype=np.int64)
        epochs, index = np.divmod(positions, self.samples)
        key = keyed_hash(self.seed, epochs, Stream.BLOCKS)
        u = np.uint64
        blocks = u(self.blocks)
        if self.block == 1:
            return permute(index.astype(u), blocks, key).astype(np.int64), epochs
        # The short block may land in any slot. `short` is that slot: blocks are renamed so that permute() sends
        # slot s to block p(s), and the slot of the last block is found by renaming p(short) <-> last.
        short = (keyed_hash(self.seed, epochs, Stream.SHORT_BLOCK) % blocks).astype(np.int64)
        index = self._shuffle_in_group(index, short, epochs)
        slot, offset = np.divmod(self._pad(index, short), self.block)
        image = permute(slot.astype(u), blocks, key).astype(np.int64)
        image_of_short = permute(short.astype(u), blocks, key).astype(np.int64)
        last = self.blocks - 1
        block_id = np.where(slot == short, last, np.where(image == last, image_of_short, image))
        return block_id * self.block + offset, epochs

    def _pad(self, index: np.ndarray, short: np.ndarray) -> np.ndarray:
        """Index among an epoch's samples -> index among its slots, each counted as a whole block."""
        beyond = index >= (short + 1) * self.block - self._missing
        return index + np.where(beyond, self._missing, 0)

    def _shuffle_in_group(self, index: np.ndarray, short: np.ndarray, epochs: np.ndarray) -> np.ndarray:
        number = self._pad(index, short) // (self.group * self.block)

        def start(group: np.ndarray) -> np.ndarray:
            slot = np.minimum(group * self.group, self.blocks)
            return slot * self.block - np.where(short < slot, self._missing, 0)

        begin, end = start(number), start(number + 1)
        key = keyed_hash(self.seed, epochs, Stream.GROUPS, number)
        inside = permute((index - begin).astype(np.uint64), (end - begin).astype(np.uint64), key)
        return begin + inside.astype(np.int64)
