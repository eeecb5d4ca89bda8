"""The sampling rule, checked statistically, and the text that comes of it."""

from __future__ import annotations

from collections import Counter

import numpy as np
from scipy.stats import chisquare

from megatinybert.tasks.augment.candidates import Choice
from megatinybert.tasks.augment.rewrite import rewrite
from megatinybert.tasks.augment.words import Word

TEXT = "one two three four five"


def choices(text: str, candidates: int, side: int = 0) -> list[Choice]:
    found, start = [], 0
    for place, word in enumerate(text.split(" ")):
        words = [f"{word}{number}" for number in range(candidates)]
        found.append(Choice(side, Word(start, start + len(word), place, place + 1), words))
        start += len(word) + 1
    return found


def test_words_are_replaced_with_the_probability_asked_for_by_candidates_alike() -> None:
    # Of 10^15 possible copies practically none is dropped as a duplicate, so what is kept is what was drawn.
    candidates, copies, rows = 1000, 50, 200
    found = choices(TEXT, candidates)
    replaced = np.zeros(5)
    picks: Counter[int] = Counter()
    unchanged = 0
    for number in range(rows):
        result = rewrite((TEXT,), found, number, copies, 0.4, seed=3)
        unchanged += copies - len(result.rows)
        for (text,) in result.rows:
            for place, (new, old) in enumerate(zip(text.split(" "), TEXT.split(" "), strict=True)):
                if new != old:
                    replaced[place] += 1
                    picks[int(new.removeprefix(old)) // 100] += 1
    drawn = rows * copies
    deviation = np.sqrt(0.4 * 0.6 / drawn)
    assert np.abs(replaced / drawn - 0.4).max() < 4 * deviation
    assert abs(unchanged / drawn - 0.6**5) < 4 * np.sqrt(0.6**5 / drawn), "each position is drawn for itself"
    assert len(picks) == 10 and chisquare(list(picks.values())).pvalue > 0.001


def test_positions_and_copies_are_independent() -> None:
    found = choices(TEXT, 1000)
    new = [
        [word != old for word, old in zip(text.split(" "), TEXT.split(" "), strict=True)]
        for number in range(300)
        for (text,) in rewrite((TEXT,), found, number, 20, 0.4, seed=1).rows
    ]
    correlation = np.corrcoef(np.array(new, dtype=float).T) - np.eye(5)
    assert np.abs(correlation).max() < 0.08  # dropping unchanged copies alone makes -0.04


def test_copies_are_distinct_and_differ_from_the_row() -> None:
    result = rewrite(("one two",), choices("one two", 2), 0, 200, 0.4, seed=0)
    texts = [text for (text,) in result.rows]
    assert len(set(texts)) == len(texts) == 3 * 3 - 1, "all copies that there are"
    assert "one two" not in texts


def test_both_texts_of_a_pair_are_rewritten_together() -> None:
    found = choices("one two three", 500) + choices("four five six", 500, side=1)
    result = rewrite(("one two three", "four five six"), found, 5, 30, 0.4, seed=0)
    alone = rewrite(("one two three",), found[:3], 5, 30, 0.4, seed=0).rows
    firsts = {row[0] for row in result.rows}
    seconds = {row[1] for row in result.rows}
    assert len(firsts) > 15 and len(seconds) > 15, "no text stays the same while the other changes"
    assert {text for (text,) in alone} == firsts - {"one two three"}, "draws of a position are its own"


def test_draws_depend_on_seed_and_row_and_on_nothing_else() -> None:
    found = choices(TEXT, 1000)
    ten = rewrite((TEXT,), found, 7, 10, 0.4, seed=1).rows
    assert ten == rewrite((TEXT,), found, 7, 30, 0.4, seed=1).rows[: len(ten)]
    assert ten != rewrite((TEXT,), found, 8, 10, 0.4, seed=1).rows
    assert ten != rewrite((TEXT,), found, 7, 10, 0.4, seed=2).rows


def test_all_but_the_new_words_stays_byte_for_byte() -> None:
    text = '  "One"\u2028 two,\ttwo\u00a0'
    found = [Choice(0, Word(3, 6, 0, 1), ["uno"]), Choice(0, Word(9, 12, 1, 2), ["due"])]
    rows = {row for (row,) in rewrite((text,), found, 0, 50, 0.5, seed=0).rows}
    assert rows == {
        '  "uno"\u2028 two,\ttwo\u00a0',
        '  "One"\u2028 due,\ttwo\u00a0',
        '  "uno"\u2028 due,\ttwo\u00a0',
    }


def test_without_candidates_there_is_no_copy() -> None:
    assert rewrite(("the of",), [], 0, 10, 0.4, seed=0).rows == []
