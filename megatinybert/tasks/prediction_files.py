"""Files of predictions: where they go, and what is in them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.special import softmax

from megatinybert.config.task import OF_PREDICTIONS
from megatinybert.runtime.files import publish_file, write_atomically
from megatinybert.tasks.reading.formats import Record
from megatinybert.tasks.table import Task

_INPUTS = "inputs.json"  # beside the predictions: whose they are


def free_file(folder: Path, source: Path) -> Path:
    """Where in `folder` the predictions of an input go that no option gives a place: under its whole name.

    Raises ValueError where those of another input, or of one that is not known, stand there.
    """
    target = folder / f"{source.name}.tsv"
    owner = _owners(folder).get(target.name, "another file")
    if target.exists() and owner != str(source.resolve()):
        raise ValueError(
            f"{target} has the predictions of {owner}: name another file for those of {source} with --predict.output"
        )
    return target


def record_input(target: Path, source: Path) -> None:
    """Note whose predictions a file of `free_file` has."""
    owners = {**_owners(target.parent), target.name: str(source.resolve())}
    write_atomically(target.with_name(_INPUTS), json.dumps(owners, indent=2, ensure_ascii=False) + "\n")


def _owners(folder: Path) -> dict[str, str]:
    path = folder / _INPUTS
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


class TableColumns(NamedTuple):
    """What a .tsv of predictions calls its texts, and its input's other columns in order of their first row."""

    texts: tuple[str, ...]
    others: list[str]


def check_table(task: Task, records: Iterable[Record], file: Path) -> TableColumns:
    """The columns that a .tsv of predictions takes over from `file`.

    Raises ValueError for the first value that a .tsv cannot hold, before time is spent on the answers.
    """
    texts, others = set(), dict[str, None]()
    for number, record in enumerate(records, 1):
        texts.add(_text_names(task, record))
        others.update(dict.fromkeys(record.others))
        own = [record.text_a, record.text_b or "", *record.names]
        values = [*own, *record.others, *map(_cell, record.others.values())]
        if any(mark in value for value in values for mark in "\t\r\n"):
            raise ValueError(
                f"{file}: row {number:,} holds a tab or a line end, which a .tsv of predictions cannot hold: name a "
                ".jsonl with --predict.output"
            )
    # Objects can call their texts differently, and a column has one name.
    return TableColumns(texts.pop() if len(texts) == 1 else _unnamed(task), list(others))


def write_predictions(
    task: Task,
    records: Iterable[Record],
    logits: np.ndarray,
    path: Path,
    columns: TableColumns | None,
    with_lines: bool,
) -> None:
    """Write the rows' texts and other columns with the predicted class and the probability of each class, or with the
    predicted score.

    records: N of them. logits: (N, C), C in the order of `task.labels`. path: a .tsv with a header, or a .jsonl; it is
    written atomically. columns: those of a .tsv, as `check_table` has found them; of a .jsonl every row has its own.
    with_lines: begin with the line in which a row begins in its file, from 1.
    """
    assert path.suffix in OF_PREDICTIONS and (columns is not None) == (path.suffix == ".tsv")
    answers = _answers(task, records, logits)
    lines = _table(task, answers, columns, with_lines) if columns else _objects(task, answers, with_lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # JSON can spell half a character; as an escape it is what it was.
        with temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.writelines(line + "\n" for line in lines)
        publish_file(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class _Answer(NamedTuple):
    """Of each row: what was read, name of the class or the score, probability of each class ([] in a regression)."""

    record: Record
    prediction: str | float
    probabilities: list[float]

    @property
    def texts(self) -> list[str]:
        return [text for text in (self.record.text_a, self.record.text_b) if text is not None]


def _answers(task: Task, records: Iterable[Record], logits: np.ndarray) -> Iterator[_Answer]:
    probabilities_NC = softmax(logits.astype(np.float64), axis=1)
    for record, logits_C, probabilities_C in zip(records, logits, probabilities_NC, strict=True):
        if task.labels is None:
            yield _Answer(record, round(float(logits_C[0]), 6), [])
        else:
            yield _Answer(record, task.labels[int(logits_C.argmax())], probabilities_C.tolist())


def _objects(task: Task, answers: Iterable[_Answer], with_lines: bool) -> Iterator[str]:
    for answer in answers:
        others = answer.record.others
        texts, names = _free_names(_text_names(task, answer.record), others, {"line", "prediction", "probabilities"})
        record: dict[str, Any] = {"line": answer.record.line} if with_lines else {}
        record |= dict(zip(texts, answer.texts, strict=True))
        record |= {names[key]: value for key, value in others.items()} | {"prediction": answer.prediction}
        if task.labels is not None:
            pairs = zip(task.labels, answer.probabilities, strict=True)
            record["probabilities"] = {name: round(value, 6) for name, value in pairs}
        yield json.dumps(record, ensure_ascii=False)


def _table(task: Task, answers: Iterable[_Answer], columns: TableColumns, with_lines: bool) -> Iterator[str]:
    first = ["line"] if with_lines else []
    last = ["prediction", *(f"probability_{name}" for name in task.labels or ())]
    texts, names = _free_names(columns.texts, columns.others, {*first, *last})
    yield "\t".join([*first, *texts, *names.values(), *last])
    for answer in answers:
        line = [str(answer.record.line)] if with_lines else []
        kept = [_cell(answer.record.others.get(column)) for column in columns.others]
        probabilities = [f"{value:.6f}" for value in answer.probabilities]
        yield "\t".join([*line, *answer.texts, *kept, str(answer.prediction), *probabilities])


def _text_names(task: Task, record: Record) -> tuple[str, ...]:
    return record.names or _unnamed(task)


def _unnamed(task: Task) -> tuple[str, ...]:
    """What texts are called that no file, or not one file alone, has a name for."""
    return ("text_a", "text_b") if task.pair else ("text_a",)


def _free_names(texts: Sequence[str], others: Iterable[str], ours: set[str]) -> tuple[list[str], dict[str, str]]:
    """What the input's texts and other columns are called beside ours: one called `prediction` as ours is becomes
    `input_prediction`.
    """
    others, taken = list(others), set(ours)
    named = []
    for column in (*texts, *others):
        name = column
        while name in taken or (name != column and name in (*texts, *others)):
            name = f"input_{name}"
        taken.add(name)
        named.append(name)
    return named[: len(texts)], dict(zip(others, named[len(texts) :], strict=True))


def _cell(value: Any) -> str:
    """A value of an object as a .tsv has it: a string as it is, nothing for null, else JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)
