"""Rows in chunks: units of work and of interruption."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers

from megatinybert.config.flat import OptionNames
from megatinybert.corpus.tokenizer import load_tokenizer, special_ids
from megatinybert.tasks.augment.candidates import CandidateFinder, Choice
from megatinybert.tasks.augment.masked_lm import Filler, load_masked_lm
from megatinybert.tasks.augment.rewrite import rewrite
from megatinybert.tasks.augment.words import Segmenter, Splitter
from megatinybert.tasks.reading.read import Row

# A chunk ends with the row that reaches either: rows enough for full batches of like lengths, and few enough to be done
# in a minute or so.
_CHARACTERS, _ROWS = 1 << 15, 1 << 13


@dataclass(frozen=True)
class Chunk:
    """rows: those from number `first` on. selected: bool (rows,), whether each is to be rewritten."""

    index: int
    first: int
    rows: list[Row]
    selected: np.ndarray


@dataclass(frozen=True)
class WrittenChunk:
    """rows: read. words: new ones; by_vectors: those of them that are not the model's. lines: of the output, with their
    line ends.
    """

    index: int
    rows: int
    rows_out: int
    words: int
    by_vectors: int
    lines: str


@dataclass(frozen=True)
class Settings:
    """All that decides what becomes of a chunk.

    labels: names of the classes; None: labels are scores. nearest: a JSON file with the nearest words of every word of
    several pieces, or None. batch_tokens, device and dtype decide the rounding of the scores alone. names: of the
    options.
    """

    model: str
    tokenizer: str
    labels: tuple[str, ...] | None
    copies: int
    probability: float
    candidates: int
    seed: int
    segmenter: Segmenter
    nearest: Path | None
    batch_tokens: int
    device: torch.device
    dtype: torch.dtype
    names: OptionNames


def texts_of(row: Row) -> tuple[str, ...]:
    return (row.text_a,) if row.text_b is None else (row.text_a, row.text_b)


def chunks(rows: Iterable[Row], selected: np.ndarray) -> Iterator[Chunk]:
    """Part all rows into chunks; selected: bool (all rows,). The same rows and selection give the same chunks."""
    index = first = characters = 0
    part: list[Row] = []
    for row in rows:
        if selected[first + len(part)]:
            characters += sum(map(len, texts_of(row)))
        part.append(row)
        if characters >= _CHARACTERS or len(part) == _ROWS:
            yield Chunk(index, first, part, selected[first : first + len(part)])
            index, first, characters, part = index + 1, first + len(part), 0, []
    if part:
        yield Chunk(index, first, part, selected[first:])


class ChunkRewriter:
    """Rewrites chunks. A chunk is done by itself, so that it becomes the same lines in any process, at any time."""

    def __init__(self, settings: Settings) -> None:
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        self._settings = settings
        model = load_masked_lm(settings.model, settings.names["model"], settings.dtype, settings.device)
        tokenizer = load_tokenizer(settings.tokenizer)
        filler = Filler(model, special_ids(tokenizer).pad, settings.candidates, settings.batch_tokens)
        nearest = json.loads(settings.nearest.read_text(encoding="utf-8")) if settings.nearest else None
        splitter = Splitter(tokenizer, settings.segmenter, settings.names["segmenter"])
        positions: int = model.config.max_position_embeddings
        self._finder = CandidateFinder(tokenizer, splitter, filler, positions, nearest)

    def __call__(self, chunk: Chunk) -> WrittenChunk:
        wanted = [texts_of(row) for row, selected in zip(chunk.rows, chunk.selected, strict=True) if selected]
        distinct = list(dict.fromkeys(wanted))
        choices: dict[tuple[str, ...], list[Choice]] = dict(zip(distinct, self._finder.find(distinct), strict=True))
        lines: list[str] = []
        words = by_vectors = 0
        settings = self._settings
        for number, (row, selected) in enumerate(zip(chunk.rows, chunk.selected, strict=True), chunk.first):
            texts = texts_of(row)
            lines.append(self._line(texts, row))
            if selected:
                copies = rewrite(texts, choices[texts], number, settings.copies, settings.probability, settings.seed)
                lines += [self._line(copy, row) for copy in copies.rows]
                words += copies.words
                by_vectors += copies.by_vectors
        return WrittenChunk(chunk.index, len(chunk.rows), len(lines), words, by_vectors, "".join(lines))

    def _line(self, texts: tuple[str, ...], row: Row) -> str:
        assert row.label is not None
        labels = self._settings.labels
        label = row.label if labels is None else labels[int(row.label)]
        record = {**dict(zip(("text_a", "text_b"), texts, strict=False)), "label": label}
        return json.dumps(record, ensure_ascii=False) + "\n"
