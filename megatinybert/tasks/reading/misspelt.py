"""Hints for messages, where the name of a column is nearly a usual one."""

from __future__ import annotations

import shlex
import unicodedata
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from megatinybert.config.nearest import closest
from megatinybert.tasks.reading.layout import Layout

ALIKE = 0.75  # share of characters in common: "lable" and "label" have 0.8, "body" and "text" 0


class Hints(NamedTuple):
    """text: a hint for each missing column that is nearly called as usual; "" where none is. whole: whether each that
    is missing has one.
    """

    text: str
    whole: bool


def misspelt(names: Sequence[str], usual: Mapping[str, Sequence[str]], layout: Layout) -> Hints:
    """What to say of columns that are missing and nearly called as usual.

    names: of the columns, in lower case. usual: for each column that is needed, by the option that names it
    ("label_column"), what it may be called.
    """
    valid = {field: [name.lower() for name in known] for field, known in usual.items()}
    free = [name for name in names if not any(name in known for known in valid.values())]
    missing = {field: known for field, known in valid.items() if not any(name in names for name in known)}
    hints = []
    for field, known in missing.items():
        found = closest(free, partial(_with_nearest, known), cutoff=ALIKE)
        if found:
            free.remove(found)
            meant = _with_nearest(known, found)[0]
            is_wide = plain(found) == meant and plain(found) != found.strip()
            question = f"Is {found!r} meant to be {meant!r}?"
            what = f"{found!r} is {meant!r} in full-width characters." if is_wide else question
            hints.append(f"{what} {_remedy(field, found, layout)}")
    return Hints(". ".join(hints), bool(hints) and len(hints) == len(missing))


def plain(name: str) -> str:
    """In lower case, with letters as they are on an English keyboard in place of full-width ones."""
    return unicodedata.normalize("NFKC", name).strip().lower()


def _with_nearest(known: Sequence[str], name: str) -> tuple[str, str]:
    """(Of the known names the one that is most like `name`, `name`)."""
    return closest(known, lambda each: (each, plain(name)), cutoff=0.0) or "", plain(name)


def _remedy(field: str, name: str, layout: Layout) -> str:
    if layout.columns:
        return f"Correct {layout.names['columns']}"
    option = shlex.join([layout.names[field], name])
    return f"Rename it in this file or, if it is called so in every file, use {option}"
