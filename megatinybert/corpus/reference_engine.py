"""The library tokenizers: what every text's ids are measured by."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Protocol

import numpy as np
from tokenizers import Encoding, Tokenizer

from megatinybert.corpus.texts import Texts

_BATCH_BYTES = 1 << 18  # of text per call: its encodings take over 100 bytes for each


class Engine(Protocol):
    def encode(self, texts: Texts) -> tuple[np.ndarray, np.ndarray]:
        """(ids of all texts, one after the other, uint32; how many each has, int64), without special tokens."""


class ReferenceEngine:
    """The library tokenizers. tokenizer: without a post-processor, which copies every encoding."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def encode(self, texts: Texts) -> tuple[np.ndarray, np.ndarray]:
        ids, counts = [np.empty(0, dtype=np.uint32)], [np.empty(0, dtype=np.int64)]
        for batch in _batches(texts):
            encodings: list[Encoding] = self._tokenizer.encode_batch_fast(batch, add_special_tokens=False)
            lists = [encoding.ids for encoding in encodings]
            counts.append(np.fromiter(map(len, lists), np.int64, len(lists)))
            ids.append(np.fromiter(chain.from_iterable(lists), np.uint32, int(counts[-1].sum())))
        return np.concatenate(ids), np.concatenate(counts)


def _batches(texts: Texts) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts.all():
        batch.append(text.decode())
        size += len(text)
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
