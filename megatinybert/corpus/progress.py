"""How far a build has come (`progress.json`)."""

from __future__ import annotations

import time
from collections.abc import Set
from itertools import zip_longest
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from megatinybert.config.flat import OptionNames
from megatinybert.corpus.blocks import Block
from megatinybert.corpus.contents import ContentRecorder, ContentRules, Contents
from megatinybert.corpus.duplicates import HASHES
from megatinybert.corpus.encode import TRAIN, VALIDATION, EncodedBlock
from megatinybert.corpus.manifest import (
    LEFT_OUT,
    MANIFEST,
    PROGRESS,
    Manifest,
    Record,
    ShardEntry,
    SourceEntry,
    read_record,
)
from megatinybert.corpus.sources import DataError, Source
from megatinybert.corpus.writer import OpenShard, ShardWriter, publish
from megatinybert.runtime.counts import counted
from megatinybert.runtime.differences import refuse_differences
from megatinybert.runtime.files import write_atomically


class BuildPlan(Record):
    """All that decides what a build writes. sources: name and size in bytes of each file, in order."""

    created_by: str
    tokenizer_fingerprint: str
    options: dict[str, bool | str | int | float]
    sources: list[tuple[str, int]]


class Progress(Record):
    """State of a build after `blocks` blocks.

    seen: the sources reached so far, each with the checksum of the text that was read of it. finished: whole
    shards. train, validation: the growing shards. open_split: of a long document that continues in the next
    block. engines: as in Manifest.
    """

    format_version: Literal[1] = 1
    plan: BuildPlan
    blocks: int = 0
    seen: list[SourceEntry] = Field(default_factory=list)
    finished: list[ShardEntry] = Field(default_factory=list)
    train: OpenShard = OpenShard()
    validation: OpenShard = OpenShard()
    open_split: str | None = None
    empty_documents: int = 0
    replaced_characters: int = 0
    contents: Contents = Contents()
    engines: list[str] = Field(default_factory=list)


def open_output(
    folder: Path, plan: BuildPlan, resume: bool, ignored: Set[str], names: OptionNames
) -> Progress | Manifest:
    """Ready an output folder: the progress to resume from, or the manifest of a corpus that is complete already.

    ignored: names that do not count. Raises ValueError where the folder holds other files, or holds a build
    and `resume` is not set, or what it holds was begun with another plan.
    """
    for name in (PROGRESS, MANIFEST):
        for path in folder.glob(f".{name}.*.tmp"):  # a kill came between writing and naming it
            path.unlink()
    files = {path.name for path in folder.iterdir()} - ignored
    # Nothing is lost of a build that was ended before its first commit.
    fresh = not files or (PROGRESS in files and read_record(Progress, folder / PROGRESS).blocks == 0)
    if not fresh and not resume:
        going_on = f"add {names['resume']} to continue an unfinished build there, or name another folder"
        found = "holds a whole corpus: name another folder" if MANIFEST in files else f"is not empty: {going_on}"
        raise ValueError(f"{names['output']} {folder} {found}")
    if not fresh and not files & {MANIFEST, PROGRESS}:
        raise ValueError(
            f"{names['output']} {folder} holds files, but no build for {names['resume']}: name another folder"
        )
    if MANIFEST in files:
        manifest = read_record(Manifest, folder / MANIFEST)
        sources = [(entry.name, entry.bytes) for entry in manifest.sources]
        before = BuildPlan(
            created_by=plan.created_by,
            tokenizer_fingerprint=manifest.tokenizer_fingerprint,
            options=manifest.options,
            sources=sources,
        )
        _refuse_other_plan(folder, before, plan, names)
        for name in (PROGRESS, HASHES):
            (folder / name).unlink(missing_ok=True)
        return manifest
    if fresh:
        progress = Progress(plan=plan, contents=Contents(counted=True))
        write_atomically(folder / PROGRESS, progress.model_dump_json())
    else:
        progress = read_record(Progress, folder / PROGRESS)
        _refuse_other_plan(folder, progress.plan, plan, names)
        progress = progress.model_copy(update={"plan": plan})
        publish(folder, progress.finished)
    growing = {f"train-{progress.train.index:05d}", f"validation-{progress.validation.index:05d}"}
    growing |= {Path(name).stem.split(".")[0] for name in (HASHES, LEFT_OUT)}
    for path in folder.glob("*.partial"):
        if fresh or path.name.split(".")[0] not in growing:
            path.unlink()
    return progress


class Collector:
    """Takes encoded blocks in order and keeps the folder such that a build can resume from the last commit."""

    def __init__(
        self,
        folder: Path,
        sources: list[Source],
        start: Progress,
        dtype: np.dtype,
        sep: int,
        commit_seconds: float,
        engine: str,
        rules: ContentRules,
    ) -> None:
        self._names = rules.names
        self._contents = ContentRecorder(folder, start.contents, rules)
        self._engines = [*start.engines, *({engine} - set(start.engines))]
        self._folder, self._sources, self._commit_seconds = folder, sources, commit_seconds
        self._plan = start.plan
        self._finished = list(start.finished)
        self._seen = list(start.seen)
        self._open_split = start.open_split
        self._empty, self._replaced, self._blocks = (
            start.empty_documents,
            start.replaced_characters,
            start.blocks,
        )
        limit = int(start.plan.options["shard_tokens"])
        self._writers = {
            TRAIN: ShardWriter(folder, "train", dtype, sep, limit, start.train),
            VALIDATION: ShardWriter(folder, "validation", dtype, sep, limit, start.validation),
        }
        self._committed = time.monotonic()

    def __enter__(self) -> Collector:
        return self

    def __exit__(self, *_: object) -> None:
        for writer in self._writers.values():
            writer.close()
        self._contents.close()

    def take(self, block: Block, encoded: EncodedBlock) -> None:
        """Write what is in the next block."""
        if block.begins and block.ends:
            for split, documents in encoded.documents.items():
                self._writers[split].write(self._contents.keep(split, documents))
        else:
            self._take_part(block, encoded)
        self._empty += encoded.empty_documents
        self._replaced += block.replaced + encoded.replaced
        source = self._sources[block.source]
        self._contents.note(source.name, encoded)
        entry = SourceEntry(
            name=source.name,
            bytes=source.size,
            text_bytes=block.text_bytes,
            sha256=block.sha256,
            layout=block.layout,
            encoding=block.encoding,
        )
        self._seen[block.source :] = [entry]
        self._blocks = block.index + 1
        full = any(writer.finished for writer in self._writers.values())
        if full or time.monotonic() - self._committed >= self._commit_seconds:
            self._commit()

    def finish(self) -> Progress:
        """End the last shards. Raises DataError where there is nothing to train on, or too much cannot be read."""
        self._contents.finish()
        if not any(entry.split == TRAIN for entry in self._finished) and not self._writers[TRAIN].state().tokens:
            everything = self._writers[VALIDATION].state().documents
            raise DataError(
                f"all text, {counted(everything, 'document')}, fell to the validation split: lower "
                f"{self._names['validation_fraction']}"
                if everything
                else f"no text in the input ({counted(len(self._sources), 'file')}, "
                f"{counted(self._empty, 'empty document')})"
            )
        for writer in self._writers.values():
            writer.finish()
        progress = self._commit()
        self._contents.publish()
        return progress

    def _take_part(self, block: Block, encoded: EncodedBlock) -> None:
        if block.begins:
            self._open_split = encoded.opens
        assert self._open_split is not None
        writer = self._writers[self._open_split]
        for documents in encoded.documents.values():  # one at most
            self._contents.add_part(documents)
            writer.write_part(documents)
        if block.ends:
            if self._contents.keep_long(self._open_split):
                self._empty += not writer.close_document()
            else:
                writer.drop_document()
            self._open_split = None

    def _commit(self) -> Progress:
        """Record what is written, then give whole shards their names: in this order a kill between the two is
        harmless.
        """
        new = [entry for writer in self._writers.values() for entry in writer.finished]
        self._finished += new
        for writer in self._writers.values():
            writer.flush()
            writer.finished.clear()
        progress = Progress(
            plan=self._plan,
            blocks=self._blocks,
            seen=self._seen,
            finished=self._finished,
            train=self._writers[TRAIN].state(),
            validation=self._writers[VALIDATION].state(),
            open_split=self._open_split,
            empty_documents=self._empty,
            replaced_characters=self._replaced,
            contents=self._contents.flush(),
            engines=self._engines,
        )
        write_atomically(self._folder / PROGRESS, progress.model_dump_json())
        publish(self._folder, new)
        self._committed = time.monotonic()
        return progress


def _refuse_other_plan(folder: Path, then: BuildPlan, now: BuildPlan, names: OptionNames) -> None:
    """Raise ValueError listing each difference between two plans.

    Two are none: invalid bytes that were an error have not been met so far, so replacing them from here on is
    the same as from the start; and how many records may be left out changes nothing in what is written.
    """
    there, here = _facts(then, names), _facts(now, names)
    for facts in (there, here):
        facts.pop(names["skip_bad_records"], None)
    lenient = names["invalid_utf8"]
    if (there[lenient], here[lenient]) == ("error", "replace"):
        there[lenient] = "replace"
    if dict(then.sources) == dict(now.sources):
        for number, (before, after) in enumerate(zip_longest(then.sources, now.sources), start=1):
            if before != after:  # the same files in another order
                place = f"file {number:,} of {names['input']}"
                there[place], here[place] = (source[0] if source else "none" for source in (before, after))
                break
    refuse_differences(
        f"{names['output']} {folder} was begun otherwise",
        there,
        here,
        f"use the same options and files, or another {names['output']}",
    )


def _facts(plan: BuildPlan, names: OptionNames) -> dict[str, object]:
    options = {"encoding": "utf-8", "drop_duplicates": False} | plan.options  # which went without saying at first
    return {
        "created by": plan.created_by,
        f"fingerprint of {names['tokenizer']}": plan.tokenizer_fingerprint[:12],
        **{names[name]: value for name, value in options.items()},
        **{f"input {name}": f"{size:,} bytes" for name, size in plan.sources},
    }
