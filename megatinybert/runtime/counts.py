"""Counts for people: "1 minute", "2,000 minutes"."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str = "") -> str:
    """The number with the noun in singular or plural. plural: where it is not the noun with an s."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
