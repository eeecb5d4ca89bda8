"""Hints for messages, where a table's columns are not parted by what parts them in such a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from megatinybert.tasks.table import Task

QUOTED = "Quotation marks are plain characters in such a file: if they are to enclose its fields, save it as .csv"
_FULL_WIDTH = "\uff0c"  # the comma of Chinese


def parted_otherwise(names: Sequence[str], file: str) -> str:
    """A hint where a header's columns are parted by what parts none, for a message. names: of its columns."""
    right, marks = ("','", _FULL_WIDTH + ";\t") if file.endswith(".csv") else ("tabs", _FULL_WIDTH + ",; ")
    if not file.endswith(".csv") and any(is_quoted(name) for name in names):
        return f". {QUOTED}"
    found = next((mark for mark in marks if mark in names[0]), "") if len(names) == 1 else ""
    found = found or (_FULL_WIDTH if any(_FULL_WIDTH in name for name in names) else "")
    what = " (a full-width comma)" if found == _FULL_WIDTH else ""
    return f". Is {found!r}{what} to part columns? They are parted by {right} in such a file" if found else ""


def is_quoted(field: str) -> bool:
    """Whether a field seems to be written as in a .csv: between quotation marks, and those within it twice."""
    return len(field) > 1 and field[0] == field[-1] == '"' and '"' not in field[1:-1].replace('""', "")


def unparted(task: Task, path: Path, text: str) -> str:
    """A question where the last word of a row's last field may be the label that the row lacks."""
    mark, right = (_FULL_WIDTH, "','") if path.suffix.lower() == ".csv" else (None, "a tab")
    first, *last = text.rsplit(mark, 1)
    known = {*(task.labels or ()), *task.values}
    if not first or not last or (known and last[0].strip() not in known):
        return ""
    return f" (is there {'a space' if mark is None else repr(mark)} where {right} belongs?)"


def quoted(path: Path, fields: Sequence[str], columns: int) -> str:
    """What to do about a row of more fields than columns, where one seems to stand between quotation marks."""
    begins = any(field.startswith('"') for field in fields)
    if path.suffix.lower() != ".tsv" or len(fields) <= columns or not begins:
        return ""
    return f" ({QUOTED[0].lower()}{QUOTED[1:]})"
