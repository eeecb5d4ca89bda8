""".tsv, .csv, .jsonl, .json and .txt files of text and labels."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from megatinybert.corpus.other_kinds import ways_of_rows
from megatinybert.runtime.counts import counted
from megatinybert.tasks.reading.columns import Place, find_place, first_of
from megatinybert.tasks.reading.headless import first_row
from megatinybert.tasks.reading.layout import NO_LABEL, Layout
from megatinybert.tasks.reading.lines import lines_of
from megatinybert.tasks.reading.miscounted import miscounted, other_forms
from megatinybert.tasks.reading.objects import parsed, refuse_other_json, text_of
from megatinybert.tasks.reading.parting import after_quote, unparted
from megatinybert.tasks.reading.separators import parted_by_another
from megatinybert.tasks.reading.wrong_columns import no_label, of_other_task, wrong_object, wrong_table
from megatinybert.tasks.table import OWN_COLUMNS, Task

SUFFIXES = (".txt", ".tsv", ".csv", ".jsonl", ".json")
OF_OBJECTS = (".jsonl", ".json")
WITHOUT_LABEL = "no label"  # how the reason of a row begins that has none

# What is called for a row that cannot be parsed, with line, reason and text: raises, or counts it.
Bad = Callable[[int, str, str], None]
_Content = TypeVar("_Content", list[str], str)


class Record(NamedTuple):
    """One row. line: where it begins, from 1. label: as it is written, without white space around it. others: of a row
    that was read without labels, its other columns by name. names: what the file calls its texts; () where it does not.
    """

    line: int
    text_a: str
    text_b: str | None
    label: str | None
    others: dict[str, Any]
    names: tuple[str, ...] = ()


def read_records(
    task: Task, path: Path, with_labels: bool, bad: Bad, dropped: Counter[str] | None = None
) -> Iterator[Record]:
    """The rows of a file, one at a time. with_labels: each has to have a label; otherwise none has one.

    dropped: counts rows that are left out for their labels, by label ("" for rows that have none).
    Raises ValueError where not a row but the file is wrong: its encoding, its header, the quoting of a .csv.
    """
    suffix = path.suffix.lower()
    if suffix in OF_OBJECTS:
        found = _of_objects(task, path, with_labels, bad)
    elif suffix == ".csv":
        found = _of_table(task, path, _csv_rows(path, task.layout), with_labels, bad)
    elif is_plain(task, path):
        found = _of_plain(task, path, with_labels, bad)
    elif suffix in (".tsv", ".txt"):
        found = _of_table(task, path, tab_rows(path, task.layout), with_labels, bad)
    else:
        ways = ways_of_rows([path.name])
        only = f"not a file of rows: its name has to end with one of {', '.join(SUFFIXES)}"
        raise ValueError(f"{path}: {only}. {ways}" if ways else f"{path}: {only}")
    drop = set(task.layout.drop_labels) if with_labels else set()
    for record in found:
        line, *values = record[:4]
        filled = [value is None or bool(value.strip()) for value in values]
        if (record.label or NO_LABEL) in drop and all(filled[:2]):
            if dropped is not None:
                dropped[record.label or ""] += 1
            continue
        # A row without a label is there to be answered: of a pair, one text is enough.
        if all(filled) or (not with_labels and any(filled[:2] if task.pair else filled[:1])):
            yield record
        else:
            empty = filled.index(False)
            reason = WITHOUT_LABEL if empty == 2 else f"an empty text ({_called(record, empty, suffix)})"
            bad(line, reason, "\t".join(filter(None, values)))


def is_plain(task: Task, path: Path) -> bool:
    """Whether every line of a file is a row: texts, and in some files a label, whose places have no names."""
    return path.suffix.lower() == ".txt" and not task.layout.columns and path.name not in task.other_names.values()


def _called(record: Record, index: int, suffix: str) -> str:
    """What a file calls a row's first text (index 0) or second one."""
    if not record.names:
        return f"field {index + 1}"
    return f"{'key' if suffix in OF_OBJECTS else 'column'} {record.names[index]!r}"


def columns_of(path: Path, layout: Layout) -> list[str]:
    """The names of a file's columns, in lower case: as options say, of its header, of the first object's keys that have
    a value, or by the number of fields in the first line of a .txt; [] where nothing can be read.
    """
    suffix = path.suffix.lower()
    if suffix in OF_OBJECTS:
        first = next((row for _, text in lines_of(path, layout) if isinstance(row := parsed(text), dict)), {})
        return [key.strip().lower() for key, value in first.items() if value is not None]
    if layout.columns:
        return [name.strip().lower() for name in layout.columns]
    fields = next(_filled(path, layout), [])
    if suffix == ".txt":
        return {2: ["text_a", "label"], 3: ["text_a", "text_b", "label"]}.get(len(fields), [])
    return [name.strip().lower() for name in fields]


def row_for_header(path: Path, layout: Layout) -> str:
    """What to say of a table without a header, as far as its first line shows that; "" of any other file."""
    if layout.columns or path.suffix.lower() in OF_OBJECTS:
        return ""
    with suppress(ValueError):  # for what is wrong below
        return first_row(_filled(path, layout), layout)
    return ""


def _filled(path: Path, layout: Layout) -> Iterator[list[str]]:
    """The fields of a table's lines, but for empty ones."""
    rows = _csv_rows(path, layout) if path.suffix.lower() == ".csv" else tab_rows(path, layout)
    return (fields for _, fields in rows if fields)


def tab_rows(path: Path, layout: Layout) -> Iterator[tuple[int, list[str]]]:
    """Lines parted at tabs; [] for a blank one. There is no quoting: a quotation mark is a character."""
    for number, text in lines_of(path, layout):
        yield number, text.removesuffix("\r").split("\t") if text.strip() else []


csv.field_size_limit(2**31 - 1)  # a document may be longer than the library's 131,072 characters


def _csv_rows(path: Path, layout: Layout) -> Iterator[tuple[int, list[str]]]:
    """Records of RFC 4180, each with the line that it begins in; [] for an empty line."""
    last = ""

    def lines() -> Iterator[str]:
        nonlocal last
        for _, last in lines_of(path, layout):
            yield last + "\n"

    reader = csv.reader(lines(), strict=True)
    line = 1
    try:
        for fields in reader:
            yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
        # Not one bad row: where the next one begins is unknown.
        another = parted_by_another(path, layout)
        if another:
            raise ValueError(f"{path}: {another}") from error
        raise ValueError(
            f"{path}:{line}: the record that begins here is not CSV ({error}){after_quote(last)}. A field that holds a "
            "comma, a quotation mark or a line end has to be enclosed in quotation marks, and a quotation mark in it "
            'written twice ("")'
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
    shown = [name.strip() for name in first[1]]
    names = [name.lower() for name in shown]
    place = find_place(task, names, with_labels, str(path))
    headed = place is not None
    if place is None and (task.layout.columns or task.header):
        shown = _given_names(task, len(names), with_labels, path)
        names = [name.lower() for name in shown]
        place = find_place(task, names, with_labels, str(path))
        rows = chain([first], rows)
    if place is None:
        another = "" if task.layout.columns else parted_by_another(path, task.layout)
        if not another and not of_other_task(task, path, names):
            another = row_for_header(path, task.layout)
        listed = names if task.layout.columns else first[1]
        raise ValueError(f"{path}: {another or wrong_table(task, path, listed, with_labels)}")
    double = sorted({name for name in names if name and names.count(name) > 1})
    if double:
        raise ValueError(f"{path}: its header has the column {double[0]} twice: remove or rename one")
    if not task.pair and not task.layout.text_a and first_of(OWN_COLUMNS.text_b, names) is not None:
        raise ValueError(
            f"{path}: its header ({', '.join(first[1])}) has a second text, but the rows of {task.name} are single "
            f"texts: {of_other_task(task, path, names) or 'remove the column, or add one to the training file'}"
        )
    # A column without a name, such as a table's index, is called by its place.
    others = {} if with_labels else {name or f"column_{i + 1}": i for i, name in enumerate(shown) if i not in place}
    named = place.texts_of(shown)
    for line, fields in rows:
        if len(fields) != len(names):
            why = miscounted(task, path, fields, shown, with_labels, headed)
            why += other_forms(task, path, named, with_labels) if line == first[0] else ""
            bad(line, why, "\t".join(fields))
            continue
        yield Record(
            line,
            fields[place.text_a],
            None if place.text_b is None else fields[place.text_b],
            None if place.label is None else fields[place.label].strip(),
            {name: fields[index] for name, index in others.items()},
            named,
        )


def _given_names(task: Task, count: int, with_labels: bool, path: Path) -> list[str]:
    """The columns of a file without a header that has `count` of them: as options say, else the task.

    In a file without labels the label's may be left out.
    """
    names = [name.strip() for name in task.layout.columns or task.header]
    place = find_place(task, [name.lower() for name in names], True, str(path))
    if place is not None and place.label is not None and not with_labels and count == len(names) - 1:
        del names[place.label]
    return names


def _of_plain(task: Task, path: Path, with_labels: bool, bad: Bad) -> Iterator[Record]:
    texts = 2 if task.pair else 1
    allowed = {texts + 1} if with_labels else {texts, texts + 1}
    wanted = " and ".join([*Record._fields[1 : texts + 1], *(["label"] if with_labels else [])])
    for line, fields in _without_blank_end(tab_rows(path, task.layout), bad):
        if len(fields) not in allowed:
            why = f"{counted(len(fields), 'field')} separated by tabs, not {wanted}"
            labelled = with_labels and len(fields) <= texts
            bad(line, why + (unparted(task, path, fields[-1]) if labelled else ""), "\t".join(fields))
            continue
        text_b = fields[1] if task.pair else None
        yield Record(line, fields[0], text_b, fields[texts].strip() if with_labels else None, {})


def _of_objects(task: Task, path: Path, with_labels: bool, bad: Bad) -> Iterator[Record]:
    keys: list[str] = []
    place: Place | None = None
    lacking: list[str] = []  # the first keys without a label's, where such rows are dropped
    labelled = False
    lines = ((number, text.strip()) for number, text in lines_of(path, task.layout))
    for line, text in _without_blank_end(lines, bad):
        row = parsed(text)
        refuse_other_json(path, line, text, row, task.layout)
        if not isinstance(row, dict):
            quotes = ': its quotation marks are “ and ”, where JSON has "' if "“" in text or "”" in text else ""
            bad(line, f"not a JSON object{quotes}", text)
            continue
        if list(row) != keys or place is None:
            keys = list(row)
            names = [key.lower() for key in keys]
            place = find_place(task, names, with_labels, str(path))
            unlabelled = find_place(task, names, False, str(path)) if with_labels and place is None else None
            if unlabelled and NO_LABEL in task.layout.drop_labels:
                place, lacking = unlabelled, lacking or names
        if place is None:
            why = wrong_object(task, names, with_labels)
            bad(line, f"{WITHOUT_LABEL}: {why}" if unlabelled else why, text)
            continue
        second = first_of(OWN_COLUMNS.text_b, names) if not (task.pair or task.layout.text_a) else None
        if second is not None and row[keys[second]] is not None:
            bad(line, f"a second text, but the rows of {task.name} are single texts", text)
            continue
        named = place.texts_of(keys)
        texts = [text_of(row[name]) for name in named]
        if None in texts:
            bad(line, "a text that is not a string of Unicode characters", text)
            continue
        labelled = labelled or place.label is not None
        label = None if place.label is None else row[keys[place.label]]
        if isinstance(label, list | dict):
            bad(line, "a label that is neither a string nor a number", text)
            continue
        name = "" if label is None else label if isinstance(label, str) else json.dumps(label)
        others = {} if with_labels else {key: row[key] for index, key in enumerate(keys) if index not in place}
        text_b = texts[1] if task.pair else None
        yield Record(line, texts[0] or "", text_b, name.strip() if with_labels else None, others, named)
    if lacking and not labelled:
        raise ValueError(f"{path}: no row has a label: {no_label(task, lacking)}")
