"""Which columns of a file, or keys of an object, hold texts and label."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from megatinybert.tasks.reading.layout import Layout
from megatinybert.tasks.table import OWN_COLUMNS, Columns, Task

# What data sets call their texts, beside OWN_COLUMNS. Two names that are there are a pair only as they stand here.
PAIRS = (
    ("query", "title"),
    ("premise", "hypothesis"),
    ("question", "sentence"),
    ("question1", "question2"),
    ("text1", "text2"),
)
SINGLES = (
    *("sentence", "sentence1", "review", "content", "comment", "title", "query", "question"),
    *("文本", "内容", "评论", "句子"),
)
TEXTS = tuple(dict.fromkeys((*OWN_COLUMNS.text_a, *OWN_COLUMNS.text_b, *SINGLES, *sum(PAIRS, ()))))
LABELS = (*OWN_COLUMNS.label, "gold_label", "标签", "类别")
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
    labels: tuple[str, ...] = (layout.label,) if layout.label else tuple(name for name in LABELS if name in names)
    if with_labels and len(labels) > 1:
        option = layout.names["label_column"]
        raise ValueError(
            f"{file}: {' and '.join(labels)} could be the label: say which one is, for example with {option} "
            f"{labels[0]}"
        )
    return Columns(texts[:1], texts[1:], labels or LABELS)


def find_place(task: Task, names: Sequence[str], with_labels: bool, file: str) -> Place | None:
    """Where the columns are; None where one is missing.

    names: of the columns, in lower case. The columns that options name are the only ones; else the task's own come
    first, and are not mixed with others: "sentence" is the first text of some tasks and the second of another.
    """
    own = as_named(task.columns, task.layout)
    place = _place(own, task.pair, names, with_labels)
    if place is None and task.layout.text_a is None:
        usual = usual_columns(names, with_labels, task.layout, file)
        place = _place(usual, task.pair, names, with_labels) if usual else None
    return place


def first_of(names: Iterable[str], columns: Sequence[str]) -> int | None:
    """The index of the first of `names` that is among `columns` (in lower case)."""
    return next((columns.index(name.lower()) for name in names if name.lower() in columns), None)


def _usual_texts(names: Sequence[str], layout: Layout, file: str) -> tuple[str, ...] | None:
    first = [name for name in OWN_COLUMNS.text_a if name in names]
    second = [name for name in OWN_COLUMNS.text_b if name in names]
    if len(first) == len(second) == 1:
        return first[0], second[0]
    if len(first) == 1 and first[0] in _PLAIN and not second:
        return (first[0],)
    there = [name for name in names if name in TEXTS]
    if len(there) == 1 and there[0] in SINGLES:
        return (there[0],)
    pair = next((pair for pair in PAIRS if set(pair) == set(there)), None)
    if pair or not there:
        return pair
    option = layout.names
    raise ValueError(
        f"{file}: {' and '.join(there)} could be texts: say which one is with {option['text_a_column']} NAME, and for "
        f"pairs also with {option['text_b_column']} NAME"
    )


def as_named(columns: Columns, layout: Layout) -> Columns:
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
