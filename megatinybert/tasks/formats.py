""".tsv, .csv, .jsonl and .txt files of text and labels."""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from megatinybert.corpus.charset import recognise
from megatinybert.tasks.table import OWN_COLUMNS, Columns, Task

SUFFIXES = (".txt", ".tsv", ".csv", ".jsonl")

# What is called for a row that cannot be parsed, with line, reason and text: raises, or counts it.
Bad = Callable[[int, str, str], None]
_Content = TypeVar("_Content", list[str], str)


class Record(NamedTuple):
    """One row. line: where it begins, from 1. label: as it is written, without white space around it."""

    line: int
    text_a: str
    text_b: str | None
    label: str | None


class _Place(NamedTuple):
    """Which columns hold what, by index."""

    text_a: int
    text_b: int | None
    label: int | None


def read_records(task: Task, path: Path, with_labels: bool, bad: Bad) -> Iterator[Record]:
    """The rows of a file, one at a time. with_labels: each has to have a label; otherwise none has one.

    Raises ValueError where not a row but the file is wrong: its encoding, its header, the quoting of a .csv.
    """
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        found = _of_objects(task, path, with_labels, bad)
    elif suffix == ".csv":
        found = _of_table(task, path, _csv_rows(path), with_labels, bad)
    elif suffix == ".tsv" or path.name in task.other_names.values():
        found = _of_table(task, path, _tab_rows(path), with_labels, bad)
    elif suffix == ".txt":
        found = _of_plain(task, path, with_labels, bad)
    else:
        raise ValueError(f"{path}: not a file of rows: its name has to end with one of {', '.join(SUFFIXES)}")
    for record in found:
        line, *values = record
        filled = [value is None or bool(value.strip()) for value in values]
        # A row without a label is there to be answered: of a pair, one text is enough.
        if all(filled) or (not with_labels and any(filled[:2] if task.pair else filled[:1])):
            yield record
        else:
            bad(line, f"no {Record._fields[1 + filled.index(False)]}", "\t".join(filter(None, values)))


def columns_of(path: Path) -> list[str]:
    """The names of a file's columns, in lower case: of its header, of the first object's keys that have a value, or
    by the number of fields in the first line of a .txt; [] where nothing can be read.
    """
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        objects = (_parsed(text) for _, text in _lines(path))
        first = next((row for row in objects if isinstance(row, dict)), {})
        return [key.strip().lower() for key, value in first.items() if value is not None]
    rows = _csv_rows(path) if suffix == ".csv" else _tab_rows(path)
    fields = next((fields for _, fields in rows if fields), [])
    if suffix == ".txt":
        return {2: ["text_a", "label"], 3: ["text_a", "text_b", "label"]}.get(len(fields), [])
    return [name.strip().lower() for name in fields]


def first_of(names: Iterable[str], columns: list[str]) -> int | None:
    """The index of the first of `names` that is among `columns` (in lower case)."""
    return next((columns.index(name.lower()) for name in names if name.lower() in columns), None)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines without their ends. LF alone ends a line: other separators of Unicode may stand in a text."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if number == 1:
                encoding, _ = recognise(raw, "utf-8")
                if encoding != "utf-8":
                    encoding = encoding.removesuffix("-le").removesuffix("-be")
                    raise ValueError(f"{path}:1: {encoding.upper()}, not UTF-8. {_convert(path, encoding)}")
                raw = raw.removeprefix(codecs.BOM_UTF8)
            if b"\0" in raw:
                raise ValueError(f"{path}:{number}: a byte 0, as in UTF-16. {_convert(path, 'utf-16le')}")
            try:
                text = raw.decode("utf-8")
            except UnicodeDecodeError as error:
                byte = f"byte 0x{raw[error.start]:02x}"
                raise ValueError(f"{path}:{number}: not valid UTF-8 ({byte}). {_convert(path, 'gb18030')}") from error
            yield number, text.removesuffix("\n")


def _convert(path: Path, encoding: str) -> str:
    return (
        f"Convert it from the encoding that it is in, as with: iconv -f {encoding} -t utf-8 {path} > new{path.suffix}"
    )


def _tab_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Lines parted at tabs; [] for a blank one. There is no quoting: a quotation mark is a character."""
    for number, text in _lines(path):
        text = text.removesuffix("\r")
        yield number, text.split("\t") if text.strip() else []


csv.field_size_limit(2**31 - 1)  # a document may be longer than the library's 131,072 characters


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Records of RFC 4180, each with the line that it begins in; [] for an empty line."""
    reader = csv.reader((text + "\n" for _, text in _lines(path)), strict=True)
    line = 1
    try:
        for fields in reader:
            yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
        # Not one bad row: where the next one begins is unknown.
        raise ValueError(
            f"{path}:{line}: the record that begins here is not CSV ({error}). A field that holds a comma, a quotation "
            'mark or a line end stands between quotation marks, and a quotation mark in it is written twice ("")'
        ) from error


def _without_blank_end(found: Iterable[tuple[int, _Content]], bad: Bad) -> Iterator[tuple[int, _Content]]:
    """Empty lines are no rows at the end of a file, and bad ones before it."""
    blank: list[int] = []
    for line, content in found:
        if not content:
            blank.append(line)
            continue
        for number in blank:
            bad(number, "an empty line", "")
        blank.clear()
        yield line, content


def _of_table(
    task: Task, path: Path, rows: Iterator[tuple[int, list[str]]], with_labels: bool, bad: Bad
) -> Iterator[Record]:
    rows = _without_blank_end(rows, bad)
    first = next(rows, None)
    if first is None:
        return
    names = [name.strip().lower() for name in first[1]]
    place = _place(task, names, with_labels)
    if place is None and task.header:
        names = list(task.header)
        place = _place(task, names, with_labels)
        rows = chain([first], rows)
    if place is None:
        header = ", ".join(name.strip() or '""' for name in first[1])
        raise ValueError(f"{path}: its header has the columns {header}; {_needed(task, with_labels)}")
    double = sorted({name for name in names if name and names.count(name) > 1})
    if double:
        raise ValueError(f"{path}: its header has the column {double[0]} twice: leave one out or rename it")
    if not task.pair and first_of(OWN_COLUMNS.text_b, names) is not None:
        raise ValueError(
            f"{path}: its header ({', '.join(first[1])}) has a second text, but the rows of {task.name} are single "
            "texts: leave the column out, or give the training file one"
        )
    for line, fields in rows:
        if len(fields) != len(names):
            bad(line, f"{_count(fields)}, but the file has {len(names)} columns", "\t".join(fields))
            continue
        yield Record(
            line,
            fields[place.text_a],
            None if place.text_b is None else fields[place.text_b],
            None if place.label is None else fields[place.label].strip(),
        )


def _of_plain(task: Task, path: Path, with_labels: bool, bad: Bad) -> Iterator[Record]:
    texts = 2 if task.pair else 1
    allowed = {texts + 1} if with_labels else {texts, texts + 1}
    wanted = " and ".join([*Record._fields[1 : texts + 1], *(["label"] if with_labels else [])])
    for line, fields in _without_blank_end(_tab_rows(path), bad):
        if len(fields) not in allowed:
            bad(line, f"{_count(fields)} parted by tabs, not {wanted}", "\t".join(fields))
            continue
        text_b = fields[1] if task.pair else None
        yield Record(line, fields[0], text_b, fields[texts].strip() if with_labels else None)


def _of_objects(task: Task, path: Path, with_labels: bool, bad: Bad) -> Iterator[Record]:
    keys: list[str] = []
    place: _Place | None = None
    for line, text in _without_blank_end(((number, text.strip()) for number, text in _lines(path)), bad):
        row = _parsed(text)
        if not isinstance(row, dict):
            bad(line, "not a JSON object", text)
            continue
        if list(row) != keys or place is None:
            keys = list(row)
            place = _place(task, [key.lower() for key in keys], with_labels)
        if place is None:
            bad(line, _needed(task, with_labels), text)
            continue
        second = first_of(OWN_COLUMNS.text_b, [key.lower() for key in keys]) if not task.pair else None
        if second is not None and row[keys[second]] is not None:
            bad(line, f"a second text, but the rows of {task.name} are single texts", text)
            continue
        texts = [row[keys[index]] for index in (place.text_a, place.text_b) if index is not None]
        if not all(isinstance(part, str) and _is_encodable(part) for part in texts):
            bad(line, "a text that is not a string of Unicode characters", text)
            continue
        label = None if place.label is None else row[keys[place.label]]
        if isinstance(label, list | dict):
            bad(line, "a label that is neither a string nor a number", text)
            continue
        name = "" if label is None else label if isinstance(label, str) else json.dumps(label)
        yield Record(line, texts[0], texts[1] if task.pair else None, name.strip() if with_labels else None)


def _place(task: Task, names: list[str], with_labels: bool) -> _Place | None:
    """Where the columns are; None where one is missing. The task's own names come first, and are not mixed with
    others: "sentence" is the first text of some tasks and the second of another.
    """
    for columns in (task.columns, OWN_COLUMNS):
        text_a = first_of(columns.text_a, names)
        text_b = first_of(columns.text_b, names) if task.pair else None
        label = first_of(columns.label, names) if with_labels else None
        if text_a is not None and (text_b is not None) == task.pair and (label is not None) == with_labels:
            return _Place(text_a, text_b, label)
    return None


def _needed(task: Task, with_labels: bool) -> str:
    def listed(columns: Columns) -> str:
        parts = [columns.text_a, *([columns.text_b] if task.pair else []), *([columns.label] if with_labels else [])]
        return ", ".join("/".join(names) for names in parts)

    either = {listed(task.columns): None, listed(OWN_COLUMNS): None}
    return f"{task.name} needs {', or '.join(either)}"


def _count(fields: list[str]) -> str:
    return f"{len(fields)} field{'s' if len(fields) != 1 else ''}"


def _parsed(text: str) -> Any:
    """The value of a JSON text; None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_encodable(text: str) -> bool:
    """Whether a string is Unicode text: JSON can spell half a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
