"""A task's files, read row by row."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from megatinybert.config.missing import missing_data_dir
from megatinybert.config.rows import compact
from megatinybert.runtime.counts import some_of
from megatinybert.tasks.columns import no_text, usual_columns
from megatinybert.tasks.formats import SUFFIXES, WITHOUT_LABEL, columns_of, read_records
from megatinybert.tasks.layout import NO_LABEL, Layout
from megatinybert.tasks.skipped import Skipped, no_rows, refusal, reporter
from megatinybert.tasks.table import Task, find_task

_SHOWN_LABELS = 10
_CUSTOM_NAMES = {"train": ("train",), "dev": ("eval", "dev"), "test": ("test",)}


class Row(NamedTuple):
    """label: class index in the order of `Task.labels`, or the score; None in a row that was read without labels."""

    text_a: str
    text_b: str | None
    label: int | float | None


@dataclass(frozen=True)
class TaskFiles:
    """A task with its files.

    task: of a custom one, with classes, pairs and metrics as the data has them. dev: in the task's order, at least one.
    test: those that are there.
    """

    task: Task
    train: Path
    dev: dict[str, Path]
    test: dict[str, Path]


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

    Raises ValueError where a file or a column is missing or ambiguous, or where the labels do not make a task. Rows
    that cannot be parsed are left to `read_rows`.
    """
    layout = layout or Layout()
    names = layout.names
    task = find_task(name, names["task"])
    task = task if layout == task.layout else replace(task, layout=layout)
    folder = Path(data_dir)
    if problem := missing_data_dir(names["data_dir"], folder):
        raise ValueError(problem)
    if task.name == "custom":
        return _open_custom(task, folder, labels, kind)
    if labels is not None or kind != "auto":
        options = f"{names['labels']} and {names['kind']}"
        raise ValueError(f"{options} are for a custom task: {task.name} has its own")
    return _open_official(task, folder, names["data_dir"])


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
                reason = f"the label {record.label!r} is not {known}"
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


def _open_official(task: Task, folder: Path, option: str) -> TaskFiles:
    other = task.other_names.get(task.train)
    # All files of one set: the training file of another set may hold rows of this one's dev file.
    names = task.other_names if other and not (folder / task.train).exists() and (folder / other).exists() else None

    def path(name: str) -> Path:
        return folder / (names.get(name, name) if names else name)

    train, dev = path(task.train), {split: path(name) for split, name in task.dev.items()}
    missing = [file.name for file in (train, *dev.values()) if not file.is_file()]
    if missing:
        inside = [sub for sub in sorted(folder.iterdir()) if compact(sub.name) == compact(task.name) and sub.is_dir()]
        hint = f": did you mean {option} {inside[0]}?" if inside else _there(folder)
        raise ValueError(f"{option} {folder}: no {' and no '.join(missing)}, which {task.name} needs{hint}")
    test = {split: folder / name for split, name in task.test.items() if not names and (folder / name).is_file()}
    return TaskFiles(_with_files(task, train, *dev.values(), *test.values()), train, dev, test)


def _open_custom(task: Task, folder: Path, labels: Sequence[str] | None, kind: str) -> TaskFiles:
    names = task.layout.names
    option = names["data_dir"]
    train, dev, test = (_custom_file(folder, split, option) for split in ("train", "dev", "test"))
    if train is None or dev is None:
        lacking = " and no ".join(name for name, path in (("train", train), ("eval", dev)) if path is None)
        raise ValueError(
            f"{option} {folder}: no {lacking} file, which a custom task needs (as {', '.join(SUFFIXES)})"
            + _there(folder)
            + _of_several_parts(folder)
        )
    task = _with_columns(_with_files(task, train, dev, *([test] if test else [])), train)
    seen = _labels_in(task, train)
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
        task = replace(task, labels=_class_names(classes, labels, train, names["labels"]), metrics=("accuracy",))
        if labels is None:
            _check_dev_labels(task, dev, train, names["labels"])
    return TaskFiles(task, train, {"dev": dev}, {"test": test} if test else {})


def _with_files(task: Task, *files: Path) -> Task:
    return replace(task, layout=replace(task.layout, files=files))


def _with_columns(task: Task, train: Path) -> Task:
    """A custom task with the columns and the kind of rows, single texts or pairs, that its training file has."""
    names = columns_of(train, task.layout)
    if train.suffix == ".txt" and not task.layout.columns:
        if task.layout.text_a or task.layout.label:
            raise ValueError(
                f"{train}: its columns have no names: give them all, in order, by {task.layout.names['columns']}"
            )
        return replace(task, pair="text_b" in names)
    if not names:  # nothing in it can be read, which is told by who reads its labels
        return task
    found = usual_columns(names, True, task.layout, str(train))
    if found is None:
        raise no_text(names, task.layout, str(train))
    return replace(task, columns=found, pair=bool(found.text_b))


def _custom_file(folder: Path, split: str, option: str) -> Path | None:
    found = [folder / (stem + suffix) for stem in _CUSTOM_NAMES[split] for suffix in SUFFIXES]
    found = [path for path in found if path.is_file()]
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise ValueError(f"{option} {folder}: {names} are there: keep the one that is meant, rename the others")
    return found[0] if found else None


def _labels_in(task: Task, path: Path) -> dict[str, int]:
    """Each label of a file as it is written, with the first line that has it."""
    skipped = Skipped()
    seen: dict[str, int] = {}
    for record in read_records(task, path, True, reporter(path, skipped)):
        seen.setdefault(record.label or "", record.line)
    if not seen:
        raise no_rows(path, skipped)
    return seen


def _are_scores(seen: dict[str, int], path: Path, option: str) -> bool:
    numbers = {label: _number(label) for label in seen if label != NO_LABEL}
    broken = next((label for label, value in numbers.items() if value is not None and not value.is_integer()), None)
    word = next((label for label, value in numbers.items() if value is None), None)
    if broken is not None and word is not None:
        raise ValueError(
            f"{path}: labels such as {broken} (line {seen[broken]}) look like scores, but {word!r} (line {seen[word]}) "
            f"is no number: give {option} classification or {option} regression"
        )
    return broken is not None


def _class_names(seen: dict[str, int], labels: Sequence[str] | None, path: Path, option: str) -> tuple[str, ...]:
    if labels is not None:
        if len(set(labels)) != len(labels) or len(labels) < 2:
            raise ValueError(f"{option} {' '.join(labels)}: two or more names that differ are needed")
        if not set(labels) & set(seen):
            raise ValueError(
                f"{option} {' '.join(labels)}: no row of {path} has one; it has {some_of(list(seen), _SHOWN_LABELS)}"
            )
        return tuple(labels)
    if len(seen) == 1:
        raise ValueError(f"{path}: every row has the label {next(iter(seen))!r}: nothing can be learnt from one class")
    numbers = {label: _number(label) for label in seen}
    by_value = None not in numbers.values()
    return tuple(sorted(seen, key=lambda label: (numbers[label] or 0.0, label) if by_value else (0.0, label)))


def _check_dev_labels(task: Task, dev: Path, train: Path, option: str) -> None:
    assert task.labels is not None
    seen = _labels_in(task, dev)
    unknown = [label for label in seen if label not in (*task.labels, NO_LABEL)]
    if unknown:
        raise ValueError(
            f"{dev}:{seen[unknown[0]]}: the label {unknown[0]!r} is not in {train.name}, which has "
            f"{some_of(task.labels, _SHOWN_LABELS)}: correct it, or name all classes with {option} ({len(unknown)} "
            "such labels)"
        )


def _classes(task: Task) -> dict[str, int]:
    """The index of a class by what files write, and by its name."""
    names = enumerate(task.labels or ())
    return {**{name: index for index, name in names}, **{value: index for index, value in enumerate(task.values)}}


def _number(text: str) -> float | None:
    """The finite number that a label is; None where it is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None  # 1_000 is a number to Python alone


def _text(text_a: str, text_b: str | None) -> str:
    return text_a if text_b is None else f"{text_a}\t{text_b}"


def _of_several_parts(folder: Path) -> str:
    """A hint where the training file is one of several, as OCNLI's train.50k.json."""
    named = sorted(path.name for path in folder.glob("train.*.json*"))
    return f". If {named[-1]} is meant, copy it to train{Path(named[-1]).suffix}" if named else ""


def _there(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    return f"; there are {some_of(names, _SHOWN_LABELS)}" if names else "; the folder is empty"
