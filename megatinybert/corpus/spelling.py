"""Whether ids spell their text: a sum over its letters, against a sum over the pieces of the ids.

Takes some milliseconds for a million tokens, and a wrong id almost always changes the sum. Only ASCII letters,
digits and punctuation count: what a tokenizer does to accents and other scripts is not followed here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from megatinybert.corpus.texts import Texts

_CASE = np.uint8(ord("a") - ord("A"))


class Spelling:
    """Of one BERT tokenizer. parts: its JSON, read."""

    def __init__(self, parts: dict[str, Any]) -> None:
        self._lowercase: bool = parts["normalizer"]["lowercase"]
        vocabulary: dict[str, int] = parts["model"]["vocab"]
        prefix = parts["model"]["continuing_subword_prefix"]
        spelled = [piece.removeprefix(prefix) if len(piece) > len(prefix) else piece for piece in vocabulary]
        numbers = np.fromiter(vocabulary.values(), np.int64, len(vocabulary))
        self._piece_weights = np.zeros(int(numbers.max()) + 1, dtype=np.uint32)
        self._piece_weights[numbers] = self._sums(Texts.of(spelled))
        # An unknown word may have been any.
        self._piece_weights[vocabulary[parts["model"]["unk_token"]]] = 0

    def doubtful(self, texts: Texts, ids: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Numbers of the texts, one or more, that their ids do not spell: int64. ids: of all texts; ends: int64
        (n + 1,), where the ids of each begin and the last end.
        """
        sums = np.zeros(len(ids) + 1, dtype=np.uint32)  # may wrap around: their differences do as well
        # An id beyond the vocabulary, which is wrong, takes the weight of another: clipping is twice as fast.
        np.cumsum(self._piece_weights.take(ids, mode="clip"), dtype=np.uint32, out=sums[1:])
        return np.flatnonzero(sums[ends[1:]] - sums[ends[:-1]] != self._sums(texts))

    def _sums(self, texts: Texts) -> np.ndarray:
        """The weights of each text's bytes, summed: uint32. White space between texts weighs nothing."""
        letters = np.frombuffer(texts.data, dtype=np.uint8)
        # All uint8, which wraps around: below a bound is then within a range. Not bytes.translate, which would hold
        # Python's global lock.
        visible = letters - np.uint8(0x21) < np.uint8(0x7F - 0x21)  # in ASCII: controls and spaces are dropped
        if self._lowercase:
            letters = letters + _CASE * (letters - np.uint8(ord("A")) < np.uint8(26))
        # x (2 x + 97) is another for each byte x, and no straight line, on which "ac" would weigh as much as "bb".
        weights = letters * np.uint8(2)
        weights += np.uint8(97)
        weights *= letters
        weights *= visible
        return np.add.reduceat(weights, texts.begins, dtype=np.uint32)
