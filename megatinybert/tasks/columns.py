"""Which columns of a file, or keys of an object, hold texts and label."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from megatinybert.config.nearest import nearest
from megatinybert.tasks.layout import Layout
from megatinybert.tasks.misspelt import misspelt
from megatinybert.tasks.parting import parted_otherwise
from megatinybert.tasks.table import OWN_COLUMNS, Columns, Task

# What data sets call their texts, beside OWN_COLUMNS. Two names that are there are a pair only as they stand here.
_PAIRS = (
    ("query", "title"),
    ("premise", "hypothesis"),
    ("question", "sentence"),
    ("question1", "question2"),
    ("text1", "text2"),
)
_SINGLES = ("sentence", "sentence1", "review", "content", "comment", "title", "query", "question")
_TEXTS = tuple(dict.fromkeys((*OWN_COLUMNS.text_a, *OWN_COLUMNS.text_b, *_SINGLES, *sum(_PAIRS, ()))))
_LABELS = (*OWN_COLUMNS.label, "gold_label")
_PLAIN = ("text_a", "text")  # which say that they are the text, whatever else is there


class Place(NamedTuple):
    """Which columns hold what, by index."""

    text_a: int
    text_b: int | None
    label: int | None

    def texts_of(self, values: Sequence[str]) -> tuple[str, ...]:
        """Of the values of all columns those of the texts, such as their names."""
        return tuple(values[index] for index in (self.text_a, self.text_b) if index is not None)


def usual_columns(names: Sequence[str], with_labels: bool, layout: Layout, file: str) -> Columns | None:
    """The columns that hold texts and label, as options say or by the usual names; None where no text is found.

    names: of all columns, in lower case. file: for messages. Raises ValueError where several would do.
    """
    if layout.text_a is not None:
        texts: tuple[str, ...] | None = (layout.text_a,) if layout.text_b is None else (layout.text_a, layout.text_b)
    else:
        texts = _usual_texts(names, layout, file)
    if texts is None:
        return None
    labels: tuple[str, ...] = (layout.label,) if layout.label else tuple(name for name in _LABELS if name in names)
    if with_labels and len(labels) > 1:
        option = layout.names["label_column"]
        raise ValueError(
            f"{file}: {' and '.join(labels)} may be the label: say which one it is, as by {option} {labels[0]}"
        )
    return Columns(texts[:1], texts[1:], labels or _LABELS)


def find_place(task: Task, names: Sequence[str], with_labels: bool, file: str) -> Place | None:
    """Where the columns are; None where one is missing.

    names: of the columns, in lower case. The columns that options name are the only ones; else the task's own come
    first, and are not mixed with others: "sentence" is the first text of some tasks and the second of another.
    """
    own = _as_named(task.columns, task.layout)
    place = _place(own, task.pair, names, with_labels)
    if place is None and task.layout.text_a is None:
        usual = usual_columns(names, with_labels, task.layout, file)
        place = _place(usual, task.pair, names, with_labels) if usual else None
    return place


def needed(task: Task, with_labels: bool) -> str:
    """What a file of a task has to have, for a message: every name that `find_place` takes."""

    def listed(texts: Iterable[Sequence[Iterable[str]]], labels: Iterable[str]) -> str:
        told = " or ".join(" with ".join("/".join(names) for names in each) for each in texts)
        return f"{told}, and {'/'.join(labels)}" if with_labels else told

    own = _as_named(task.columns, task.layout)
    texts = own.text_a, own.text_b
    if task.layout.text_a:
        told = listed([texts if task.pair else texts[:1]], own.label)
    elif not task.pair:  # the task's own names are among the usual ones
        labels = own.label if task.layout.label else dict.fromkeys((*own.label, *_LABELS))
        told = listed([[dict.fromkeys((*own.text_a, *OWN_COLUMNS.text_a, *_SINGLES))]], labels)
    else:
        usual = [(OWN_COLUMNS.text_a, OWN_COLUMNS.text_b), *(((first,), (second,)) for first, second in _PAIRS)]
        known = [each for each in usual if set(texts[0]) <= set(each[0]) and set(texts[1]) <= set(each[1])]
        others = [each for each in usual if each not in known]
        if task.layout.label or set(own.label) <= set(_LABELS):
            told = listed([*(known or [texts]), *others], own.label if task.layout.label else _LABELS)
        else:
            told = f"{listed([texts], own.label)}, or {listed([*known, *others], _LABELS)}"
    which = "a custom task" if task.name == "custom" else task.name
    hint = "options name those of all files: rename this one's"
    if with_labels:
        fields = ("text_a_column", *(["text_b_column"] if task.pair else []), "label_column")
        hint = f"others: {', '.join(task.layout.names[field] for field in fields)}"
    return f"{which} needs {told} ({hint})"


def misspelt_of(task: Task, names: Sequence[str], with_labels: bool) -> str:
    """A hint where columns that a file of a task needs are nearly called as usual. names: in lower case."""
    own = _as_named(task.columns, task.layout)
    usual = {"text_a_column": own.text_a if task.layout.text_a else (*own.text_a, *OWN_COLUMNS.text_a, *_SINGLES)}
    if task.pair:
        usual["text_b_column"] = own.text_b if task.layout.text_b else (*own.text_b, *OWN_COLUMNS.text_b)
    if with_labels:
        usual["label_column"] = own.label if task.layout.label else (*own.label, *_LABELS)
    return misspelt(names, usual, task.layout)


def misnamed(layout: Layout, names: Sequence[str], with_labels: bool, what: str = "column") -> str | None:
    """Which columns that options name are not among `names` (in lower case), for a message; None where all are there.

    A label without a usual name is told, too, so that one run tells all.
    """
    given = {"text_a_column": layout.text_a, "text_b_column": layout.text_b}
    given |= {"label_column": layout.label} if with_labels else {}
    told = []
    for field, name in given.items():
        if name is not None and name.lower() not in names:
            meant = nearest(name.lower(), names)
            told.append(f"no {what} {name} ({layout.names[field]}{f'; did you mean {meant}?' if meant else ''})")
    if told and with_labels and not layout.label and first_of(_LABELS, names) is None:
        told.append(f"no {what} called {'/'.join(_LABELS)} ({layout.names['label_column']} names another)")
    return " and ".join(told) or None


def first_of(names: Iterable[str], columns: Sequence[str]) -> int | None:
    """The index of the first of `names` that is among `columns` (in lower case)."""
    return next((columns.index(name.lower()) for name in names if name.lower() in columns), None)


def no_text(names: Sequence[str], layout: Layout, file: str) -> ValueError:
    """That none of these columns is known as a text, and what is wrong with the label's."""
    option = layout.names
    headless = f". If the first line is no header, name all columns in order by {option['columns']}"
    label, too = "", ""
    if not layout.label and first_of(_LABELS, names) is None:
        label, too = f", or of a label ({', '.join(_LABELS)})", f", and the label by {option['label_column']}"
    wrong, parted = misnamed(layout, names, True), "" if layout.columns else parted_otherwise(names, file)
    near = misspelt(names, {"text_a_column": _TEXTS} | ({} if layout.label else {"label_column": _LABELS}), layout)
    return ValueError(
        f"{file}: none of its columns ({', '.join(names)}) has a usual name of a text ({', '.join(_TEXTS)}){label}: "
        f"name it by {option['text_a_column']}, in pairs the second one by {option['text_b_column']}{too}"
        f"{f'. It has {wrong}' if wrong else ''}{near or (parted or headless if file.endswith('sv') else '')}"
    )


def _usual_texts(names: Sequence[str], layout: Layout, file: str) -> tuple[str, ...] | None:
    first = [name for name in OWN_COLUMNS.text_a if name in names]
    second = [name for name in OWN_COLUMNS.text_b if name in names]
    if len(first) == len(second) == 1:
        return first[0], second[0]
    if len(first) == 1 and first[0] in _PLAIN and not second:
        return (first[0],)
    there = [name for name in names if name in _TEXTS]
    if len(there) == 1 and there[0] in _SINGLES:
        return (there[0],)
    pair = next((pair for pair in _PAIRS if set(pair) == set(there)), None)
    if pair or not there:
        return pair
    option = layout.names
    raise ValueError(
        f"{file}: {' and '.join(there)} may be texts: say which one is, by {option['text_a_column']} NAME, and for "
        f"pairs also by {option['text_b_column']} NAME"
    )


def _as_named(columns: Columns, layout: Layout) -> Columns:
    """With the names that options give in place of others."""
    if layout.text_a is not None:
        columns = replace(columns, text_a=(layout.text_a,))
        columns = replace(columns, text_b=(layout.text_b,) if layout.text_b else columns.text_b)
    return replace(columns, label=(layout.label,)) if layout.label else columns


def _place(columns: Columns, pair: bool, names: Sequence[str], with_labels: bool) -> Place | None:
    text_a = first_of(columns.text_a, names)
    text_b = first_of(columns.text_b, names) if pair else None
    label = first_of(columns.label, names) if with_labels else None
    if text_a is not None and (text_b is not None) == pair and (label is not None) == with_labels:
        return Place(text_a, text_b, label)
    return None
