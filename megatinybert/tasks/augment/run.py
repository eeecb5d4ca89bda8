"""A task's training file to a .jsonl file of rows.

The output depends on the rows, the model, the vectors and the options alone: not on the number of workers, nor on how
often the work was interrupted. --batch-tokens, the device and the version of torch decide how the model's scores are
rounded: with others, candidates that are almost equally likely may change places at the end of a word's list.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import transformers
from tqdm import tqdm

from megatinybert import __version__
from megatinybert.config.augment import BATCH_TOKENS, AugmentOptions
from megatinybert.corpus.texts import Texts
from megatinybert.corpus.tokenizer import load_tokenizer, special_ids, tokenizer_fingerprint
from megatinybert.corpus.vocabulary import Vocabulary, sample_of, scripts_of
from megatinybert.models.load import Digest, teacher_dtype
from megatinybert.runtime.files import write_atomically
from megatinybert.runtime.progress_bar import progress_bar
from megatinybert.runtime.workers import in_order, usable_cores
from megatinybert.samples.order import keyed_hash
from megatinybert.tasks.augment.candidates import proposals
from megatinybert.tasks.augment.chunks import Chunk, ChunkRewriter, Settings, chunks, texts_of
from megatinybert.tasks.augment.masked_lm import load_masked_lm
from megatinybert.tasks.augment.output import (
    AugmentPlan,
    Output,
    copies_of,
    options_in_plan,
    plan_of,
    refuse_other_plan,
    rows_key,
)
from megatinybert.tasks.augment.report import AugmentReport, about_vectors
from megatinybert.tasks.augment.rewrite import SELECTED
from megatinybert.tasks.augment.vectors import open_vectors, vectors_key
from megatinybert.tasks.augment.words import Splitter
from megatinybert.tasks.reading.files import TaskFiles
from megatinybert.tasks.reading.layout import layout_of
from megatinybert.tasks.reading.read import Row, open_task, read_rows
from megatinybert.tasks.reading.skipped import Skipped
from megatinybert.tasks.table import Task

_WORDS_AT_ONCE = 1024  # rows split at a time, where only their words are looked for


def augment(options: AugmentOptions, show_progress: bool = True) -> AugmentReport:
    """Write a task's training rows, each followed by its rewritten copies; or resume that, or find it done.

    With more than one worker a script calls it under its `__main__` guard, since workers import the script. Raises
    ValueError for what the user can put right, OSError where the output cannot be written, RuntimeError where a worker
    was killed. After any of them, and after a kill, the same call continues with `resume`.
    """
    began = time.monotonic()
    files = _open_task(options)
    settings = _settings(options, files.task)
    splitter = Splitter(load_tokenizer(options.reader), options.segmenter, options.names["segmenter"])
    plan = _plan(options, files, _check_model(options))
    output = Output(options.output, plan, options.resume, options.names)
    rows = _Rows(files.task, files.train, options.skip_bad_rows)
    if output.finished:
        totals = output.finished.totals
        return AugmentReport(totals, True, time.monotonic() - began, about_vectors(options, totals, rows))

    skipped = Skipped()
    count = rows.count(skipped)
    for warning in _unsuited(rows, options.reader) if show_progress else ():
        print(f"warning: {options.names['tokenizer']}: {warning}", file=sys.stderr)
    selected = select(count, options.rows, options.seed)
    if settings.nearest:
        _find_nearest(options, settings.nearest, rows.only(selected), splitter, show_progress)
    workers = options.workers or (1 if settings.device.type == "cuda" else usable_cores())
    written = _write_chunks(output, settings, chunks(rows, selected), workers, _bar(count, show_progress))
    meta = output.publish(
        written, int(selected.sum()), skipped.count, f"megatinybert {__version__}", time.monotonic() - began
    )
    told = about_vectors(options, meta.totals, rows)
    return AugmentReport(meta.totals, False, time.monotonic() - began, told, skipped.messages)


def check_made_by(options: AugmentOptions) -> None:
    """Raise ValueError where the output was made with other options, rows or vectors than these.

    The model is not looked at, for it may be gone by now, nor is a file that is not from here.
    """
    made_by = plan_of(options.output)
    if made_by:
        files = _open_task(options)
        plan = _plan(options, files, str(made_by.inputs["model"]))
        refuse_other_plan(options.output, made_by, plan, options.names)


def select(count: int, rows: int, seed: int) -> np.ndarray:
    """Which rows are rewritten: bool (count,). rows: so many, those of the least hashes of (seed, number); 0: all."""
    selected = np.ones(count, dtype=bool)
    if 0 < rows < count:
        selected[np.argsort(keyed_hash(seed, SELECTED, np.arange(count)), kind="stable")[rows:]] = False
    return selected


@dataclass(frozen=True)
class _Rows:
    """The rows of a training file, which is read several times rather than kept in memory."""

    task: Task
    path: Path
    skip_bad: bool

    def __iter__(self) -> Iterator[Row]:
        return read_rows(self.task, self.path, Skipped() if self.skip_bad else None)

    def count(self, skipped: Skipped) -> int:
        """Read every row, so that a bad one shows before the long work. skipped: takes those that do not count."""
        rows = read_rows(self.task, self.path, skipped if self.skip_bad else None)
        return sum(1 for _ in rows)

    def only(self, selected: np.ndarray) -> Iterator[Row]:
        return (row for row, yes in zip(self, selected, strict=True) if yes)


def _open_task(options: AugmentOptions) -> TaskFiles:
    return open_task(options.task, options.data_dir, options.labels, options.kind, layout_of(options, options.names))


def _unsuited(rows: Iterable[Row], name: str) -> list[str]:
    """Warnings about a tokenizer, by the first rows. name: folder or hub name."""
    tokenizer = load_tokenizer(name)
    texts = [text for row in islice(rows, _WORDS_AT_ONCE) for text in texts_of(row)]
    ids = [number for encoded in tokenizer.encode_batch(texts, add_special_tokens=False) for number in encoded.ids]
    vocabulary = Vocabulary(tokenizer, name)
    unknown = sum(number == vocabulary.unknown_id for number in ids)
    characters = sample_of(Texts.of(texts))
    return vocabulary.warnings(scripts_of(characters), characters, unknown, len(ids))


def _settings(options: AugmentOptions, task: Task) -> Settings:
    device = _choose_device(options)
    return Settings(
        model=options.model,
        tokenizer=options.reader,
        labels=task.labels,
        copies=copies_of(options, task.name),
        probability=options.probability,
        candidates=options.candidates,
        seed=options.seed,
        segmenter=options.segmenter,
        nearest=Output.parts_of(options.output) / "nearest.json" if options.vectors else None,
        batch_tokens=options.batch_tokens or BATCH_TOKENS[device.type],
        device=device,
        dtype=teacher_dtype("auto", device),
        names=options.names,
    )


def _choose_device(options: AugmentOptions) -> torch.device:
    there = torch.cuda.is_available()
    if options.device == "cuda" and not there:
        raise ValueError(f"{options.names['device']} cuda: torch sees no CUDA device here; use cpu")
    if options.device == "auto":
        return torch.device("cuda" if there else "cpu")
    return torch.device(options.device)


def _check_model(options: AugmentOptions) -> str:
    """A fingerprint of model and tokenizer. Raises ValueError where they are not what augmentation needs."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    names = options.names
    named = f"{names['model']} {options.model}"
    model = load_masked_lm(options.model, names["model"], torch.float32, torch.device("cpu"))
    tokenizer = load_tokenizer(options.reader)
    try:
        ids = special_ids(tokenizer).vocab_size
        proposals(tokenizer)
    except ValueError as error:
        raise ValueError(f"{named}: {error}") from error
    embeddings = model.config.vocab_size
    if ids > embeddings:
        raise ValueError(
            f"{named}: its tokenizer has {ids:,} ids, the model {embeddings:,} embeddings: put the "
            "tokenizer there that it was trained with"
        )
    if options.candidates >= embeddings:
        raise ValueError(
            f"{names['candidates']} {options.candidates}: must be less than the {embeddings:,} tokens of the model"
        )
    return f"{Digest.of(model).fingerprint} {tokenizer_fingerprint(tokenizer)[:16]}"


def _plan(options: AugmentOptions, files: TaskFiles, model: str) -> AugmentPlan:
    return AugmentPlan(
        options=options_in_plan(options, files.task.name, files.task.labels),
        inputs={
            "data_dir": rows_key(files.train),
            "model": model,
            "vectors": vectors_key(options.vectors, options.names["vectors"])[:16] if options.vectors else "none",
        },
    )


def _find_nearest(
    options: AugmentOptions, path: Path, rows: Iterable[Row], splitter: Splitter, show_progress: bool
) -> None:
    """Write the nearest words of all words of several pieces to `path`, unless they are there."""
    assert options.vectors is not None
    if path.is_file():
        return
    vectors = open_vectors(options.vectors, options.output.parent, options.names["vectors"], show_progress)
    nearest = vectors.nearest(sorted(_words_of_several_pieces(rows, splitter)), options.candidates)
    write_atomically(path, json.dumps(nearest, ensure_ascii=False))


def _words_of_several_pieces(rows: Iterable[Row], splitter: Splitter) -> set[str]:
    words: set[str] = set()
    texts: list[str] = []

    def collect() -> None:
        for split in splitter.split(texts):
            words.update(split.text[word.start : word.end] for word in split.words if word.pieces > 1)
        texts.clear()

    for row in rows:
        texts += texts_of(row)
        if len(texts) >= _WORDS_AT_ONCE:
            collect()
    collect()
    return words


def _write_chunks(output: Output, settings: Settings, parts: Iterable[Chunk], workers: int, bar: tqdm) -> int:
    """Rewrite the chunks that are not there yet; how many there are in all."""
    total = 0

    def missing() -> Iterator[Chunk]:
        nonlocal total
        for chunk in parts:
            total += 1
            if output.has(chunk.index):
                bar.update(len(chunk.rows))
            else:
                yield chunk

    with bar:
        threads = torch.get_num_threads()
        try:
            for _, written in in_order(partial(_rewriter, settings), missing(), workers, settings.names["workers"]):
                output.keep(written)
                bar.update(written.rows)
        finally:
            torch.set_num_threads(threads)
    return total


def _rewriter(settings: Settings) -> ChunkRewriter:
    torch.set_num_threads(1)  # here as in a worker: sums over several threads are rounded differently
    return ChunkRewriter(settings)


def _bar(rows: int, shown: bool) -> tqdm:
    layout = "{percentage:3.0f}% |{bar:20}| {n_fmt} of {total_fmt} rows, {rate_fmt}, {remaining} left"
    return progress_bar(rows, " rows", disable=not shown, bar_format=layout)
