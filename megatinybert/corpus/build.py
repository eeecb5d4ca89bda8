"""Text files to shards: read, encode, write.

The output depends on the text, the tokenizer and the options alone: not on the number of workers, nor on how
often a build was interrupted. `progress.json` records what is safely written; `manifest.json` is written last
and takes its place, so a folder with a manifest is whole.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from megatinybert import __version__
from megatinybert.config.codec import codec_name
from megatinybert.config.shards import BuildOptions
from megatinybert.corpus.blocks import BLOCK_BYTES, Block, ReadSettings, read_blocks
from megatinybert.corpus.build_bar import BuildBar
from megatinybert.corpus.contents import ContentRules
from megatinybert.corpus.duplicates import HASHES
from megatinybert.corpus.encode import EncodeSettings, encode_blocks
from megatinybert.corpus.engines import EngineChoice, choose_engine, slow_choice
from megatinybert.corpus.fast_engine import EngineDifference
from megatinybert.corpus.manifest import MANIFEST, PROGRESS, Manifest, totals
from megatinybert.corpus.progress import BuildPlan, Collector, Progress, open_output
from megatinybert.corpus.sources import Source, check_unchanged, find_sources
from megatinybert.corpus.tokenizer import SpecialIds, load_tokenizer, special_ids, tokenizer_fingerprint
from megatinybert.corpus.vocabulary import Vocabulary
from megatinybert.runtime.files import file_lock, write_atomically
from megatinybert.runtime.ray_workers import ray_cluster
from megatinybert.runtime.workers import usable_cores

_LOCK = "build.lock"
_LARGEST_UINT16_VOCABULARY = 65_500  # Megatron-LM's rule


@dataclass(frozen=True)
class _Reader:
    """The tokenizer, opened and looked into."""

    tokenizer: Tokenizer
    special: SpecialIds
    vocabulary: Vocabulary


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


def build_corpus(
    options: BuildOptions,
    show_progress: bool = False,
    block_bytes: int = BLOCK_BYTES,
    commit_seconds: float = 10.0,
    leave_out: Path | None = None,
) -> BuildReport:
    """Build a corpus, or resume building one.

    With more than one worker a script calls it under its `__main__` guard, since workers import the script.
    block_bytes: of text handed to a worker at a time; the first sixteenth of so much of a document chooses its split.
    commit_seconds: how much work an interruption may cost. leave_out: a folder that is not looked into for input, None
    for the output.
    Raises ValueError for what the user can put right in the command, DataError (a ValueError) for what is wrong in
    the input, EngineDifference (a ValueError) where the fast engine is wrong, OSError where the output cannot be
    written, RuntimeError where a worker was killed.
    After any of them, and after a kill, the same build continues with `resume`.
    """
    sources, left_out, reader, engine = _check(options, leave_out or options.output)
    plan = BuildPlan(
        created_by=f"megatinybert {__version__}",
        tokenizer_fingerprint=tokenizer_fingerprint(reader.tokenizer),
        options=shaping(options, block_bytes),
        sources=[(source.name, source.size) for source in sources],
    )
    options.output.mkdir(parents=True, exist_ok=True)
    busy = f"{options.names['output']} {options.output}: another build is writing to this folder"
    with _workers(options) as workers, file_lock(options.output / _LOCK, busy, wait=False):
        start = open_output(options.output, plan, options.resume, {_LOCK}, options.names)
        if isinstance(start, Manifest):
            return BuildReport(start, left_out, True, workers, 0, 0, 0.0)
        if engine.reason and show_progress:
            print(f"tokenizer engine: {engine.version}, since {engine.reason}", file=sys.stderr, flush=True)
        with BuildBar(sources, show_progress, start.seen) as bar:
            write = partial(_write, options, sources, reader, start, workers, block_bytes, commit_seconds, bar)
            done = _write_checked(write, engine, options, start, bar)
            manifest = _finish(options, start.plan, done, reader)
        return BuildReport(manifest, left_out, False, workers, bar.text_bytes, bar.tokens, bar.seconds)


def _workers(options: BuildOptions) -> AbstractContextManager[int]:
    """The number of workers, within the Ray cluster where one is asked for."""
    if options.ray is None:
        return nullcontext(options.workers or usable_cores())
    return ray_cluster(options.ray, options.workers, options.names["ray"], options.names["workers"])


def shaping(options: BuildOptions, block_bytes: int = BLOCK_BYTES) -> dict[str, bool | str | int | float]:
    """What decides what is written, beside text, tokenizer and version. Newer options are there where they are used:
    what was built before there were any goes on as it began.
    """
    newer = {"drop_duplicates": options.drop_duplicates, "skip_bad_records": options.skip_bad_records}
    return {name: value for name, value in newer.items() if value} | {
        "block_bytes": block_bytes,
        "document": options.document,
        "encoding": codec_name(options.encoding),
        "invalid_utf8": options.invalid_utf8,
        "shard_tokens": options.shard_tokens,
        "text_key": options.text_key,
        "validation_fraction": options.validation_fraction,
    }


def _write_checked(
    write: Callable[[EngineChoice], Progress],
    engine: EngineChoice,
    options: BuildOptions,
    start: Progress,
    bar: BuildBar,
) -> Progress:
    """Write, by tokenizers if the fast engine is found wrong before anything is written and was not asked for."""
    try:
        return write(engine)
    except EngineDifference as error:
        option = options.names["tokenizer_engine"]
        if start.blocks or bar.text_bytes:
            raise EngineDifference(
                f"{error}\nIds written before may be wrong as well: delete {options.output} and build it again with "
                f"{option} tokenizers"
            ) from error
        if options.tokenizer_engine == "fast":
            raise EngineDifference(f"{error}\nUse {option} tokenizers") from error
        slow = slow_choice(str(error))
        bar.say(f"tokenizer engine: {slow.version}, since {error}")
    return write(slow)


def _write(
    options: BuildOptions,
    sources: list[Source],
    reader: _Reader,
    start: Progress,
    workers: int,
    block_bytes: int,
    commit_seconds: float,
    bar: BuildBar,
    engine: EngineChoice,
) -> Progress:
    """Read, encode and write from `start` on: the progress at the end."""
    special = reader.special
    dtype = np.dtype("<u2" if special.vocab_size < _LARGEST_UINT16_VOCABULARY else "<i4")
    reading = ReadSettings.of(options, block_bytes, options.names)
    encoding = EncodeSettings(
        tokenizer_json=reader.tokenizer.to_str(),
        engine=engine.name,
        sep=special.sep,
        dtype=dtype.str,
        text_key=options.text_key,
        replace_invalid=reading.replace_invalid,
        validation_fraction=options.validation_fraction,
        head_bytes=reading.head_bytes,
        names=options.names,
        skip_bad_records=options.skip_bad_records > 0,
    )
    rules = ContentRules(options.skip_bad_records, options.drop_duplicates, reader.vocabulary.unknown_id, options.names)
    with Collector(
        options.output, sources, start, dtype, special.sep, commit_seconds, engine.version, rules
    ) as collector:
        blocks = _not_yet_done(read_blocks(sources, reading), start, sources, bar, options)
        shared = [path.resolve() for path in (options.output, *(source.path for source in sources))]
        by_ray = shared if options.ray else None
        for block, encoded in encode_blocks(blocks, encoding, workers, by_ray, engine.opened):
            collector.take(block, encoded)
            bar.show(block, sum(len(documents.tokens) for documents in encoded.documents.values()))
        for source in sources:
            check_unchanged(source)
        return collector.finish()


def _finish(options: BuildOptions, plan: BuildPlan, done: Progress, reader: _Reader) -> Manifest:
    """Write the manifest, which says that the corpus is whole."""
    special, contents = reader.special, done.contents
    shards = sorted(done.finished, key=lambda entry: (entry.split, entry.prefix))
    tokens = sum(entry.tokens - entry.documents for entry in shards)  # without [SEP]
    manifest = Manifest(
        created_by=plan.created_by,
        tokenizer_name=options.tokenizer,
        tokenizer_fingerprint=plan.tokenizer_fingerprint,
        vocab_size=special.vocab_size,
        special_ids={"cls": special.cls, "sep": special.sep, "pad": special.pad, "mask": special.mask},
        options=plan.options,
        sources=done.seen,
        shards=shards,
        totals=totals(shards),
        empty_documents=done.empty_documents,
        replaced_characters=done.replaced_characters,
        records=contents.records,
        left_out_records=contents.left_out_records,
        unknown_tokens=contents.unknown_tokens if contents.counted else None,
        duplicate_documents=contents.duplicate_documents if contents.counted else None,
        warnings=reader.vocabulary.warnings(contents.scripts, contents.characters, contents.unknown_tokens, tokens),
        engines=done.engines,
    )
    text = json.dumps(manifest.model_dump(), indent=2, sort_keys=True, ensure_ascii=False)
    write_atomically(options.output / MANIFEST, text + "\n")
    for name in (PROGRESS, HASHES):
        (options.output / name).unlink(missing_ok=True)
    return manifest


def _not_yet_done(
    blocks: Iterable[Block], start: Progress, sources: list[Source], bar: BuildBar, options: BuildOptions
) -> Iterator[Block]:
    """Pass over the blocks of earlier runs, making sure by checksum that their text is still the same."""
    digests = [""] * len(sources)
    done = 0
    for block in blocks:
        if done == start.blocks:
            yield block
            continue
        done += 1
        digests[block.source] = block.sha256
        if done == start.blocks:
            _refuse_changed(digests, start, options)
            bar.begin_after(block)
    if done < start.blocks:
        _refuse_changed(digests, start, options)


def _refuse_changed(digests: list[str], start: Progress, options: BuildOptions) -> None:
    pairs = zip(start.seen, digests, strict=False)  # sources that were not reached have no checksum
    changed = [entry.name for entry, digest in pairs if entry.sha256 != digest]
    if changed:
        raise ValueError(
            f"{options.names['output']} {options.output}: the text of {', '.join(changed)} has changed since this "
            "build began: delete the folder and start over"
        )


def _check(options: BuildOptions, leave_out: Path) -> tuple[list[Source], list[str], _Reader, EngineChoice]:
    problems: list[str] = []
    sources: list[Source] = []
    left_out: list[str] = []
    reader = engine = None
    try:
        sources, left_out = find_sources(options.input, leave_out, options.names["input"])
    except ValueError as error:
        problems.append(str(error))
    try:
        tokenizer = load_tokenizer(options.tokenizer)
        reader = _Reader(tokenizer, special_ids(tokenizer), Vocabulary(tokenizer, options.tokenizer))
    except ValueError as error:
        problems.append(f"{options.names['tokenizer']} {options.tokenizer}: {error}")
    if reader is not None:
        try:
            engine = choose_engine(reader.tokenizer, options.tokenizer_engine)
        except ValueError as error:
            option = options.names["tokenizer_engine"]
            problems.append(f"{option} {options.tokenizer_engine}: {error}. Or take {option} tokenizers")
    if problems or reader is None or engine is None:
        raise ValueError("\n".join(problems))
    return sources, left_out, reader, engine
