"""The library tokenizers: what every text's ids are measured by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Protocol

import numpy as np
from tokenizers import Encoding, Tokenizer

_BATCH_CHARACTERS = 1 << 18  # per call: its encodings take over 100 bytes a character


class Engine(Protocol):
    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """(ids of all texts, one after the other, uint32; how many each has, int64), without special tokens."""


class ReferenceEngine:
    """The library tokenizers. tokenizer: without a post-processor, which copies every encoding."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        ids, counts = [np.empty(0, dtype=np.uint32)], [np.empty(0, dtype=np.int64)]
        for batch in _batches(texts):
            encodings: list[Encoding] = self._tokenizer.encode_batch_fast(batch, add_special_tokens=False)
            lists = [encoding.ids for encoding in encodings]
            counts.append(np.fromiter(map(len, lists), np.int64, len(lists)))
            ids.append(np.fromiter(chain.from_iterable(lists), np.uint32, int(counts[-1].sum())))
        return np.concatenate(ids), np.concatenate(counts)


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
