"""The published rule: copies of a row with words replaced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from megatinybert.samples.order import uniform
from megatinybert.tasks.augment.candidates import Choice

# What a number is drawn for.
_REPLACED, _CANDIDATE, SELECTED = 1, 2, 3


class Copies(NamedTuple):
    """rows: the rewritten texts, each as many as the row has. words: how many words of them are new; by_vectors: how
    many of these are not the model's.
    """

    rows: list[tuple[str, ...]]
    words: int
    by_vectors: int


def rewrite(
    texts: tuple[str, ...], choices: Sequence[Choice], number: int, copies: int, probability: float, seed: int
) -> Copies:
    """Rewrite the texts of one row `copies` times (Jiao et al. 2020, algorithm 1).

    Each word that has candidates is replaced with the given probability by one of them, all equally likely, and else
    stays as it is. Copy c of a pair rewrites both of its texts. A copy that is equal to the row or to an earlier copy
    is dropped and not drawn again, so there may be fewer. Every draw is a function of (seed, number, copy, position)
    alone; a position is an index of `choices`.
    """
    if not choices:
        return Copies([], 0, 0)
    position, copy = np.arange(len(choices)), np.arange(copies)[:, None]
    replaced = uniform(seed, _REPLACED, number, copy, position) < probability
    counts = np.array([len(choice.candidates) for choice in choices])
    drawn = (uniform(seed, _CANDIDATE, number, copy, position) * counts).astype(np.int64)
    seen = {texts}
    rows: list[tuple[str, ...]] = []
    words = by_vectors = 0
    for which, picks in zip(replaced, drawn, strict=True):
        drawn_here = zip(choices, which.tolist(), picks.tolist(), strict=True)
        new = [(choice, choice.candidates[pick]) for choice, yes, pick in drawn_here if yes]
        row = tuple(
            _replace(text, [(choice, word) for choice, word in new if choice.side == side])
            for side, text in enumerate(texts)
        )
        if row not in seen:
            seen.add(row)
            rows.append(row)
            words += len(new)
            by_vectors += sum(choice.by_vectors for choice, _ in new)
    return Copies(rows, words, by_vectors)


def _replace(text: str, new: Sequence[tuple[Choice, str]]) -> str:
    """Put new words in; everything between them stays as it is."""
    parts: list[str] = []
    end = 0
    for choice, word in new:
        parts += [text[end : choice.word.start], word]
        end = choice.word.end
    return "".join([*parts, text[end:]])
