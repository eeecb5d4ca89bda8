"""Whether ids spell their text: a sum over its letters, against a sum over the pieces of the ids.

Takes some milliseconds for a million tokens, and a wrong id almost always changes the sum. Only ASCII letters,
digits and punctuation count: what a tokenizer does to accents and other scripts is not followed here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from megatinybert.corpus.texts import Texts


class Spelling:
    """Of one BERT tokenizer. parts: its JSON, read."""

    def __init__(self, parts: dict[str, Any]) -> None:
        lowercase = parts["normalizer"]["lowercase"]
        weights = bytearray(256)
        for byte in range(0x21, 0x7F):  # all that is visible in ASCII: controls and spaces are dropped
            letter = ord(chr(byte).lower()) if lowercase else byte
            weights[byte] = 1 + (letter * 97) % 251  # different for each, and of no pattern
        self._weights = bytes(weights)
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
        letters = np.frombuffer(texts.data.translate(self._weights), dtype=np.uint8)
        return np.add.reduceat(letters, texts.begins, dtype=np.uint32)
