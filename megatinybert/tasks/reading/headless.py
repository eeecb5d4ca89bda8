"""Tables whose first line would be taken for a header, and is a row."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

from megatinybert.config.flat import OptionNames
from megatinybert.tasks.reading.layout import Layout

_ROWS = 10_000  # below the first line, in which its values are looked for


def first_row(rows: Iterator[Sequence[str]], layout: Layout) -> str:
    """What to say where a value of the first line stands in its column again, as a label does; "" where none does.

    rows: the fields of all lines. One that is the first line once more says nothing: it may be a header, too.
    """
    first = [field.strip() for field in next(rows, ())]
    again = Counter[int]()  # in how many lines, by column
    for row in islice(rows, _ROWS):
        fields = [field.strip() for field in row]
        if len(fields) == len(first) and fields != first:
            again.update(place for place, value in enumerate(first) if value == fields[place] != "")
    if not again:
        return ""
    place, option = max(again), layout.names["columns"]
    remedy = f"Name all columns in order with {option}"
    if len(first) == 2 and len(again) == 1:  # a text and its label
        text, label = layout.text_a or "text", layout.label or "label"
        remedy = f"Name its columns: {shlex.join([option, *((label, text) if place == 0 else (text, label))])}"
    lines = "another line has" if again[place] == 1 else f"{again[place]:,} other lines have"
    return f"its first line seems to be a row, and no header: {lines} {first[place]!r} in the same column. {remedy}"


def if_headless(names: OptionNames) -> str:
    """The end of a message on a header. names: of the options."""
    return f". If the first line is no header, name all columns in order with {names['columns']}"
