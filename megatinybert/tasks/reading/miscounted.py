"""What to say of a table's row that has other fields than there are columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from megatinybert.runtime.counts import counted
from megatinybert.tasks.reading.parting import quoted, unparted
from megatinybert.tasks.reading.separators import parted_by_another
from megatinybert.tasks.table import Task


def miscounted(
    task: Task, path: Path, fields: Sequence[str], columns: Sequence[str], with_labels: bool, headed: bool
) -> str:
    """columns: their names. headed: the file's header has them, else options or the task give them."""
    fits = f"the file has {counted(len(columns), 'column')}"
    if not headed:
        given_by = task.layout.names["columns"] if task.layout.columns else task.name
        fits = f"{given_by} names {len(columns)} ({', '.join(columns)})"
    labelled = with_labels and len(fields) < len(columns)
    hint = unparted(task, path, fields[-1]) if labelled else quoted(path, fields, len(columns))
    return f"{counted(len(fields), 'field')}, but {fits}{hint}"


def other_forms(task: Task, path: Path, texts: Sequence[str], with_labels: bool) -> str:
    """What helps where the first line of a file without a header has not the columns that are given.

    texts: what those of the texts are called.
    """
    if another := parted_by_another(path, task.layout):
        return f". {another[0].upper()}{another[1:]}"
    if with_labels or not task.layout.columns:
        return ""
    return (
        f". A file to predict needs these columns, with or without the label, or a header of its own with "
        f"{' and '.join(texts)}"
    )
