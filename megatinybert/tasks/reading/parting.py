"""What messages say where a table's columns are not parted by what parts them in such a file."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from megatinybert.tasks.reading.misspelt import plain
from megatinybert.tasks.table import Task

QUOTED = (
    "Quotation marks are ordinary characters in such a file; if they are meant to enclose its fields, save it as .csv"
)
_FULL_WIDTH, _FULL_SPACE = "\uff0c", "\u3000"  # the comma and the space of Chinese
# What may stand where a comma or a tab belongs.
_CALLED = {
    _FULL_WIDTH: "a full-width comma",
    "\uff1b": "a full-width semicolon",
    "\u3001": "an enumeration comma",
    _FULL_SPACE: "a full-width space",
    "\u2003": "an em space",
    "\u00a0": "a no-break space",
    "\\t": "a backslash and a t",
}


class Parting(NamedTuple):
    """What to say of a header whose columns are parted by what parts none. sure: whether that alone is its fault."""

    text: str
    sure: bool


def parted_otherwise(names: Sequence[str], file: str, usual: Collection[str]) -> Parting | None:
    """names: of its columns, as they are read; usual: those of columns that are needed, in lower case."""
    of_table = file.endswith(".csv")
    if not of_table and all(is_quoted(name) for name in names):
        return Parting(f"the names in its header stand between quotation marks. {QUOTED}", True)
    marks = (*_CALLED, *(";\t|" if of_table else ",;| "))
    found = next((mark for mark in marks if mark in names[0]), "") if len(names) == 1 else ""
    if not found:
        return None
    called = f"{found!r} ({_CALLED[found]})" if found in _CALLED else repr(found)
    text = f"its columns seem to be separated by {called}, but {needed_between(file)}"
    text += f": as a .csv, call it {Path(file).stem}.csv" if found == "," and file.endswith(".tsv") else ""
    pieces = {plain(piece) for piece in names[0].split(found)}
    return Parting(text, not pieces.isdisjoint(usual))


def needed_between(file: str) -> str:
    """What parts the columns of a file of this name."""
    suffix = Path(file).suffix.lower()
    return f"those of a {suffix} have to be separated by " + ("','" if suffix == ".csv" else "tabs")


def is_quoted(field: str) -> bool:
    """Whether a field seems to be written as in a .csv: between quotation marks, and those within it twice."""
    return len(field) > 1 and field[0] == field[-1] == '"' and '"' not in field[1:-1].replace('""', "")


def unparted(task: Task, path: Path, text: str) -> str:
    """A question where the last word of a row's last field may be the label that the row lacks."""
    mark, right = (_FULL_WIDTH, "','") if path.suffix.lower() == ".csv" else (None, "a tab")
    first, *last = text.rsplit(mark, 1)
    known = {*(task.labels or ()), *task.values}
    if not last and mark is None and "," in text and not known:  # as in the header of a .csv
        return f" (is this a .csv? Then call it {path.stem}.csv)"
    if not first or not last:
        return ""
    full = mark is None and _FULL_SPACE in text.rstrip().removeprefix(first).removesuffix(last[0])
    if known and last[0].strip() not in {*known, *task.layout.columns} and not full:  # a row may be a header
        return ""
    return f" (is there {_CALLED[_FULL_SPACE] if full else repr(mark) if mark else 'a space'} where {right} belongs?)"


def after_quote(line: str) -> str:
    """A question where a quoted field of a .csv seems to be parted from its neighbour by the comma of Chinese."""
    return f" (is there {_FULL_WIDTH!r} where ',' belongs?)" if f'"{_FULL_WIDTH}' in line else ""


def quoted(path: Path, fields: Sequence[str], columns: int) -> str:
    """What to do about a row of more fields than columns: of a .csv, or of a .tsv where one seems to stand between
    quotation marks.
    """
    suffix = path.suffix.lower() if len(fields) > columns else ""
    if suffix == ".csv":
        return " (a field that holds a comma has to be enclosed in quotation marks)"
    return f" ({QUOTED[0].lower()}{QUOTED[1:]})" if suffix == ".tsv" and any(f.startswith('"') for f in fields) else ""
