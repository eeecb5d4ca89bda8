"""Texts in the place of labels, and labels in that of texts."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from pathlib import Path

from megatinybert.runtime.counts import counted, some_of
from megatinybert.tasks.reading.formats import is_plain, read_records
from megatinybert.tasks.reading.headers import named_by_option
from megatinybert.tasks.table import Task

_FEW_ROWS = 6  # below which as many labels as rows say nothing
_SHOWN, _SHOWN_CHARACTERS = 3, 30


def swapped(task: Task, path: Path, labels: Collection[str], rows: int) -> str:
    """The refusal of a file where most rows have a label of their own, and a text that others have, too; else "".

    labels: those of the file; rows: how many it has.
    """
    if rows < _FEW_ROWS or len(labels) <= rows / 2:
        return ""
    texts: list[dict[str, None]] = [{}, {}] if task.pair else [{}]
    for record in read_records(task, path, True, lambda *_: None):
        for values, text in zip(texts, record[1:3], strict=False):
            values[(text or "").strip()] = None
    place = next((place for place, values in enumerate(texts) if len(values) <= len(labels) / 2), None)
    if place is None:
        return ""
    held = f"{counted(rows, 'row')} have {len(labels):,} labels ({_shown(labels)})"
    others = f"as {_called(task, place)} only {len(texts[place]):,} ({_shown(texts[place])})"
    return f"{path}: {held}, and {others}, so they seem to be swapped: {_remedy(task, path, place)}"


def _called(task: Task, place: int) -> str:
    return ("first text", "second text")[place] if task.pair else "text"


def _shown(values: Collection[str]) -> str:
    cut = [value if len(value) <= _SHOWN_CHARACTERS else value[:_SHOWN_CHARACTERS] + "…" for value in values]
    return some_of([repr(value) for value in cut], _SHOWN)


def _remedy(task: Task, path: Path, place: int) -> str:
    names = task.layout.names
    if named_by_option(task, path):
        return f"exchange the two names in {names['columns']} {shlex.join(task.layout.columns)}"
    if is_plain(task, path):
        columns = {(False, 0): "label text", (True, 0): "label text_b text_a", (True, 1): "text_a label text_b"}
        return f"give {names['columns']} {columns[task.pair, place]}"
    text = names["text_b_column" if place else "text_a_column"]
    return f"exchange their names in the file, or say which is which with {text} and {names['label_column']}"
