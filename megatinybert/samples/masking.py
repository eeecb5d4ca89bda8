"""Masked tokens (Devlin et al. 2019, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer

from megatinybert.corpus.tokenizer import special_ids
from megatinybert.samples.batches import HeldOutData, TrainingData
from megatinybert.samples.order import Stream, keyed_hash, uniform

IGNORED = -100  # the label of a slot without a masked token, as torch's cross-entropy knows it
_REPLACED, _RANDOM = 0.8, 0.1  # shares of the chosen tokens that become [MASK], and any other token


class Masking:
    """Masks a share of the tokens of each row of a batch, by a function of (seed, position of the row).

    Of each row's tokens that are not special, the share `probability` is chosen, rounded to whole tokens, and at
    least one (as BERT's create_pretraining_data.py has it): else rows of three words would never be learnt from.
    Of those, 80 % become [MASK], 10 % a token drawn from all that are not special, 10 % stay.
    tokenizer: of the text. probability: above 0, at most 1.
    """

    def __init__(self, tokenizer: Tokenizer, seed: int, probability: float = 0.15) -> None:
        self.seed, self.probability = seed, probability
        names = special_ids(tokenizer)
        added = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
        self._mask = names.mask
        self._special = np.array(sorted(added | {names.cls, names.sep, names.pad, names.mask}), dtype=np.int64)
        every = np.fromiter(tokenizer.get_vocab(with_added_tokens=True).values(), dtype=np.int64)
        self._ordinary = np.setdiff1d(every, self._special)

    def __call__(self, batch: dict[str, np.ndarray], positions: np.ndarray) -> dict[str, np.ndarray]:
        """The batch of the positions, int64 (B,), masked, with "masked_positions" and "masked_labels".

        Both are int64 (B, P), P being the most of a row and at least 1: places in the row, in no order, and the tokens
        that were there. Slots that a row does not need have place 0 and label -100.
        """
        tokens_BS = batch["input_ids"]
        candidates_BS = ~np.isin(tokens_BS, self._special)
        if "attention_mask" in batch:
            candidates_BS &= batch["attention_mask"].astype(bool)
        most_B = candidates_BS.sum(axis=1)
        counts_B = np.minimum(np.rint(self.probability * most_B).clip(min=1), most_B).astype(np.int64)
        # The first tokens of a shuffle of the row in which all that may not be chosen come last.
        keys_BS = uniform(self.seed, positions[:, None], np.arange(tokens_BS.shape[1]), Stream.MASKED)
        shuffled_BS = np.argsort(np.where(candidates_BS, keys_BS, 2.0), axis=1)
        slots_P = np.arange(max(int(counts_B.max()), 1))
        used_BP = slots_P < counts_B[:, None]
        places_BP = np.where(used_BP, shuffled_BS[:, : len(slots_P)], 0)
        originals_BP = np.take_along_axis(tokens_BS, places_BP, axis=1)

        drawn_BP = uniform(self.seed, positions[:, None], places_BP, Stream.MASKED_AS)
        hash_BP = keyed_hash(self.seed, positions[:, None], places_BP, Stream.MASKED_TOKEN)
        other_BP = self._ordinary[hash_BP % np.uint64(len(self._ordinary))]
        masked_BP = np.where(drawn_BP < _REPLACED, self._mask, other_BP)
        masked_BP = np.where(drawn_BP < _REPLACED + _RANDOM, masked_BP, originals_BP)
        rows, slots = np.nonzero(used_BP)
        tokens_BS = tokens_BS.copy()
        tokens_BS[rows, places_BP[rows, slots]] = masked_BP[rows, slots]
        labels_BP = np.where(used_BP, originals_BP, IGNORED)
        return batch | {"input_ids": tokens_BS, "masked_positions": places_BP, "masked_labels": labels_BP}


@dataclass(frozen=True)
class Masked:
    """Samples of training with their tokens masked, otherwise in every epoch."""

    inner: TrainingData
    masking: Masking

    @property
    def samples(self) -> int:
        return self.inner.samples

    def batch(self, positions: np.ndarray) -> dict[str, np.ndarray]:
        """positions: int64 (B,) -> the batch there, as `Masking` gives it."""
        return self.masking(self.inner.batch(positions), positions)


@dataclass(frozen=True)
class MaskedHeldOut:
    """Held-out rows with their tokens masked, alike at every measurement."""

    inner: HeldOutData
    masking: Masking

    def __len__(self) -> int:
        return len(self.inner)

    def batch(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """rows: int64 (B,) -> their batch, as `Masking` gives it."""
        return self.masking(self.inner.batch(rows), rows)
