"""Texts in one buffer, and where its lines are."""

from __future__ import annotations

import random

import numpy as np
import pytest

from megatinybert.corpus.texts import Texts, lines_of


@pytest.mark.parametrize("texts", [[], [""], ["", ""], ["a", "", "天 😀", " x\ny "], ["a", ""]])
def test_texts_come_back(texts: list[str]) -> None:
    found = Texts.of(texts)
    assert [text.decode() for text in found.all()] == texts and len(found) == len(texts)
    assert found.sizes.tolist() == [len(text.encode()) for text in texts]
    assert all(begin < len(found.data) for begin in found.begins.tolist())
    backwards = list(range(len(texts)))[::-1]
    assert [text.decode() for text in found.select(backwards).all()] == texts[::-1]


def test_lines_are_stripped_of_ascii_white_space_alone() -> None:
    draw = random.Random(0)
    for _ in range(300):
        text = "".join(draw.choices("ab天 \t\r\f\v\n\n\u3000\u00a0\u2028\x1c", k=draw.randrange(40)))
        begins, ends = lines_of(text.encode())
        found = [text.encode()[begin:end].decode() for begin, end in zip(begins, ends, strict=True)]
        assert found == [line.strip(" \t\r\f\v") for line in text.split("\n")]


def test_texts_are_those_between_begins_and_ends_however_they_lie() -> None:
    draw = random.Random(1)
    for _ in range(300):
        data = "".join(draw.choices("ab天 \n\n", k=draw.randrange(1, 30))).encode()
        begins, ends = lines_of(data)
        cuts = sorted(draw.sample(range(len(begins)), draw.randrange(len(begins) + 1)))
        texts = Texts(data, begins[cuts], ends[cuts])
        assert texts.all() == [data[begins[number] : ends[number]] for number in cuts]


def test_a_text_cut_into_pieces_comes_in_pieces() -> None:
    data = b"ab\ncdef"
    assert Texts(data, np.array([0, 3, 5]), np.array([2, 5, 7])).all() == [b"ab", b"cd", b"ef"]
