"""The rows of a task's files as they are now, looked at before the run opens them. No torch is imported here."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from megatinybert.config.help import show
from megatinybert.config.recipe import recorded_section
from megatinybert.config.task import StageConfig, TaskConfig
from megatinybert.corpus.tokenizer import load_tokenizer, special_ids
from megatinybert.runtime.counts import counted
from megatinybert.tasks.reading.files import TaskFiles, find_files
from megatinybert.tasks.reading.layout import layout_of
from megatinybert.tasks.reading.read import Row, open_task, read_rows
from megatinybert.tasks.reading.skipped import Skipped
from megatinybert.tasks.reading.wrong_files import READ_WHOLE, size_of
from megatinybert.tasks.rows import EncodedRows, encode_rows
from megatinybert.tasks.stage_options import SECTIONS, default_length, length_of_rows, steps_of

_OF_A_TOKENIZER = ("tokenizer.json", "vocab.txt")  # what is read without Transformers
_ON_THE_FILE = ("teacher", "mlm")  # the stages that train on no copies


class RowsNow:
    """Files and tokenizer are opened, and each file is read, once: when they are first asked for."""

    def __init__(self, config: TaskConfig) -> None:
        self.config = config
        self._read: dict[Path, list[Row]] = {}

    @cached_property
    def opened(self) -> tuple[TaskFiles, Tokenizer] | None:
        """The task's files and its tokenizer. None where it takes long to look (files of more than 8 MiB, or a
        tokenizer that is in no folder), or where they cannot be read, which is told by who opens them.
        """
        tokenizer, wanted = Path(self.config.teacher.tokenizer or self.config.teacher.model), self.config.task
        if not any((tokenizer / name).is_file() for name in _OF_A_TOKENIZER):
            return None
        with suppress(ValueError, OSError):
            found = find_files(wanted.name, wanted.data_dir, layout_of(wanted))
            if size_of([found.train, *found.dev.values()]) <= READ_WHOLE:
                files = open_task(wanted.name, wanted.data_dir, wanted.labels, wanted.kind, layout_of(wanted))
                return files, load_tokenizer(tokenizer)
        return None

    def encoded(self, path: Path, most: int | None = None) -> EncodedRows:
        """The rows of one of the files, which are `opened`; with `most` no more of them than that, from all over it.
        Raises ValueError or OSError where it cannot be read.
        """
        assert self.opened
        files, tokenizer = self.opened
        if path not in self._read:
            self._read[path] = list(read_rows(files.task, path, Skipped() if self.config.task.skip_bad_rows else None))
        rows = self._read[path]
        some = rows[:: -(-len(rows) // most)] if most else rows
        length = length_of_rows(self.config, files.task.pair)
        return encode_rows(iter(some), tokenizer, special_ids(tokenizer), length, files.task.labels is None)

    def others(self, stage: str, recorded: Mapping[str, Any]) -> dict[str, Any]:
        """Of the facts that a stage has recorded, those that the rows decide and that are others now: what to say of
        these. Beside them the steps that it would have. Nothing where the files are not `opened`, or cannot be read.
        """
        told: dict[str, Any] = {}
        if self._encoded is None:
            return told
        train, dev = self._encoded
        copies = stage not in _ON_THE_FILE and self.config.augment.copies != 0
        if "rows" in recorded and not copies:
            told["rows"] = self._in_words(*train, recorded["rows"])
        elif "rows" in recorded and self._in_words(*train, recorded["rows"]) == recorded["rows"]:
            told["rows"] = f"those of {train[0]} with copies (--augment.copies)"
        if "steps" in recorded and not copies:  # else nobody knows yet how many rows there will be
            options: StageConfig = getattr(self.config, SECTIONS[stage])
            told["steps"] = steps_of(options, len(train[1]), int(train[1].lengths.sum()))
        if "development rows" in recorded:
            before = recorded["development rows"]
            before = [*before, *[""] * (len(dev) - len(before))]
            told["development rows"] = [self._in_words(*each, was) for each, was in zip(dev, before, strict=False)]
        return told

    @cached_property
    def _encoded(self) -> tuple[tuple[Path, EncodedRows], list[tuple[Path, EncodedRows]]] | None:
        """The training rows and the development rows of each split, with their files."""
        with suppress(ValueError, OSError):
            if self.opened:
                files, _ = self.opened
                train, *dev = ((path, self.encoded(path)) for path in (files.train, *files.dev.values()))
                return train, dev
        return None

    def _in_words(self, path: Path, rows: EncodedRows, recorded: str) -> str:
        """The identity that is recorded where rows have it, with one segment or two; else theirs, with the file and how
        it is read otherwise than by the last command.
        """
        same = recorded in {replace(rows, segments=segments).identity for segments in (True, False)}
        return recorded if same else f"{rows.identity} ({counted(len(rows), 'row')} of {path}{self._changed})"

    @cached_property
    def _changed(self) -> str:
        """The options of reading that differ from those in the output folder's recipe."""
        assert self.opened
        config, pair = self.config, self.opened[0].task.pair
        before, now = recorded_section(Path(config.run.output_dir), "task"), config.task.model_dump(mode="json")
        others = {name: (before[name], value) for name, value in now.items() if before.get(name, value) != value}
        if "max_length" in others:
            was, value = others["max_length"]
            others["max_length"] = (was or default_length(pair), value or default_length(pair))
        return "".join(f"; --task.{name} {show(value)}, before {show(was)}" for name, (was, value) in others.items())
