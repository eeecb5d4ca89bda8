"""Blocks of text to token ids, in order."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from megatinybert.config.flat import OptionNames
from megatinybert.corpus.blocks import Block
from megatinybert.corpus.documents import LeftOut, Split, split_documents
from megatinybert.corpus.duplicates import document_hashes
from megatinybert.corpus.engines import EngineName, open_engine
from megatinybert.corpus.fast_engine import EngineUnavailable
from megatinybert.corpus.reference_engine import Engine
from megatinybert.corpus.texts import Texts
from megatinybert.corpus.vocabulary import sample_of
from megatinybert.runtime.ray_workers import in_order_by_ray
from megatinybert.runtime.workers import in_order, in_order_by_threads

TRAIN, VALIDATION = "train", "validation"

_PIECE_BYTES = 1 << 16  # longer lines are encoded in pieces: less memory, and twice as fast


@dataclass(frozen=True)
class EncodeSettings:
    """All that decides which ids a block becomes, and their split. dtype: of the ids, as numpy names it.
    head_bytes: by so many bytes of its text a document's split is chosen. engine: changes no id. skip_bad_records:
    leave out what cannot be read. names: for messages.
    """

    tokenizer_json: str
    engine: EngineName
    sep: int
    dtype: str
    text_key: str
    replace_invalid: bool
    validation_fraction: float
    head_bytes: int
    names: OptionNames
    skip_bad_records: bool = False


@dataclass(frozen=True)
class Documents:
    """tokens: ids, 1-D. sequence_lengths: int32, none is 0. document_lengths: int64, sequences of each
    document. hashes: uint64, of each document's ids without [SEP].
    """

    tokens: np.ndarray
    sequence_lengths: np.ndarray
    document_lengths: np.ndarray
    hashes: np.ndarray

    def select(self, chosen: np.ndarray) -> Documents:
        """chosen: bool, for each document."""
        of_sequences = np.repeat(chosen, self.document_lengths)
        return Documents(
            self.tokens[np.repeat(of_sequences, self.sequence_lengths)],
            self.sequence_lengths[of_sequences],
            self.document_lengths[chosen],
            self.hashes[chosen],
        )


@dataclass(frozen=True)
class EncodedBlock:
    """The documents of a block by split. Whole documents end with [SEP]; a part of a long document (then the
    only one here) does not. opens: the split of a long document that begins here and continues. empty_documents:
    how many gave no token. replaced: how many invalid characters were replaced. records: how many JSON objects or
    rows, or lines of a .txt file, those left out included. characters: of a sample, with counts.
    """

    documents: dict[str, Documents]
    opens: str | None
    empty_documents: int
    replaced: int
    records: int
    left_out: list[LeftOut]
    characters: dict[str, int]


class Encoder:
    """Encodes blocks. Deterministic: a block becomes the same ids in any process."""

    def __init__(self, settings: EncodeSettings, opened: Engine | None = None) -> None:
        """opened: the engine of the settings, where it is open already."""
        self._settings = settings
        self._engine = opened or open_engine(settings.tokenizer_json, settings.engine)

    def encode(self, block: Block) -> EncodedBlock:
        """Decode, part and tokenize a block. Raises DataError naming file and line, and EngineDifference where the
        fast engine is wrong.
        """
        settings = self._settings
        left_out: list[LeftOut] = []
        split = split_documents(
            block,
            settings.text_key,
            settings.replace_invalid,
            settings.names,
            left_out if settings.skip_bad_records else None,
        )
        tokens, lengths = self._token_ids(split.lines)

        count = len(split.counts)
        document_of_line = np.repeat(np.arange(count), split.counts)
        token_counts = np.bincount(document_of_line, lengths, count).astype(np.int64)
        sequence_counts = np.bincount(document_of_line[lengths > 0], minlength=count)
        lengths = lengths[lengths > 0]
        filled = token_counts > 0
        validation = self._of_validation(split)
        opens = None
        if block.begins and not block.ends:
            opens = VALIDATION if validation.any() else TRAIN  # of one document, or none where its lines are left out
        validation = validation[filled]
        token_counts, sequence_counts = token_counts[filled], sequence_counts[filled]
        hashes = document_hashes(tokens, token_counts)
        if block.begins and block.ends:
            tokens = np.insert(tokens, np.cumsum(token_counts), settings.sep)
            lengths[np.cumsum(sequence_counts) - 1] += 1

        everything = Documents(tokens, lengths, sequence_counts, hashes)
        parts: dict[str, Documents] = {}
        for name, chosen in ((TRAIN, ~validation), (VALIDATION, validation)):
            if chosen.any():
                parts[name] = everything if chosen.all() else everything.select(chosen)
        empty = int((~filled).sum()) if block.begins and block.ends else 0
        of_lines = block.layout in ("line", "blank-line")
        records = (len(split.lines) if of_lines else count) + len(left_out)
        return EncodedBlock(parts, opens, empty, split.replaced, records, left_out, sample_of(split.lines))

    def _of_validation(self, split: Split) -> np.ndarray:
        """bool (documents,). Chosen by a hash (BLAKE2b) of the head of the text, so that a copy of a document goes with
        it.
        """
        fraction, size = self._settings.validation_fraction, self._settings.head_bytes
        chosen = np.zeros(len(split.counts), dtype=bool)
        for number, head in enumerate(split.heads(size) if fraction else ()):
            digest = hashlib.blake2b(head, digest_size=8).digest()
            chosen[number] = int.from_bytes(digest, "big") < fraction * 2**64
        return chosen

    def _token_ids(self, lines: Texts) -> tuple[np.ndarray, np.ndarray]:
        """(ids of all lines, 1-D; number of ids of each line, int32), without special tokens."""
        if lines.sizes.max(initial=0) <= _PIECE_BYTES:
            ids, counts = self._engine.encode(lines)
        else:
            cuts = {number: _cuts(lines, number) for number in np.flatnonzero(lines.sizes > _PIECE_BYTES).tolist()}
            pieces = np.ones(len(lines), dtype=np.int64)
            pieces[list(cuts)] = [len(each) for each in cuts.values()]
            firsts = np.cumsum(pieces) - pieces
            begins = np.repeat(lines.begins, pieces)
            for number, each in cuts.items():
                begins[firsts[number] : firsts[number] + len(each)] = each
            ends = np.append(begins[1:], 0)  # a piece ends where the next of its line begins
            ends[firsts + pieces - 1] = lines.ends
            ids, counts = self._engine.encode(Texts(lines.data, begins, ends))
            counts = np.add.reduceat(counts, firsts)
        return ids.astype(self._settings.dtype), counts.astype(np.int32)


def encode_blocks(
    blocks: Iterable[Block],
    settings: EncodeSettings,
    workers: int,
    shared: Sequence[Path] | None = None,
    opened: Engine | None = None,
) -> Iterator[tuple[Block, EncodedBlock]]:
    """Encode blocks in order: in this process with one worker, else in a pool with few blocks under way. Workers are
    threads with the fast engine, whose library does without Python's global lock, and processes with tokenizers.

    shared: where given, workers of the Ray cluster that was joined do it, and have to see these files and folders.
    opened: the engine of the settings, which takes 0.1 s to open; used where this process encodes.
    Raises DataError naming file and line, RuntimeError where a worker was killed, and ValueError where a worker of Ray
    does not see a file or cannot use the engine.
    """
    option = settings.names["workers"]
    if shared is None and settings.engine == "fast" and workers > 1:
        yield from in_order_by_threads(_encoder(settings, opened), blocks, workers)
    elif shared is None:
        yield from in_order(partial(_encoder, settings, opened if workers == 1 else None), blocks, workers, option)
    else:
        yield from in_order_by_ray(partial(_encoder_of_ray, settings, shared), blocks, workers, option)


def _encoder(settings: EncodeSettings, opened: Engine | None = None) -> Callable[[Block], EncodedBlock]:
    return Encoder(settings, opened).encode


def _encoder_of_ray(settings: EncodeSettings, shared: Sequence[Path]) -> Callable[[Block], EncodedBlock]:
    names, machine = settings.names, f"the machine {platform.node()}, where a Ray worker runs"
    for path in shared:
        if not path.exists():
            raise ValueError(
                f"{path} is not on {machine}: put {names['input']} and {names['output']} on a file system that all "
                "machines of the cluster share, so that any of them can continue the build"
            )
    try:
        return _encoder(settings)
    except EngineUnavailable as error:
        raise ValueError(f"{machine}: {error}. Or take {names['tokenizer_engine']} tokenizers") from error


def _cuts(lines: Texts, number: int) -> list[int]:
    """Where the pieces of a line begin. A very long one is cut before a space (if there is one), where no tokenizer
    joins what is on either side.
    """
    data, end = lines.data, int(lines.ends[number])
    begins = [int(lines.begins[number])]
    while end - begins[-1] > _PIECE_BYTES:
        cut = data.rfind(b" ", begins[-1] + 1, begins[-1] + _PIECE_BYTES)
        if cut < 0:
            cut = begins[-1] + _PIECE_BYTES
            while data[cut] & 0xC0 == 0x80:  # within a character
                cut -= 1
        begins.append(cut)
    return begins
