"""Candidates to replace each word of a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer, models

from megatinybert.corpus.tokenizer import SpecialIds, special_ids
from megatinybert.tasks.augment.masked_lm import Filler, Query
from megatinybert.tasks.augment.words import Splitter, SplitText, Word


@dataclass(frozen=True)
class Choice:
    """side: 0 for the first text, 1 for the second. candidates: at least one. by_vectors: not the model's."""

    side: int
    word: Word
    candidates: list[str]
    by_vectors: bool = False


class CandidateFinder:
    """Finds the candidates of every word that may be rewritten.

    A word that is one WordPiece gets the likeliest tokens of the masked-LM at its place, the text around it and the
    other text of a pair being there to see. A word of several pieces gets the words of `nearest`; without, it becomes
    one [MASK] as a whole, or as many as it has characters where a segmenter joined it. Continuation pieces and special
    tokens among the candidates are dropped and not made up for, as in the published code; other than there, a word is
    not its own candidate. Words beyond the positions of the model have none.

    Raises ValueError where the tokenizer is no WordPiece tokenizer or lacks a special token.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        splitter: Splitter,
        filler: Filler,
        positions: int,
        nearest: Mapping[str, Sequence[str]] | None,
    ) -> None:
        self._splitter, self._filler, self._positions, self._nearest = splitter, filler, positions, nearest
        self._special: SpecialIds = special_ids(tokenizer)
        self._proposals = proposals(tokenizer)

    def find(self, rows: Sequence[tuple[str, ...]]) -> list[list[Choice]]:
        """rows: one or two texts each -> the words of each row that have candidates, in order."""
        texts = iter(self._splitter.split([text for row in rows for text in row]))
        split_rows = [[next(texts) for _ in row] for row in rows]
        asked: list[tuple[int, int, Word]] = []
        queries: list[Query] = []
        candidates: dict[tuple[int, int, Word], Sequence[str]] = {}
        for number, sides in enumerate(split_rows):
            kept = _kept([len(side.ids) for side in sides], self._positions)
            for place, split in enumerate(sides):
                for word in split.words:
                    if word.last > kept[place]:
                        continue
                    if word.pieces > 1 and self._nearest is not None:
                        text = split.text[word.start : word.end]
                        candidates[number, place, word] = self._nearest.get(text, ())
                    else:
                        asked.append((number, place, word))
                        queries.append(self._query(sides, kept, place, word))
        for (number, place, word), fillings in zip(asked, self._filler.fill(queries), strict=True):
            split = split_rows[number][place]
            candidates[number, place, word] = self._spell(fillings, split.text[word.start : word.end])
        return [
            [
                Choice(place, word, list(found), by_vectors=word.pieces > 1 and self._nearest is not None)
                for place, split in enumerate(sides)
                for word in split.words
                if (found := candidates.get((number, place, word)))
            ]
            for number, sides in enumerate(split_rows)
        ]

    def _query(self, sides: Sequence[SplitText], kept: Sequence[int], place: int, word: Word) -> Query:
        """[CLS] A [SEP], or [CLS] A [SEP] B [SEP], with the word masked."""
        ids = [side.ids[:length] for side, length in zip(sides, kept, strict=True)]
        original = int(ids[place][word.first]) if word.pieces == 1 else -1
        masks = np.full(word.characters, self._special.mask)
        ids[place] = np.concatenate([ids[place][: word.first], masks, ids[place][word.last :]])
        first, *second = (np.append(part, self._special.sep) for part in ids)
        start = 1 if place == 0 else 1 + len(first)
        return Query(
            np.concatenate([[self._special.cls], first, *second]),
            first_segment=1 + len(first),
            mask=start + word.first,
            masks=word.characters,
            original=original,
        )

    def _spell(self, fillings: Sequence[tuple[int, ...]], word: str) -> list[str]:
        spelt = (
            "".join(self._proposals[number] for number in filling)
            for filling in fillings
            if all(number in self._proposals for number in filling)
        )
        return [text for text in spelt if text.casefold() != word.casefold()]


def _kept(lengths: Sequence[int], positions: int) -> list[int]:
    """How many tokens of each text the model reads; of a pair, tokens of the longer one are left out first."""
    room = positions - 1 - len(lengths)
    if sum(lengths) <= room:
        return list(lengths)
    if len(lengths) == 1:
        return [room]
    first = min(lengths[0], max(room - lengths[1], (room + 1) // 2))
    return [first, room - first]


def proposals(tokenizer: Tokenizer) -> dict[int, str]:
    """The tokens that may be candidates, by id: neither continuation pieces nor special tokens.

    Raises ValueError for another kind of tokenizer than WordPiece.
    """
    model = tokenizer.model
    if not isinstance(model, models.WordPiece):
        raise ValueError(f"the tokenizer is {type(model).__name__}: augmentation needs WordPiece, as BERT has")
    prefix = model.continuing_subword_prefix
    vocabulary: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    return {
        number: token
        for token, number in vocabulary.items()
        if not token.startswith(prefix) and not (len(token) > 2 and token[0] == "[" and token[-1] == "]")
    }
