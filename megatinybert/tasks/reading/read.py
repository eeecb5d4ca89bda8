"""A task's files, read row by row."""

from __future__ import annotations

import math
import re
import shlex
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

from megatinybert.config.flat import OptionNames
from megatinybert.config.nearest import closest
from megatinybert.runtime.counts import counted, some_of
from megatinybert.tasks.reading.files import TaskFiles, find_files
from megatinybert.tasks.reading.formats import WITHOUT_LABEL, read_records
from megatinybert.tasks.reading.headers import check_headers
from megatinybert.tasks.reading.layout import NO_LABEL, Layout
from megatinybert.tasks.reading.skipped import Skipped, no_rows, refusal, reporter
from megatinybert.tasks.reading.swapped import swapped
from megatinybert.tasks.table import Task, find_task

_SHOWN_LABELS = 10
_MANY_CLASSES, _SHOWN_OF_MANY = 50, 3


class Row(NamedTuple):
    """label: class index in the order of `Task.labels`, or the score; None in a row that was read without labels."""

    text_a: str
    text_b: str | None
    label: int | float | None


def open_task(
    name: str,
    data_dir: str,
    labels: Sequence[str] | None = None,
    kind: Literal["auto", "classification", "regression"] = "auto",
    layout: Layout | None = None,
) -> TaskFiles:
    """Find the files of a task. Those of a custom task are read once for their labels.

    labels: the classes of a custom task in the order of the outputs; otherwise those of the training file, sorted
    by name, or by value where all are numbers. kind: of a custom task. "auto" is a regression where the label column
    is called "score", or where all labels of the training file are numbers and one of them is not whole. layout: how
    the files are read; it becomes the task's, and says what these options are called.

    Raises ValueError where a file or a column is missing or ambiguous, where a header would be read as a row, where no
    row has a label that is to be dropped, or where the labels do not make a task. Rows that cannot be parsed are left
    to `read_rows`.
    """
    layout = layout or Layout()
    task = find_task(name, layout.names["task"])
    if task.name != "custom" and (labels is not None or kind != "auto"):
        options = f"{layout.names['labels']} and {layout.names['kind']}"
        raise ValueError(f"{options} are for custom tasks only: {task.name} has its own")
    files = find_files(name, data_dir, layout)
    check_headers(files)
    _check_dropped(files)
    return _with_classes(files, labels, kind) if task.name == "custom" else files


def read_rows(
    task: Task,
    path: Path,
    skipped: Skipped | None = None,
    with_labels: bool = True,
    dropped: Counter[str] | None = None,
) -> Iterator[Row]:
    """The rows of a file, one at a time: of a task's official file, or of one's own in one of SUFFIXES.

    with_labels: False for rows to be predicted; a label is then neither needed nor read. dropped: counts the rows that
    the task's layout leaves out, by label.

    Raises ValueError for a file that is wrong as a whole or has no rows, and for rows that cannot be parsed, naming
    file and line of the first and how many there are; with `skipped` such rows are counted there instead.
    """
    classes = _classes(task)
    told = Skipped() if skipped is None else skipped
    bad = reporter(path, told)
    rows = 0
    for record in read_records(task, path, with_labels, bad, dropped):
        label: int | float | None = None
        if record.label is not None:
            label = classes.get(record.label) if task.labels else _number(record.label)
            if label is None:
                known = f"one of {some_of(list(classes), _SHOWN_LABELS)}" if task.labels else "a finite number"
                reason = f"the label {record.label!r} is not {known}{_meant(record.label, list(classes))}"
                reason = f"{WITHOUT_LABEL} ({NO_LABEL!r})" if record.label == NO_LABEL else reason
                bad(record.line, reason, _text(record.text_a, record.text_b))
                continue
        rows += 1
        if skipped is not None or not told.count:  # else the rest is read only to say how many are bad
            yield Row(record.text_a, record.text_b, label)
    if skipped is None and told.count:
        raise refusal(told, path, task.layout.names)
    if not rows:
        raise no_rows(path, told)


def label_counts(task: Task, path: Path, skipped: Skipped | None = None) -> dict[str, int]:
    """The rows of each class, by name in the task's order. Raises ValueError as `read_rows` does."""
    assert task.labels is not None
    counts = Counter(row.label for row in read_rows(task, path, skipped))
    return {name: counts[index] for index, name in enumerate(task.labels)}


def _check_dropped(files: TaskFiles) -> None:
    """Raise ValueError for a label to be dropped that no row of the training and development files has."""
    layout, paths = files.task.layout, [files.train, *files.dev.values()]
    asked = [label for label in layout.drop_labels if label != NO_LABEL]
    dropped, kept = Counter[str](), dict[str, None]()
    for path in paths if asked else []:
        for record in read_records(files.task, path, True, lambda *_: None, dropped):
            kept[record.label or ""] = None
    absent = next((label for label in asked if label not in dropped), None)
    if absent is not None:
        there = f"that are not left out are {some_of(list(kept), _SHOWN_LABELS)}{_meant(absent, list(kept))}"
        raise ValueError(
            f"{layout.names['drop_labels']} {shlex.join(layout.drop_labels)}: no row of "
            f"{' or '.join(path.name for path in paths)} has the label {absent!r}; those {there}. Correct it, or leave "
            "it out"
        )


def _with_classes(files: TaskFiles, labels: Sequence[str] | None, kind: str) -> TaskFiles:
    """A custom task with the classes, or the metrics of scores, that its files and options say."""
    task, train = files.task, files.train
    names = task.layout.names
    seen, rows, bad = _labels_in(task, train)
    is_text = any(_number(label) is None for label in seen)
    if is_text and (problem := swapped(task, train, seen, rows)):
        raise ValueError(problem)
    scored = task.columns.label == ("score",)
    if kind == "regression" or (
        kind == "auto" and labels is None and (scored or _are_scores(seen, train, names["kind"]))
    ):
        if labels is not None:
            conflict = f"{names['labels']} names classes, but {names['kind']} is regression"
            raise ValueError(f"{conflict}: leave one of them out")
        task = replace(task, metrics=("pearson", "spearman"))
    else:
        classes = {label: line for label, line in seen.items() if label != NO_LABEL or labels is not None}
        if labels is None:
            _refuse_numbered_rows(classes, rows, train, names)
            if len(classes) == 1 and bad.count:  # the rows that cannot be read may have the others
                raise refusal(bad, train, names)
        task = replace(task, labels=_class_names(classes, labels, train, names["labels"]), metrics=("accuracy",))
        if labels is None:
            _check_dev_labels(task, files.dev["dev"], train, names["labels"])
    return replace(files, task=task)


def _labels_in(task: Task, path: Path) -> tuple[dict[str, int], int, Skipped]:
    """(Each label of a file as it is written, with the first line that has it; the number of rows; those that cannot be
    read).
    """
    skipped = Skipped()
    seen: dict[str, int] = {}
    rows = 0
    for record in read_records(task, path, True, reporter(path, skipped)):
        rows += 1
        seen.setdefault(record.label or "", record.line)
    if not seen:
        raise no_rows(path, skipped)
    return seen, rows, skipped


def _refuse_numbered_rows(classes: Collection[str], rows: int, path: Path, names: OptionNames) -> None:
    """A column that names the rows, such as an index, is no label. names: of the options."""
    if len(classes) >= _MANY_CLASSES and len(classes) > rows / 2:
        raise ValueError(
            f"{path}: {rows:,} rows have {len(classes):,} labels ({some_of(list(classes), _SHOWN_OF_MANY)}), so that "
            f"most classes would be of one row: name the column of the labels with {names['label_column']}, take "
            f"{names['kind']} regression if they are scores, or name all classes with {names['labels']}"
        )


def _are_scores(seen: dict[str, int], path: Path, option: str) -> bool:
    numbers = {label: _number(label) for label in seen if label != NO_LABEL}
    broken = next((label for label, value in numbers.items() if value is not None and not value.is_integer()), None)
    word = next((label for label, value in numbers.items() if value is None), None)
    if broken is not None and word is not None:
        raise ValueError(
            f"{path}: labels such as {broken} (line {seen[broken]}) look like scores, but {word!r} (line {seen[word]}) "
            f"is not a number: choose {option} classification or {option} regression"
        )
    return broken is not None


def _class_names(seen: dict[str, int], labels: Sequence[str] | None, path: Path, option: str) -> tuple[str, ...]:
    if labels is not None:
        if len(set(labels)) != len(labels) or len(labels) < 2:
            parted = "; spaces stand between them, not commas" if re.search("[,\uff0c\u3001]", " ".join(labels)) else ""
            raise ValueError(f"{option} {' '.join(labels)}: needs two or more different names{parted}")
        if not set(labels) & set(seen):
            raise ValueError(
                f"{option} {' '.join(labels)}: no row of {path} has any of them; its labels are "
                f"{some_of(list(seen), _SHOWN_LABELS)}"
            )
        return tuple(labels)
    if len(seen) == 1:
        raise ValueError(f"{path}: every row has the label {next(iter(seen))!r}: nothing can be learnt from one class")
    numbers = {label: _number(label) for label in seen}
    by_value = None not in numbers.values()
    return tuple(sorted(seen, key=lambda label: (numbers[label] or 0.0, label) if by_value else (0.0, label)))


def _check_dev_labels(task: Task, dev: Path, train: Path, option: str) -> None:
    assert task.labels is not None
    seen, _, _ = _labels_in(task, dev)
    unknown = [label for label in seen if label not in (*task.labels, NO_LABEL)]
    if unknown:
        drop = shlex.join([task.layout.names["drop_labels"], *task.layout.drop_labels, *unknown[:_SHOWN_LABELS]])
        raise ValueError(
            f"{dev}:{seen[unknown[0]]}: the label {unknown[0]!r} is not in {train.name}, which has "
            f"{some_of(task.labels, _SHOWN_LABELS)}{_meant(unknown[0], task.labels)}: correct it, name all classes "
            f"with {option}, or leave out the rows with such labels ({counted(len(unknown), 'label')}): {drop}"
        )


def _classes(task: Task) -> dict[str, int]:
    """The index of a class by what files write, and by its name."""
    names = enumerate(task.labels or ())
    return {**{name: index for index, name in names}, **{value: index for index, value in enumerate(task.values)}}


def _meant(label: str, known: Sequence[str]) -> str:
    """Which known label an unknown one was probably meant to be, for a message; "" where that would be a guess."""

    def compared(name: str) -> tuple[str, str]:
        return name.casefold(), label.casefold()

    first, last = (closest(names, compared, cutoff=0.5) for names in (known, known[::-1]))
    return f" (did you mean {first}?)" if first and first == last and _number(label) is None else ""


def _number(text: str) -> float | None:
    """The finite number that a label is; None where it is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None  # 1_000 is a number to Python alone


def _text(text_a: str, text_b: str | None) -> str:
    return text_a if text_b is None else f"{text_a}\t{text_b}"
