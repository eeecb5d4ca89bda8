"""Hints for messages, where the name of a column is nearly a usual one."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from functools import partial

from megatinybert.config.nearest import closest
from megatinybert.tasks.layout import Layout

_ALIKE = 0.75  # share of characters in common: "lable" and "label" have 0.8, "body" and "text" 0


def misspelt(names: Sequence[str], usual: Mapping[str, Sequence[str]], layout: Layout) -> str:
    """A hint for each column that is missing and nearly called as usual; "" where none is.

    names: of the columns, in lower case. usual: for each column that is needed, by the option that names it
    ("label_column"), what it may be called.
    """
    valid = {field: [name.lower() for name in known] for field, known in usual.items()}
    free = [name for name in names if not any(name in known for known in valid.values())]
    hints = []
    for field, known in valid.items():
        if any(name in names for name in known):
            continue
        found = closest(free, partial(_with_nearest, known), cutoff=_ALIKE)
        if found:
            free.remove(found)
            meant = _with_nearest(known, found)[0]
            hints.append(f". Is {found!r} meant to be {meant!r}? {_remedy(field, found, layout)}")
    return "".join(hints)


def _with_nearest(known: Sequence[str], name: str) -> tuple[str, str]:
    """(Of the known names the one that is most like `name`, `name`)."""
    return closest(known, lambda each: (each, name), cutoff=0.0) or "", name


def _remedy(field: str, name: str, layout: Layout) -> str:
    if layout.columns:
        return f"Correct {layout.names['columns']}"
    option = shlex.join([layout.names[field], name])
    return f"Rename it in this file, or, if every file calls it so, use {option}"
