"""One of a kind is named in the singular."""

from __future__ import annotations

from megatinybert.runtime.counts import counted, counted_tokens, some_of, times


def test_singular_and_plural() -> None:
    assert [counted(number, "minute") for number in (0, 1, 2, 2000)] == [
        *("0 minutes", "1 minute", "2 minutes", "2,000 minutes")
    ]
    assert counted(1, "pass", "passes") == "1 pass" and counted(3, "pass", "passes") == "3 passes"
    assert [counted(number, "pass", "passes") for number in (0.0512, 0.996, 1.04, 8.36, 123.4, 1999.0)] == [
        *("0.051 passes", "1 pass", "1 pass", "8.4 passes", "120 passes", "2,000 passes")
    ]


def test_long_lists_are_cut_short() -> None:
    assert some_of(["a", "b"]) == "a, b" and some_of([1, 2, 3], 2) == "1, 2 and 1 more"
    assert some_of(range(1004)) == "0, 1, 2, 3 and 1,000 more"


def test_ratios_are_told_by_the_word_that_is_true() -> None:
    said = [times(ratio, "smaller", "larger") for ratio in (3.26, 1.06, 1.04, 0.97, 0.3)]
    assert said == ["3.3 x smaller", "1.1 x smaller", "the same", "the same", "3.3 x larger"]


def test_tokens_are_told_in_a_unit_that_leaves_digits() -> None:
    said = [counted_tokens(number) for number in (1, 4_096, 99_999, 100_000, 696_320, 13_000_000, 2_200_000_000)]
    assert said == [
        *("1 token", "4,096 tokens", "99,999 tokens", "0.10 M tokens", "0.70 M tokens"),
        *("13.00 M tokens", "2.20 B tokens"),
    ]
