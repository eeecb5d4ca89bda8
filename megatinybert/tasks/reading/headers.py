"""Headers that would be read as rows, in files that are taken to have none."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from megatinybert.config.nearest import closest
from megatinybert.config.schema import ConfigError
from megatinybert.runtime.findings import once_of_files
from megatinybert.tasks.reading.columns import LABELS, TEXTS
from megatinybert.tasks.reading.files import TaskFiles
from megatinybert.tasks.reading.formats import OF_OBJECTS, is_plain, read_records
from megatinybert.tasks.reading.misspelt import ALIKE, plain
from megatinybert.tasks.table import Task

_LABEL_NAMES = {*LABELS, "labels", "class", "category", "target", "sentiment"}
_ROWS = 10_000  # of a file, among which no other may have the label that is taken for a column's name


def check_headers(files: TaskFiles) -> None:
    """Raise ConfigError for the training and development files of which `check_header` refuses the first row."""
    paths = [files.train, *files.dev.values()]
    problems = [text for path in paths if (text := header_in_rows(files.task, path))]
    if problems:
        raise ConfigError.of(once_of_files(problems, paths))


def check_header(task: Task, path: Path, with_labels: bool) -> None:
    """Raise ValueError where the first row of a file can only be a header: text and label are called as columns are, or
    nearly, and no other row has that label. with_labels: False of a file to be answered.
    """
    if problem := header_in_rows(task, path, with_labels):
        raise ValueError(problem)


def header_in_rows(task: Task, path: Path, with_labels: bool = True) -> str:
    """The refusal of a file by `check_header`; "" where there is none."""
    by_option = named_by_option(task, path)
    if not (by_option or is_plain(task, path)):
        return ""
    records = read_records(task, path, with_labels, lambda *_: None)
    first = next(records, None)
    # A file with a header that is read as one has its first row below it.
    if first is None or first.line > 1 or not _is_called(first.text_a, _texts(task)):
        return ""
    if first.label is not None:
        is_label = _is_called(first.label, _labels(task))
        if not is_label or any(record.label == first.label for record in islice(records, _ROWS)):
            return ""
    elif not any(_is_called(str(value), [name]) for name, value in first.others.items()):
        return ""
    names = [name for name in (first.text_a, first.text_b, first.label) if name]
    what = f"{path}:{first.line}: a header ({', '.join(names)})"
    if not by_option:
        tsv = path.with_suffix(".tsv").name
        return f"{what}, but every line of a .txt is read as a row: remove it, or rename the file to {tsv}"
    option, columns = task.layout.names["columns"], ", ".join(task.layout.columns)
    remedy = "Correct it or remove it"
    if path.suffix.lower() != ".txt":
        options = options_of_header(task, first.text_a, first.text_b, first.label)
        remedy = f"Correct it, remove it or, if every file has it, use {options}"
    return f"{what} without the names of {option} ({columns}), so it would be read as a row. {remedy}"


def named_by_option(task: Task, path: Path) -> bool:
    """Whether an option names the columns of a file, unless it has a header that does."""
    return bool(task.layout.columns) and path.suffix.lower() not in OF_OBJECTS


def options_of_header(task: Task, text_a: str, text_b: str | None, label: str | None) -> str:
    """The options by which tables are read with a header that has these names."""
    given = {"columns": "null", "text_a_column": text_a, "text_b_column": text_b, "label_column": label}
    names = task.layout.names
    return shlex.join(part for field, name in given.items() if name for part in (names[field], name.strip()))


def looks_like_header(task: Task, text_a: str, label: str) -> bool:
    """Whether text or label is called as such columns usually are, or as those of the task's other files."""
    return text_a.strip().casefold() in _texts(task) or label.strip().casefold() in _labels(task) - {""}


def _texts(task: Task) -> set[str]:
    return {*TEXTS} | {name.casefold() for name in (*task.columns.text_a, task.layout.text_a or "")}


def _labels(task: Task) -> set[str]:
    return _LABEL_NAMES | {name.casefold() for name in (*task.columns.label, task.layout.label or "")}


def _is_called(field: str, names: Iterable[str]) -> bool:
    """Whether a field is one of these names, in lower case, or a word that is nearly one."""
    name = plain(field)
    known = {each for each in map(plain, names) if each}
    return name in known or (len(name.split()) == 1 and closest(known, lambda each: (each, name), ALIKE) is not None)
