"""The rows of a task's files as they are now, to be compared with those that its stages were trained on. No torch is
imported here.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from megatinybert.config.help import show
from megatinybert.config.recipe import recorded_section
from megatinybert.config.task import TaskConfig
from megatinybert.corpus.tokenizer import load_tokenizer, special_ids
from megatinybert.runtime.counts import counted
from megatinybert.tasks.reading.files import TaskFiles, find_files
from megatinybert.tasks.reading.layout import layout_of
from megatinybert.tasks.reading.read import open_task, read_rows
from megatinybert.tasks.reading.skipped import Skipped
from megatinybert.tasks.reading.wrong_files import READ_WHOLE, size_of
from megatinybert.tasks.rows import EncodedRows, encode_rows
from megatinybert.tasks.stage_options import length_of_rows

_OF_A_TOKENIZER = ("tokenizer.json", "vocab.txt")  # what is read without Transformers


@dataclass(frozen=True)
class RowsNow:
    """train, dev: the rows of these files. augmented: whether the student trains on others, made of them. changed: how
    they are read otherwise than by the last command.
    """

    train: tuple[Path, EncodedRows]
    dev: list[tuple[Path, EncodedRows]]
    augmented: bool
    changed: str

    def others(self, stage: str, recorded: Mapping[str, Any]) -> dict[str, Any]:
        """Of the facts that a stage has recorded, those of rows that are others now: what to say of these."""
        told: dict[str, Any] = {}
        if "rows" in recorded and (stage == "teacher" or not self.augmented):
            told["rows"] = self._in_words(*self.train, recorded["rows"])
        elif "rows" in recorded and self._in_words(*self.train, recorded["rows"]) == recorded["rows"]:
            told["rows"] = f"those of {self.train[0]} with copies (--augment.copies)"
        if "development rows" in recorded:
            before = recorded["development rows"]
            before = [*before, *[""] * (len(self.dev) - len(before))]
            told["development rows"] = [self._in_words(*each, was) for each, was in zip(self.dev, before, strict=False)]
        return told

    def _in_words(self, path: Path, rows: EncodedRows, recorded: str) -> str:
        """The identity that is recorded where rows have it, with one segment or two; else theirs, with the file."""
        same = recorded in {replace(rows, segments=segments).identity for segments in (True, False)}
        return recorded if same else f"{rows.identity} ({counted(len(rows), 'row')} of {path}{self.changed})"


def rows_now(config: TaskConfig) -> RowsNow | None:
    """None where it takes long to look (files of more than 8 MiB, or a tokenizer that is in no folder), or where the
    files cannot be read, which is told by who opens them.
    """
    with suppress(ValueError, OSError):
        if found := open_early(config):
            files, reader = found
            paths = [files.train, *files.dev.values()]
            train, *dev = ((path, encoded_now(config, files, reader, path)) for path in paths)
            return RowsNow(train, dev, config.augment.copies != 0, _changed(config))
    return None


def open_early(config: TaskConfig) -> tuple[TaskFiles, Tokenizer] | None:
    """The task's files and its tokenizer; None where that takes long. Raises ValueError or OSError where they cannot be
    read.
    """
    tokenizer, wanted = Path(config.teacher.tokenizer or config.teacher.model), config.task
    if not any((tokenizer / name).is_file() for name in _OF_A_TOKENIZER):
        return None
    found = find_files(wanted.name, wanted.data_dir, layout_of(wanted))
    if size_of([found.train, *found.dev.values()]) > READ_WHOLE:
        return None
    files = open_task(wanted.name, wanted.data_dir, wanted.labels, wanted.kind, layout_of(wanted))
    return files, load_tokenizer(tokenizer)


def encoded_now(
    config: TaskConfig, files: TaskFiles, tokenizer: Tokenizer, path: Path, most: int | None = None
) -> EncodedRows:
    """The rows of a file; with `most` no more of them than that, from all over it."""
    rows = read_rows(files.task, path, Skipped() if config.task.skip_bad_rows else None)
    if most:
        read = list(rows)
        rows = iter(read[:: -(-len(read) // most)])
    length = length_of_rows(config, files.task.pair)
    return encode_rows(rows, tokenizer, special_ids(tokenizer), length, files.task.labels is None)


def _changed(config: TaskConfig) -> str:
    """The options of reading that differ from those in the output folder's recipe."""
    before, now = recorded_section(Path(config.run.output_dir), "task"), config.task.model_dump(mode="json")
    others = [name for name, value in now.items() if name in before and before[name] != value]
    return "".join(f"; --task.{name} {show(now[name])}, before {show(before[name])}" for name in others)
