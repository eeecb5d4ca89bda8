"""Tables for a terminal."""

from __future__ import annotations

import shutil
import textwrap
import unicodedata
from collections.abc import Container, Sequence


def format_table(rows: Sequence[Sequence[str]], right_aligned: Container[int] = ()) -> str:
    """Rows of as many cells each, aligned in columns. The last cell of a row is broken into lines to fit the terminal.

    right_aligned: the columns of numbers, counted from 0.
    """
    widths = [max(cells_of(row[column]) for row in rows) + 2 for column in range(len(rows[0]) - 1)]
    rest = max(shutil.get_terminal_size((120, 24)).columns, 80) - sum(widths)
    rest = max(rest, max(len(word) for row in rows for word in [*row[-1].split(), ""]))  # wider than it, if need be
    lines = []
    for *cells, text in rows:
        start = ""
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True)):
            blank = " " * (width - 2 - cells_of(cell))
            start += f"{blank}{cell}  " if column in right_aligned else f"{cell}{blank}  "
        parts = [
            part
            for line in text.splitlines()
            for part in textwrap.wrap(line, rest, break_long_words=False, break_on_hyphens=False)
        ]
        first, *others = parts or [""]
        lines += [(start + first).rstrip(), *(" " * cells_of(start) + part for part in others)]
    return "\n".join(lines)


def cells_of(text: str) -> int:
    """How many columns of a terminal a text takes: Chinese characters and the like take two each."""
    return len(text) + sum(unicodedata.east_asian_width(character) in "WF" for character in text)
