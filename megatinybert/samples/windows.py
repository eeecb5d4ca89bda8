"""Sample id to model inputs: fixed windows without padding.

A window takes the next consecutive tokens of the stream; the last window is moved back to end with the stream, so it
overlaps its neighbour and no token is lost. A window becomes [CLS] tokens [SEP], or, with `pair_probability`, two
segments [CLS] A [SEP] B [SEP] whose split is drawn from (seed, sample id, epoch): otherwise the student's second
segment embedding would never learn. Every row is full, so batches carry no mask and attention takes its fastest path.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from megatinybert.corpus.shards import TokenShard
from megatinybert.corpus.tokenizer import SpecialIds
from megatinybert.samples.order import SampleOrder, Stream, keyed_hash, uniform


class TokenStream:
    """The tokens of several shards as one sequence, read through their memory maps."""

    def __init__(self, shards: Sequence[TokenShard]) -> None:
        self.shards = [shard for shard in shards if shard.n_tokens]
        self.starts = np.concatenate([[0], np.cumsum([shard.n_tokens for shard in self.shards], dtype=np.int64)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def rows(self, begins: np.ndarray, length: int) -> np.ndarray:
        """begins: int64 (n,) -> tokens int64 (n, length), row i being tokens begins[i] .. begins[i] + length - 1."""
        rows = np.empty((len(begins), length), dtype=np.int64)
        order = np.argsort(begins)  # the order of the disk, where each shard is looked up once
        shards = np.searchsorted(self.starts, begins[order], side="right") - 1
        offsets = begins[order] - self.starts[shards]
        current, tokens = -1, np.empty(0)
        for row, shard, offset in zip(order.tolist(), shards.tolist(), offsets.tolist(), strict=True):
            at = 0
            while at < length:  # once, but for the few windows that run over the end of a shard
                if shard != current:
                    current, tokens = shard, self.shards[shard].tokens
                piece = tokens[offset : offset + length - at]
                rows[row, at : at + len(piece)] = piece
                at, shard, offset = at + len(piece), shard + 1, 0
        return rows


class Windows:
    """The samples of a token stream and their order.

    stream: the tokens. sequence_length: tokens of a window with its special tokens (S). special: ids to frame windows
    with. vocab_size: ids at or above it are refused when they are met. seed, shuffle_block: see SampleOrder.
    reserve: that many windows at the end are no samples, so they can be held out.

    Raises ValueError where the stream is shorter than one window, or a token id does not fit the vocabulary.
    """

    def __init__(
        self,
        stream: TokenStream,
        sequence_length: int,
        special: SpecialIds,
        vocab_size: int,
        pair_probability: float,
        seed: int,
        shuffle_block: int = 1,
        reserve: int = 0,
    ) -> None:
        self.stream, self.sequence_length, self.special, self.vocab_size = stream, sequence_length, special, vocab_size
        self.pair_probability, self.seed = pair_probability, seed
        # Windows of two segments lose a place to the inner [SEP]; where there are any, those of one overlap by a token.
        self._payload = sequence_length - 2
        self._stride = sequence_length - 3 if pair_probability > 0 else sequence_length - 2
        if len(stream) < self._payload:
            raise ValueError(
                f"--data.sequence_length {sequence_length} needs at least {self._payload:,} tokens, but the corpus has "
                f"{len(stream):,}: add text or shorten the sequence"
            )
        self.windows = 1 + -(-(len(stream) - self._payload) // self._stride)
        if not 0 <= reserve < self.windows:
            raise ValueError(f"{reserve:,} windows cannot be held out of a corpus of {self.windows:,}: add text")
        self.samples = self.windows - reserve
        self.order = SampleOrder(self.samples, seed, shuffle_block)

    def batch(self, positions: np.ndarray) -> dict[str, np.ndarray]:
        """positions: int64 (B,) -> the batch at those places of the order, as `batch_of` gives it."""
        return self.batch_of(*self.order(positions))

    def batch_of(self, sample_ids: np.ndarray, epochs: np.ndarray) -> dict[str, np.ndarray]:
        """sample ids and epochs: int64 (B,) -> {"input_ids", "token_type_ids"}: int64 (B, S)."""
        begins = np.minimum(sample_ids * self._stride, len(self.stream) - self._payload)
        tokens_BP = self.stream.rows(begins, self._payload)
        self._check(tokens_BP, sample_ids)
        count, length = len(sample_ids), self.sequence_length
        input_ids_BS = np.full((count, length), self.special.sep, dtype=np.int64)
        input_ids_BS[:, 0] = self.special.cls
        input_ids_BS[:, 1:-1] = tokens_BP
        token_type_ids_BS = np.zeros_like(input_ids_BS)
        if self.pair_probability > 0:
            paired = np.flatnonzero(uniform(self.seed, sample_ids, epochs, Stream.PAIRED) < self.pair_probability)
            # A holds 1 .. P-2 of the P-1 tokens left once a place goes to the inner [SEP]; B holds the rest.
            choices = np.uint64(self._payload - 2)
            hashes = keyed_hash(self.seed, sample_ids[paired], epochs[paired], Stream.SPLIT)
            split = 1 + (hashes % choices).astype(np.int64)
            place = np.arange(length)[None, :]
            after = place > split[:, None] + 1
            shifted = np.concatenate([input_ids_BS[paired, :1], input_ids_BS[paired, :-1]], axis=1)
            shifted[:, -1] = self.special.sep
            rows = np.where(after, shifted, input_ids_BS[paired])
            rows[np.arange(len(paired)), split + 1] = self.special.sep
            input_ids_BS[paired] = rows
            token_type_ids_BS[paired] = after
        return {"input_ids": input_ids_BS, "token_type_ids": token_type_ids_BS}

    def _check(self, tokens_BP: np.ndarray, sample_ids: np.ndarray) -> None:
        if tokens_BP.max() >= self.vocab_size or tokens_BP.min() < 0:
            row = int(np.flatnonzero((tokens_BP >= self.vocab_size).any(1) | (tokens_BP < 0).any(1))[0])
            bad = tokens_BP[row][(tokens_BP[row] >= self.vocab_size) | (tokens_BP[row] < 0)][0]
            raise ValueError(
                f"--data.shards hold token id {bad} (window {sample_ids[row]}), outside the teacher's vocabulary of "
                f"{self.vocab_size:,}: build the shards with the teacher's tokenizer"
            )
