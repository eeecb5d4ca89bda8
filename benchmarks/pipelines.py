"""The ways from text to token ids that benchmarks/shards.py compares.

floor: the tokenizer alone. Worker processes hold the documents, call `encode_batch_fast` and take the ids out; nothing
is read, sent or written. nanotoken: the same with the fast library. product: `build_corpus`, as the command calls it,
with the fast engine where it is installed; product-tokenizers: without. cp: the text file copied and flushed to disk,
which nothing that reads it and writes can beat. megatron: Megatron-LM's way, by the builder
of its own package: the workers of a pool encode document by document, and their parent, which holds the documents,
appends each to one indexed dataset. Where no other is named, the tokenizers library's Rust code does the tokenizing.

The clock of each begins when all of its worker processes stand ready with their tokenizer. It counts wall seconds, and
CPU seconds, user and system, of all processes of a way, which other jobs on the same cores change little.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from multiprocessing.pool import Pool
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import numpy as np
import psutil  # type: ignore[import-untyped]
from tokenizers import Tokenizer

from megatinybert.config.flat import OptionNames
from megatinybert.config.shards import BuildOptions
from megatinybert.corpus import build, fast_engine
from megatinybert.corpus.blocks import Block, ReadSettings, read_blocks
from megatinybert.corpus.documents import split_documents
from megatinybert.corpus.encode import EncodedBlock, Encoder, EncodeSettings, encode_blocks
from megatinybert.corpus.reference_engine import Engine
from megatinybert.corpus.sources import find_sources
from megatinybert.corpus.tokenizer import load_tokenizer, special_ids, tokenizer_from_json
from megatinybert.runtime.workers import in_order

_READY_SECONDS = 300  # for processes to start in; one that fails to would otherwise be waited for without end
_BATCH_CHARACTERS = 1 << 15  # of a call of the tokenizer: the fastest of the floor's
_FAST_CHARACTERS = 1 << 21  # the same for nanotoken: what a block of the product has
_CHUNK = 32  # documents sent to a worker of Megatron-LM's at a time


@dataclass(frozen=True)
class Text:
    """A .txt file, and the tokenizer that it is encoded with, by folder or name."""

    file: Path
    tokenizer: str

    def documents(self) -> list[str]:
        """The documents as the product parts them, a line for each sequence."""
        sources, _ = find_sources([str(self.file)], self.file, "--input")
        names = OptionNames()
        reading = ReadSettings("auto", "text", "utf-8", replace_invalid=False, block_bytes=1 << 20, names=names)
        blocks = read_blocks(sources, reading)
        splits = (split_documents(block, "text", False, names) for block in blocks)
        return ["\n".join(lines) for split in splits for lines in split.documents()]


@dataclass(frozen=True)
class Done:
    """tokens: ids of the text, without the [SEP] that ends a document. seconds, cpu_seconds: by the clock above."""

    tokens: int
    seconds: float
    cpu_seconds: float


class Clock:
    """Runs from when it is made."""

    def __init__(self) -> None:
        self._cpu, self._began = _cpu_seconds(), time.perf_counter()

    def done(self, tokens: int) -> Done:
        """Call it while worker processes still live, or have been waited for."""
        return Done(tokens, time.perf_counter() - self._began, _cpu_seconds() - self._cpu)


def _cpu_seconds() -> float:
    """Of this process and of all that it started, so far."""
    me = psutil.Process()
    times = [process.cpu_times() for process in (me, *me.children(recursive=True))]
    return float(sum(each.user + each.system + each.children_user + each.children_system for each in times))


Way = Callable[[Text, int, Path], Done]


def ways() -> dict[str, Way]:
    """Name -> function of (text, worker processes, a folder to write to). Of megatron and nanotoken only what is
    installed.
    """
    found: dict[str, Way] = {"cp": copy, "floor": floor, "product": product}
    if find_spec(fast_engine.PACKAGE):
        found |= {"nanotoken": fast_floor, "product-tokenizers": partial(product, engine="tokenizers")}
    if find_spec("megatron") and find_spec("megatron.core"):
        found["megatron"] = megatron
    return found


@contextmanager
def on_cores(count: int) -> Iterator[None]:
    """Keep this process, and those that it starts, to so many cores, where the system can (Linux).

    The last ones: what other programs and the system keep to one core is mostly on the first.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(usable)[-count:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, usable)


# Of a worker process, set once when it starts: its tokenizer, and what the floor encodes.
_tokenizer: Tokenizer
_fast: Any
_batches: list[list[str]]


def floor(text: Text, workers: int, folder: Path) -> Done:
    tokenizer = load_tokenizer(text.tokenizer).to_str()
    batches = range(len(_in_batches(text.documents())))
    with _ready(workers, partial(_prepare_floor, tokenizer, text)) as pool:
        clock = Clock()
        return clock.done(sum(pool.imap_unordered(_encode_batch, batches)))


def fast_floor(text: Text, workers: int, folder: Path) -> Done:
    tokenizer = load_tokenizer(text.tokenizer).to_str()
    batches = range(len(_in_batches(text.documents(), _FAST_CHARACTERS)))
    with _ready(workers, partial(_prepare_fast, tokenizer, text)) as pool:
        clock = Clock()
        return clock.done(sum(pool.imap_unordered(_encode_fast_batch, batches)))


def copy(text: Text, workers: int, folder: Path) -> Done:
    """Gives no tokens. In one process, whatever `workers` says."""
    clock = Clock()
    shutil.copyfile(text.file, folder / "copy")
    with (folder / "copy").open("rb") as file:
        os.fsync(file.fileno())
    return clock.done(0)


def product(text: Text, workers: int, folder: Path, engine: Literal["auto", "tokenizers", "fast"] = "auto") -> Done:
    stand_in = _ReadyFirst()
    options = BuildOptions(
        input=[str(text.file)],
        tokenizer=text.tokenizer,
        output=folder / "product",
        workers=workers,
        tokenizer_engine=engine,
    )
    with mock.patch.object(build, "encode_blocks", stand_in.encode_blocks):
        report = build.build_corpus(options)
    totals = report.manifest.totals.values()
    return stand_in.clock.done(sum(split["tokens"] - split["documents"] for split in totals))


def megatron(text: Text, workers: int, folder: Path) -> Done:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages that are not needed here
        from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder, get_bin_path, get_idx_path
    tokenizer, documents = load_tokenizer(text.tokenizer), text.documents()
    ends_with = special_ids(tokenizer).sep
    builder = IndexedDatasetBuilder(get_bin_path(str(folder / "megatron")), dtype=np.uint16)
    tokens = 0
    with _ready(workers, partial(_prepare_tokenizer, tokenizer.to_str())) as pool:
        clock = Clock()
        for ids in pool.imap(_encode_document, documents, _CHUNK):
            tokens += len(ids)
            ids.append(ends_with)
            builder.add_document(ids, [len(ids)])
        builder.finalize(get_idx_path(str(folder / "megatron")))
        return clock.done(tokens)


def _in_batches(documents: list[str], characters: int = _BATCH_CHARACTERS) -> list[list[str]]:
    batches: list[list[str]] = [[]]
    size = 0
    for document in documents:
        if size >= characters:
            batches.append([])
            size = 0
        batches[-1].append(document)
        size += len(document)
    return batches


def _prepare_tokenizer(tokenizer_json: str) -> None:
    global _tokenizer
    _tokenizer = tokenizer_from_json(tokenizer_json)


def _prepare_floor(tokenizer_json: str, text: Text) -> None:
    global _batches
    _prepare_tokenizer(tokenizer_json)
    _batches = _in_batches(text.documents())


def _prepare_fast(tokenizer_json: str, text: Text) -> None:
    global _fast, _batches
    _fast = fast_engine.open_library(json.loads(tokenizer_json))
    _batches = _in_batches(text.documents(), _FAST_CHARACTERS)


def _encode_fast_batch(number: int) -> int:
    ids, _ = _fast.encode_batch(_batches[number], add_special_tokens=False, parallel=False)
    return len(ids)


def _encode_batch(number: int) -> int:
    encodings = _tokenizer.encode_batch_fast(_batches[number], add_special_tokens=False)
    return sum(len(encoding.ids) for encoding in encodings)


def _encode_document(document: str) -> list[int]:
    ids: list[int] = _tokenizer.encode(document, add_special_tokens=False).ids
    return ids


@contextmanager
def _ready(workers: int, prepare: Callable[[], None]) -> Iterator[Pool]:
    """A pool whose processes have all been prepared."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(workers + 1)
    with context.Pool(workers, _prepare_and_wait, (prepare, barrier)) as pool:
        barrier.wait(_READY_SECONDS)
        yield pool


def _prepare_and_wait(prepare: Callable[[], None], barrier: Barrier) -> None:
    prepare()
    barrier.wait(_READY_SECONDS)


class _ReadyFirst:
    """Stands in for the product's `encode_blocks`: the same, but blocks are read only when all workers are ready."""

    clock: Clock

    def encode_blocks(
        self, blocks: Iterable[Block], settings: EncodeSettings, workers: int, shared: None, opened: Engine | None
    ) -> Iterator[tuple[Block, EncodedBlock]]:
        if workers == 1 or settings.engine == "fast":  # this process itself, or its threads: nothing to wait for
            self.clock = Clock()
            yield from encode_blocks(blocks, settings, workers, shared, opened)
            return
        barrier = multiprocessing.get_context("spawn").Barrier(workers + 1)

        def tasks() -> Iterator[Block | None]:
            yield from [None] * workers  # a worker is started for each
            barrier.wait(_READY_SECONDS)
            self.clock = Clock()
            yield from blocks

        for block, encoded in in_order(partial(_ready_encoder, settings, barrier), tasks(), workers, "--workers"):
            if block is not None and encoded is not None:
                yield block, encoded


def _ready_encoder(settings: EncodeSettings, barrier: Barrier) -> Callable[[Block | None], EncodedBlock | None]:
    encoder = Encoder(settings)
    barrier.wait(_READY_SECONDS)
    return lambda block: None if block is None else encoder.encode(block)
