"""What a person should know of a task's rows: classes, headers taken for rows, development rows seen in training."""

from __future__ import annotations

import shlex
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from megatinybert.runtime.counts import counted
from megatinybert.runtime.findings import once_of_files
from megatinybert.tasks.reading.files import TaskFiles
from megatinybert.tasks.reading.formats import is_plain, read_records, tab_rows
from megatinybert.tasks.reading.headers import looks_like_header, named_by_option, options_of_header
from megatinybert.tasks.reading.parting import QUOTED, is_quoted
from megatinybert.tasks.reading.read import Row, read_rows
from megatinybert.tasks.reading.skipped import Skipped
from megatinybert.tasks.table import Task

RARE = 5  # rows, below which a class is rare
_TELLING_SHARE = 0.05  # of development rows that are also in the training file: above it, a score says too much
_SHOWN_CLASSES = 12
_SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class RowChecks:
    """facts: lines for the person who starts a run. warnings: what has to be told, among it `on_scores`: what has to be
    said beside any score on the development rows. rows: that are trained on.
    """

    facts: Sequence[str]
    warnings: Sequence[str]
    on_scores: Sequence[str]
    rows: int


def check_rows(files: TaskFiles, skip_bad: bool) -> RowChecks:
    """Read the training and development rows once. skip_bad: pass over rows that cannot be parsed.

    Raises ValueError as `read_rows` does.
    """
    task = files.task
    train = _Tally(task, files.train, skip_bad)
    seen = {_key(row) for row in train}
    tallies = [train]
    facts: list[str] = []
    on_scores: list[str] = []
    dev_counts: dict[str, Mapping[str, int]] = {}
    for split, path in files.dev.items():
        dev = _Tally(task, path, skip_bad)
        same = sum(_key(row) in seen for row in dev)
        dev_counts[split] = dev.counts
        tallies.append(dev)
        text = (
            f"{same:,} of the {dev.rows:,} rows of {path.name} ({same / dev.rows:.1%}) are also in {files.train.name}"
        )
        if same > _TELLING_SHARE * dev.rows:
            on_scores.append(f"{text}, so scores on {split} partly measure what was memorized.")
        elif same:
            facts.append(f"{split}: {text}")
    shared = all(dev.first == train.first for dev in tallies)
    of_each = [text for tally in tallies for text in (*tally.header_warning(shared), *tally.quotes_warning())]
    warnings = once_of_files(of_each, [files.train, *files.dev.values()])
    if task.labels is not None:
        facts.insert(0, _classes(files.train, train.counts, dev_counts))
        # An official task's files write other labels than its classes are called.
        names = task.layout.names["drop_labels"], *task.layout.drop_labels  # as given, with what is left out already
        drop = shlex.join(names) if task.name == "custom" else None
        warnings += _on_classes(files.train, train.counts, drop)
    return RowChecks(facts, [*warnings, *on_scores], on_scores, train.rows)


def check_unlabelled(task: Task, path: Path) -> list[str]:
    """What a person should know of a file that is answered: warnings. Raises ValueError as `read_rows` does."""
    if not is_plain(task, path):
        return _answered_header(task, path)
    texts = 2 if task.pair else 1
    first: list[str] = []
    found, lines, more = [], 0, 0
    for _, fields in tab_rows(path, task.layout):
        first = first or fields
        lines += bool(fields)
        more += len(fields) > texts
    if more:
        where = "second text" if task.pair else "text"
        found.append(
            f"{path}: {more:,} of {counted(lines, 'line')} {'has' if more == 1 else 'have'} a field after the {where}, "
            "which is taken for a label and not read. If it is text, replace the tab with a space"
        )
    if first and looks_like_header(task, first[0], first[texts] if len(first) > texts else ""):
        shown = "\t".join(first)
        found.append(
            f"{path}: its first line, {shown!r}, looks like a header, but every line of a .txt is a row, so it is "
            "answered like one: remove that line, or name the file .tsv"
        )
    return found


def _answered_header(task: Task, path: Path) -> list[str]:
    """Of a file whose columns an option names: whether its first row looks like a header that names them otherwise."""
    option = task.layout.names["columns"]
    first = next(read_records(task, path, False, lambda *_: None), None)
    # A file with a header that is read as one has its first row below it.
    if first is None or first.line > 1 or not named_by_option(task, path):
        return []
    others = {name.casefold(): str(value).strip().casefold() for name, value in first.others.items()}
    named = any(name == value or looks_like_header(task, first.text_a, value) for name, value in others.items())
    if not named and not looks_like_header(task, first.text_a, ""):
        return []
    return [
        f"{path}: its first line, with {first.text_a!r} for a text, looks like a header, but {option} is for "
        "files without one, so it is answered like a row: remove that line"
    ]


class _Tally:
    """The rows of a file, whose labels are counted as it is read."""

    def __init__(self, task: Task, path: Path, skip_bad: bool) -> None:
        self._task, self._path, self._skip_bad = task, path, skip_bad
        self._looks_for_quotes = task.name == "custom" and path.suffix.lower() in (".tsv", ".txt")
        self.first: Row | None = None
        self.counts: Counter[str] = Counter(dict.fromkeys(task.labels or (), 0))
        self.rows = 0
        self._quoted = 0  # rows of a text that seems to be written as in a .csv
        self._first_quoted = ""

    def __iter__(self) -> Iterator[Row]:
        for row in read_rows(self._task, self._path, Skipped() if self._skip_bad else None):
            self.first = self.first or row
            self.rows += 1
            self.counts[self._name(row)] += 1
            if self._looks_for_quotes and '""' in row.text_a and is_quoted(row.text_a):
                self._quoted += 1
                self._first_quoted = self._first_quoted or row.text_a
            yield row

    def quotes_warning(self) -> list[str]:
        """After it was read."""
        if not self._quoted:
            return []
        shown = self._first_quoted[:_SHOWN_CHARACTERS]
        count = counted(self._quoted, "text")
        return [f"{self._path}: {count} with quotation marks as in a .csv, such as {shown!r}. {QUOTED}"]

    def header_warning(self, shared: bool) -> list[str]:
        """Of a file without a header: whether its first row looks like one. After it was read.

        shared: all files of the task have the same first row.
        """
        row, layout = self.first, self._task.layout
        plain = is_plain(self._task, self._path)
        if row is None or self._task.labels is None or not (plain or named_by_option(self._task, self._path)):
            return []
        label = self._name(row)
        header = looks_like_header(self._task, row.text_a, label) or (shared and self.rows >= RARE)
        if not header or self.counts[label] > 1:
            return []
        if plain:
            shown = "\t".join(part for part in (row.text_a, row.text_b, label) if part is not None)
            what, why, remedy = (
                repr(shown),
                "every line of a .txt is a row",
                f", or rename the file to {self._path.with_suffix('.tsv').name}",
            )
        else:
            what = f"with {row.text_a!r} for a text"
            why, remedy = (
                f"{layout.names['columns']} is for files without one",
                self._read_by_header(row, label, shared),
            )
        return [
            f"{self._path}: its first line, {what}, looks like a header, but {why}, so {label!r} became a class: "
            f"remove that line{remedy}"
        ]

    def _read_by_header(self, row: Row, label: str, shared: bool) -> str:
        """The options by which a table of these names is read with its header, where every file has it."""
        if not shared or self._path.suffix.lower() == ".txt":
            return ""
        options = options_of_header(self._task, row.text_a, row.text_b, label)
        return f" in every file, or keep it and use {options}"

    def _name(self, row: Row) -> str:
        assert row.label is not None
        return "" if self._task.labels is None else self._task.labels[int(row.label)]


def alike(names: Sequence[str]) -> list[list[str]]:
    """Groups of names that differ only in case, width, white space, or in how a number is written."""
    groups: dict[str | float, list[str]] = {}
    for name in names:
        plain = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
        try:
            groups.setdefault(float(plain), []).append(name)
        except ValueError:
            groups.setdefault(plain, []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _on_classes(path: Path, counts: Mapping[str, int], drop: str | None) -> list[str]:
    """drop: the option that leaves classes out, as the command line has it, where it can."""
    groups = alike(list(counts))
    found = [
        f"{path}: the classes {' and '.join(map(repr, group))} differ only in how they are written: give them one name "
        "in the file if they mean the same"
        for group in groups
    ]
    rare = {name: rows for name, rows in counts.items() if rows < RARE}
    if rare:
        text = f"{path}: rare classes, with fewer than {RARE} rows: {_shown(rare)}"
        there = [name for name, rows in rare.items() if rows and not any(name in group for group in groups)]
        helps = drop and 0 < len(there) <= min(_SHOWN_CLASSES, len(counts) - 2)  # two classes are needed
        found.append(f"{text}. {drop} {shlex.join(there)} leaves their rows out" if helps else text)
    return found


def _classes(path: Path, train: Mapping[str, int], dev: Mapping[str, Mapping[str, int]]) -> str:
    splits = "; ".join(f"{split}: {_shown(counts)}" for split, counts in dev.items())
    return f"rows of each class in {path.name}: {_shown(train)}; {splits}"


def _shown(counts: Mapping[str, int]) -> str:
    first = sorted(counts.items(), key=lambda item: -item[1])
    more = f" and {len(first) - _SHOWN_CLASSES} more classes" if len(first) > _SHOWN_CLASSES else ""
    return ", ".join(f"{name} {rows:,}" for name, rows in first[:_SHOWN_CLASSES]) + more


def _key(row: Row) -> int:
    """Of a row's texts: 64 bits, as large files need little memory so."""
    return hash((row.text_a, row.text_b))
