"""Heads of documents, by which splits are chosen."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from megatinybert.corpus.documents import Split
from megatinybert.corpus.texts import Texts, lines_of


def split_of(text: str, counts: Sequence[int]) -> Split:
    begins, ends = lines_of(text.encode())
    filled = begins < ends
    return Split(Texts(text.encode(), begins[filled], ends[filled]), np.array(counts, dtype=np.int64), 0)


def test_a_head_is_the_beginning_of_the_lines_joined() -> None:
    draw = random.Random(0)
    for _ in range(300):
        text = "".join(draw.choices("ab天 \t\n\n", k=draw.randrange(60)))
        lines = sum(bool(line.strip(" \t")) for line in text.split("\n"))
        counts, left = [0] * draw.randrange(2), lines
        while left:
            counts.append(draw.randrange(left + 1))
            left -= counts[-1]
        split = split_of(text, counts)
        size = draw.randrange(1, 20)
        expected = ["\n".join(document).encode()[:size] for document in split.documents()]
        assert list(split.heads(size)) == expected


def test_no_documents_have_no_heads() -> None:
    assert list(split_of("", []).heads(8)) == []
