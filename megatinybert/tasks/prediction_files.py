"""Files of predictions: where they go, and what is in them."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.special import softmax

from megatinybert.config.task import OF_PREDICTIONS
from megatinybert.runtime.files import publish_file, write_atomically
from megatinybert.tasks.formats import Record
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


def check_table(records: Iterable[Record], file: Path) -> list[str]:
    """The columns of `file` that are neither texts nor empty of a name, in order of their first row.

    Raises ValueError for the first value that a .tsv cannot hold, before time is spent on the answers.
    """
    columns: dict[str, None] = {}
    for number, record in enumerate(records, 1):
        columns.update(dict.fromkeys(record.others))
        values = [record.text_a, record.text_b or "", *record.others, *map(_cell, record.others.values())]
        if any(mark in value for value in values for mark in "\t\r\n"):
            raise ValueError(
                f"{file}: row {number:,} holds a tab or a line end, which a .tsv of predictions cannot: name a .jsonl "
                "with --predict.output"
            )
    return list(columns)


def write_predictions(
    task: Task, records: Iterable[Record], logits: np.ndarray, path: Path, columns: Sequence[str], with_lines: bool
) -> None:
    """Write the rows' texts and other columns with the predicted class and the probability of each class, or with the
    predicted score.

    records: N of them. logits: (N, C), C in the order of `task.labels`. path: a .tsv with a header, or a .jsonl; it is
    written atomically. columns: the others of a .tsv, as `check_table` has found them. with_lines: begin with the line
    in which a row begins in its file, from 1.
    """
    assert path.suffix in OF_PREDICTIONS
    answers = _answers(task, records, logits, with_lines)
    lines = _table(task, answers, columns, with_lines) if path.suffix == ".tsv" else _objects(task, answers)
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
    """Of each row: line (if it is to be written) and texts by column, other columns, name of the class or the score,
    probability of each class ([] in a regression).
    """

    row: dict[str, Any]
    others: dict[str, Any]
    prediction: str | float
    probabilities: list[float]


def _answers(task: Task, records: Iterable[Record], logits: np.ndarray, with_lines: bool) -> Iterator[_Answer]:
    probabilities_NC = softmax(logits.astype(np.float64), axis=1)
    for record, logits_C, probabilities_C in zip(records, logits, probabilities_NC, strict=True):
        row: dict[str, Any] = {"line": record.line} if with_lines else {}
        row |= {"text_a": record.text_a} | ({} if record.text_b is None else {"text_b": record.text_b})
        if task.labels is None:
            yield _Answer(row, record.others, round(float(logits_C[0]), 6), [])
        else:
            yield _Answer(row, record.others, task.labels[int(logits_C.argmax())], probabilities_C.tolist())


def _objects(task: Task, answers: Iterable[_Answer]) -> Iterator[str]:
    taken = {"line", "text_a", "text_b", "prediction", "probabilities"}
    for row, others, prediction, probabilities in answers:
        names = _free_names(others, taken)
        record = {**row, **{names[key]: value for key, value in others.items()}, "prediction": prediction}
        if task.labels is not None:
            record["probabilities"] = {
                name: round(value, 6) for name, value in zip(task.labels, probabilities, strict=True)
            }
        yield json.dumps(record, ensure_ascii=False)


def _table(task: Task, answers: Iterable[_Answer], columns: Sequence[str], with_lines: bool) -> Iterator[str]:
    first = [*(["line"] if with_lines else []), "text_a", *(["text_b"] if task.pair else [])]
    last = ["prediction", *(f"probability_{name}" for name in task.labels or ())]
    names = _free_names(columns, {*first, *last})
    yield "\t".join([*first, *names.values(), *last])
    for row, others, prediction, probabilities in answers:
        kept = [_cell(others.get(column)) for column in columns]
        yield "\t".join([*map(str, row.values()), *kept, str(prediction), *(f"{value:.6f}" for value in probabilities)])


def _free_names(columns: Collection[str], taken: set[str]) -> dict[str, str]:
    """What the input's columns are called beside ours: one called as ours is, `prediction`, is `input_prediction`."""
    names = {}
    for column in columns:
        name = column
        while name in taken or (name != column and name in columns):
            name = f"input_{name}"
        names[column] = name
    return names


def _cell(value: Any) -> str:
    """A value of an object as a .tsv has it: a string as it is, nothing for null, else JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)
