"""A .csv whose columns are separated by semicolons, tabs or bars: the command that mends it."""

from __future__ import annotations

import shlex
from itertools import count
from pathlib import Path

from megatinybert.config.codec import codec_name
from megatinybert.corpus.charset import MARK_BYTES, recognise
from megatinybert.corpus.conversion import family_of
from megatinybert.tasks.reading.layout import Layout
from megatinybert.tasks.reading.lines import lines_of
from megatinybert.tasks.reading.parting import needed_between

_MARKS = {";": "';'", "\t": "tabs", "|": "'|'"}


def parted_by_another(path: Path, layout: Layout) -> str:
    """What to say of a .csv whose first line has no comma, but another mark; "" of any other file.

    A file without a header has to have as many columns by that mark as the option names, or one less (the label's).
    """
    if path.suffix.lower() != ".csv":
        return ""
    first = next((text for _, text in lines_of(path, layout) if text.strip()), "")
    mark = next((mark for mark in _MARKS if mark in first), None)
    if mark is None or "," in first or (layout.columns and len(layout.columns) - first.count(mark) not in (1, 2)):
        return ""
    copy, kept = _free(path, "commas"), _free(path, "original")
    here, there, aside = (shlex.quote(str(each)) for each in (path, copy, kept))
    return (
        f"its columns seem to be separated by {_MARKS[mark]}, but {needed_between(path.name)}. Convert it, with the "
        f'original kept as {kept.name}: python -c "{_program(path, mark, layout)}" < {here} > {there} && '
        f"mv {here} {aside} && mv {there} {here}"
    )


def _program(path: Path, mark: str, layout: Layout) -> str:
    """In Python, without double quotation marks. The encoding stays, with its byte-order mark."""
    with path.open("rb") as file:
        encoding, marked = recognise(file.read(MARK_BYTES), codec_name(layout.encoding))
    if marked:  # these codecs take the mark off and put it back: before a quotation mark it would hide that
        encoding = "utf-8-sig" if encoding == "utf-8" else family_of(encoding)
    opened = f"encoding='{encoding}', newline=''"
    rows = f"csv.reader(open(0, {opened}), delimiter={mark!r})"
    return f"import csv; csv.writer(open(1, 'w', {opened}), lineterminator='\\n').writerows({rows})"


def _free(path: Path, what: str) -> Path:
    """Beside the file, under a name that nothing has, and with an ending of which no rows are read."""
    names = (Path(f"{path}.{what}{f'-{number}' if number > 1 else ''}") for number in count(1))
    return next(name for name in names if not name.exists())
