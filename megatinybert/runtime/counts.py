"""Counts for people: "1 minute", "2,000 minutes", "a, b and 7 more", "3.3 x smaller", "0.70 M tokens"."""

from __future__ import annotations

from collections.abc import Sequence


def counted(number: float, noun: str, plural: str = "") -> str:
    """The number, a float to two digits, with the noun in singular or plural. plural: where it is not the noun with
    an s.
    """
    shown = f"{float(f'{number:.2g}'):,g}" if isinstance(number, float) else f"{number:,}"
    return f"{shown} {noun if shown == '1' else plural or f'{noun}s'}"


def some_of(names: Sequence[object], most: int = 4) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


def times(ratio: float, more: str, less: str) -> str:
    """A ratio in words, with one decimal. more, less: what a ratio above 1 and one below it mean, such as "smaller" and
    "larger"; one of 1.0 is "the same". ratio: above 0.
    """
    if f"{max(ratio, 1 / ratio):.1f}" == "1.0":
        return "the same"
    return f"{ratio:.1f} x {more}" if ratio >= 1 else f"{1 / ratio:.1f} x {less}"


def counted_tokens(number: int) -> str:
    """Tokens in a unit that leaves three digits or more: themselves, millions (M) or billions (B)."""
    if number < 100_000:
        return counted(number, "token")
    return f"{number / 1e6:,.2f} M tokens" if number < 1e9 else f"{number / 1e9:,.2f} B tokens"
