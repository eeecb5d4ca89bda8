"""The pipeline from text files to a corpus of token shards: read, encode in workers, write in order, commit.

The output depends on the text, the tokenizer and the options alone: not on the number of workers, nor on how
often a build was interrupted. `progress.json` records what is safely written; `manifest.json` is written last
and takes its place, so a folder with a manifest is whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from tokenizers import Tokenizer
from tqdm import tqdm

from megatinybert import __version__
from megatinybert.corpus.blocks import Block, ReadSettings, read_blocks
from megatinybert.corpus.charset import codec_name
from megatinybert.corpus.encode import EncodeSettings, encode_blocks
from megatinybert.corpus.manifest import MANIFEST, PROGRESS, Manifest, totals
from megatinybert.corpus.progress import Collector, Plan, Progress, open_output
from megatinybert.corpus.sources import Source, check_unchanged, find_sources
from megatinybert.corpus.tokenizer import SpecialIds, load_tokenizer, special_ids, tokenizer_fingerprint
from megatinybert.runtime.files import write_atomically

_LOCK = "build.lock"
_LARGEST_UINT16_VOCABULARY = 65_500  # Megatron-LM's rule

DocumentRule = Literal["auto", "blank-line", "line"]
InvalidRule = Literal["error", "replace"]


@dataclass(frozen=True)
class BuildOptions:
    """What to build. The last two fields have no command-line option.

    shard_tokens: a shard ends with the document that reaches so many tokens. validation_fraction: share of
    documents. workers: 0 means one per usable core. encoding: any text codec of Python's. block_bytes: of text
    handed to a worker at a time; the first sixteenth of so much of a document chooses its split.
    commit_seconds: how much work an interruption may cost.
    """

    inputs: list[str]
    tokenizer: str
    output: Path
    workers: int = 0
    shard_tokens: int = 100_000_000
    validation_fraction: float = 0.01
    text_key: str = "text"
    document: DocumentRule = "auto"
    encoding: str = "utf-8"
    invalid_utf8: InvalidRule = "error"
    resume: bool = False
    block_bytes: int = 1 << 20
    commit_seconds: float = 10.0

    def problems(self) -> list[str]:
        """What is wrong with the values, each naming its option."""
        problems = []
        if not self.inputs:
            problems.append("--input names no file or folder")
        if self.workers < 0:
            problems.append(f"--workers {self.workers}: must be at least 1, or 0 for one per usable core")
        if self.shard_tokens < 1:
            problems.append(f"--shard-tokens {self.shard_tokens}: must be at least 1")
        if not (math.isfinite(self.validation_fraction) and 0 <= self.validation_fraction < 1):
            problems.append(f"--validation-fraction {self.validation_fraction}: must be from 0 up to, not including, 1")
        for option, value, known in (
            ("--document", self.document, get_args(DocumentRule)),
            ("--invalid-utf8", self.invalid_utf8, get_args(InvalidRule)),
        ):
            if value not in known:
                problems.append(f"{option} {value}: must be one of {', '.join(known)}")
        try:
            codec_name(self.encoding)
        except ValueError as error:
            problems.append(str(error))
        return problems

    def shaping(self) -> dict[str, str | int | float]:
        """The options that decide what is written. Raises ValueError where there is no such encoding."""
        return {
            "block_bytes": self.block_bytes,
            "document": self.document,
            "encoding": codec_name(self.encoding),
            "invalid_utf8": self.invalid_utf8,
            "shard_tokens": self.shard_tokens,
            "text_key": self.text_key,
            "validation_fraction": float(self.validation_fraction),
        }


@dataclass(frozen=True)
class BuildReport:
    """What a build did. text_bytes, tokens and seconds are of this run alone; left_out names files not
    read.
    """

    manifest: Manifest
    left_out: list[str]
    was_whole: bool
    workers: int
    text_bytes: int
    tokens: int
    seconds: float


def build_corpus(options: BuildOptions, show_progress: bool = False) -> BuildReport:
    """Build a corpus, or go on with one.

    With more than one worker a script calls it under its `__main__` guard, since workers import the script.
    Raises ValueError for what the user can put right in the command, DataError (a ValueError) for what is
    wrong in the input, OSError where the output cannot be written, RuntimeError where a worker was killed.
    After any of them, and after a kill, the same build goes on with `resume`.
    """
    sources, left_out, tokenizer = _check(options)
    special = special_ids(tokenizer)
    plan = Plan(
        created_by=f"megatinybert {__version__}",
        tokenizer_fingerprint=tokenizer_fingerprint(tokenizer),
        options=options.shaping(),
        sources=[(source.name, source.size) for source in sources],
    )
    workers = options.workers or _usable_cores()
    options.output.mkdir(parents=True, exist_ok=True)
    with _lock(options.output):
        start = open_output(options.output, plan, options.resume, {_LOCK})
        if isinstance(start, Manifest):
            return BuildReport(start, left_out, True, workers, 0, 0, 0.0)
        return _build(options, sources, left_out, tokenizer, special, start, workers, show_progress)


def _build(
    options: BuildOptions,
    sources: list[Source],
    left_out: list[str],
    tokenizer: Tokenizer,
    special: SpecialIds,
    start: Progress,
    workers: int,
    show_progress: bool,
) -> BuildReport:
    dtype = np.dtype("<u2" if special.vocab_size < _LARGEST_UINT16_VOCABULARY else "<i4")
    reading = ReadSettings(
        document=options.document,
        text_key=options.text_key,
        encoding=codec_name(options.encoding),
        replace_invalid=options.invalid_utf8 == "replace",
        block_bytes=options.block_bytes,
    )
    encoding = EncodeSettings(
        tokenizer_json=tokenizer.to_str(),
        sep=special.sep,
        dtype=dtype.str,
        text_key=options.text_key,
        replace_invalid=reading.replace_invalid,
        validation_fraction=options.validation_fraction,
        head_bytes=reading.head_bytes,
    )
    began = time.monotonic()
    with (
        _Bar(sources, show_progress) as bar,
        Collector(options.output, sources, start, dtype, special.sep, options.commit_seconds) as collector,
    ):
        blocks = _not_yet_done(read_blocks(sources, reading), start, sources, bar)
        for block, encoded in encode_blocks(blocks, encoding, workers):
            collector.take(block, encoded)
            bar.show(block, sum(len(documents.tokens) for documents in encoded.documents.values()))
        for source in sources:
            check_unchanged(source)
        done = collector.finish()
    shards = sorted(done.finished, key=lambda entry: (entry.split, entry.prefix))
    manifest = Manifest(
        created_by=start.plan.created_by,
        tokenizer_name=options.tokenizer,
        tokenizer_fingerprint=start.plan.tokenizer_fingerprint,
        vocab_size=special.vocab_size,
        special_ids={"cls": special.cls, "sep": special.sep, "pad": special.pad, "mask": special.mask},
        options=options.shaping(),
        sources=done.seen,
        shards=shards,
        totals=totals(shards),
        empty_documents=done.empty_documents,
        replaced_characters=done.replaced_characters,
    )
    text = json.dumps(manifest.model_dump(), indent=2, sort_keys=True, ensure_ascii=False)
    write_atomically(options.output / MANIFEST, text + "\n")
    (options.output / PROGRESS).unlink()
    return BuildReport(manifest, left_out, False, workers, bar.text_bytes, bar.tokens, time.monotonic() - began)


class _Bar:
    """The progress bar, in bytes of the files, with the speed in bytes of text and in tokens."""

    def __init__(self, sources: list[Source], shown: bool) -> None:
        self._before = [0]
        for source in sources:
            self._before.append(self._before[-1] + source.size)
        self._bar = tqdm(
            total=self._before[-1],
            disable=not shown,
            unit="B",
            unit_scale=True,
            mininterval=0.5 if sys.stderr.isatty() else 30,
            bar_format="{percentage:3.0f}% |{bar:20}| {n_fmt} of {total_fmt}, {remaining} left{postfix}",
        )
        self._began = time.monotonic()
        self.text_bytes = self.tokens = 0

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def move(self, block: Block) -> None:
        """Show how far a block reaches into the files."""
        self._bar.update(self._before[block.source] + block.file_bytes - self._bar.n)

    def show(self, block: Block, tokens: int) -> None:
        """Count a block that this run has encoded."""
        self.text_bytes += len(block.data)
        self.tokens += tokens
        seconds = max(time.monotonic() - self._began, 1e-9)
        speed = f"{self.text_bytes / seconds / 1e6:.1f} MB/s, {self.tokens / seconds:,.0f} tokens/s"
        self._bar.set_postfix_str(speed, refresh=False)
        self.move(block)


def _not_yet_done(blocks: Iterable[Block], start: Progress, sources: list[Source], bar: _Bar) -> Iterator[Block]:
    """Pass over the blocks of earlier runs, making sure by checksum that their text is still the same."""
    digests = [""] * len(sources)
    done = 0
    for block in blocks:
        if done == start.blocks:
            yield block
            continue
        done += 1
        digests[block.source] = block.sha256
        bar.move(block)
        if done == start.blocks:
            _refuse_changed(digests, start)
    if done < start.blocks:
        _refuse_changed(digests, start)


def _refuse_changed(digests: list[str], start: Progress) -> None:
    pairs = zip(start.seen, digests, strict=False)  # sources that were not reached have no checksum
    changed = [entry.name for entry, digest in pairs if entry.sha256 != digest]
    if changed:
        raise ValueError(
            f"--resume: the text of {', '.join(changed)} has changed since this build began: delete the "
            "output folder and start over"
        )


def _check(options: BuildOptions) -> tuple[list[Source], list[str], Tokenizer]:
    problems = options.problems()
    sources: list[Source] = []
    left_out: list[str] = []
    tokenizer = None
    try:
        sources, left_out = find_sources(options.inputs, options.output)
    except ValueError as error:
        problems.append(str(error))
    try:
        tokenizer = load_tokenizer(options.tokenizer)
        special_ids(tokenizer)
    except ValueError as error:
        problems.append(f"--tokenizer {options.tokenizer}: {error}")
    if problems or tokenizer is None:
        raise ValueError("\n".join(problems))
    return sources, left_out, tokenizer


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Keep a second build out of the folder. A killed build leaves the file but not the lock."""
    path = folder / _LOCK
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"--output {folder}: another build is writing to this folder") from None
        try:
            yield
        finally:
            path.unlink()


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
