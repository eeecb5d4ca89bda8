"""Blocks of text to token ids, in order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np

from megatinybert.config.flat import OptionNames
from megatinybert.corpus.blocks import Block
from megatinybert.corpus.documents import split_documents
from megatinybert.corpus.engines import EngineName, open_engine
from megatinybert.runtime.workers import in_order

TRAIN, VALIDATION = "train", "validation"

_PIECE_CHARACTERS = 1 << 16  # longer lines are encoded in pieces: less memory, and twice as fast


@dataclass(frozen=True)
class EncodeSettings:
    """All that decides which ids a block becomes, and their split. dtype: of the ids, as numpy names it.
    head_bytes: by so many bytes of its text a document's split is chosen. engine: changes no id. names: for messages.
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


@dataclass(frozen=True)
class Documents:
    """tokens: ids, 1-D. sequence_lengths: int32, none is 0. document_lengths: int64, sequences of each
    document.
    """

    tokens: np.ndarray
    sequence_lengths: np.ndarray
    document_lengths: np.ndarray


@dataclass(frozen=True)
class EncodedBlock:
    """The documents of a block by split. Whole documents end with [SEP]; a part of a long document (then the
    only one here) does not. opens: the split of a long document that begins here and continues. empty_documents:
    how many gave no token. replaced: how many invalid characters were replaced.
    """

    documents: dict[str, Documents]
    opens: str | None
    empty_documents: int
    replaced: int


class Encoder:
    """Encodes blocks. Deterministic: a block becomes the same ids in any process."""

    def __init__(self, settings: EncodeSettings) -> None:
        self._settings = settings
        self._engine = open_engine(settings.tokenizer_json, settings.engine)

    def encode(self, block: Block) -> EncodedBlock:
        """Decode, part and tokenize a block. Raises DataError naming file and line, and EngineDifference where the
        fast engine is wrong.
        """
        settings = self._settings
        documents, replaced = split_documents(block, settings.text_key, settings.replace_invalid, settings.names)
        tokens, lengths = self._token_ids([line for lines in documents for line in lines])

        line_counts = np.array([len(lines) for lines in documents], dtype=np.int64)
        document_of_line = np.repeat(np.arange(len(documents)), line_counts)
        token_counts = np.bincount(document_of_line, lengths, len(documents)).astype(np.int64)
        sequence_counts = np.bincount(document_of_line[lengths > 0], minlength=len(documents))
        lengths = lengths[lengths > 0]
        filled = token_counts > 0
        validation = np.array([self._is_validation(lines) for lines in documents], dtype=bool)
        opens = None
        if block.begins and not block.ends:
            opens = VALIDATION if validation[0] else TRAIN
        validation = validation[filled]
        token_counts, sequence_counts = token_counts[filled], sequence_counts[filled]
        if block.begins and block.ends:
            tokens = np.insert(tokens, np.cumsum(token_counts), settings.sep)
            lengths[np.cumsum(sequence_counts) - 1] += 1
            token_counts = token_counts + 1

        parts: dict[str, Documents] = {}
        for split, chosen in ((TRAIN, ~validation), (VALIDATION, validation)):
            if chosen.all() and chosen.size:
                parts[split] = Documents(tokens, lengths, sequence_counts)
            elif chosen.any():
                parts[split] = Documents(
                    tokens[np.repeat(chosen, token_counts)],
                    lengths[np.repeat(chosen, sequence_counts)],
                    sequence_counts[chosen],
                )
        whole = block.begins and block.ends
        return EncodedBlock(parts, opens, int((~filled).sum()) if whole else 0, replaced)

    def _is_validation(self, lines: list[str]) -> bool:
        """Chosen by a hash (BLAKE2b) of the head of the text, so that a copy of a document goes with it."""
        fraction, size = self._settings.validation_fraction, self._settings.head_bytes
        if not fraction:
            return False
        head = "\n".join(lines)[:size].encode()[:size]
        return int.from_bytes(hashlib.blake2b(head, digest_size=8).digest(), "big") < fraction * 2**64

    def _token_ids(self, lines: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Lines -> (ids of all lines, 1-D; number of ids of each line, int32), without special tokens."""
        if max(map(len, lines), default=0) <= _PIECE_CHARACTERS:
            ids, counts = self._engine.encode(lines)
        else:
            pieces = [_pieces(line) for line in lines]
            ids, counts = self._engine.encode(list(chain.from_iterable(pieces)))
            pieces_before = np.cumsum([0, *map(len, pieces[:-1])])
            counts = np.add.reduceat(counts, pieces_before)
        return ids.astype(self._settings.dtype), counts.astype(np.int32)


def encode_blocks(
    blocks: Iterable[Block], settings: EncodeSettings, workers: int
) -> Iterator[tuple[Block, EncodedBlock]]:
    """Encode blocks in order: in this process with one worker, else in a pool with few blocks under way.

    Raises DataError naming file and line, and RuntimeError where a worker was killed.
    """
    yield from in_order(partial(_encoder, settings), blocks, workers, settings.names["workers"])


def _encoder(settings: EncodeSettings) -> Callable[[Block], EncodedBlock]:
    return Encoder(settings).encode


def _pieces(line: str) -> list[str]:
    """Cut a very long line before a space (if there is one), where no tokenizer joins what is on either
    side.
    """
    pieces = []
    start = 0
    while len(line) - start > _PIECE_CHARACTERS:
        space = line.rfind(" ", start + 1, start + _PIECE_CHARACTERS)
        end = space if space > 0 else start + _PIECE_CHARACTERS
        pieces.append(line[start:end])
        start = end
    pieces.append(line[start:])
    return pieces
