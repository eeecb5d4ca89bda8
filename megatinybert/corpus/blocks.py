"""Input files as blocks of whole lines or rows.

Blocks are what is handed to worker processes. Where they are cut depends on the text alone, and memory holds
one block (or one line or row, where that is longer), however large the files are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO

import numpy as np

from megatinybert.config.codec import codec_name
from megatinybert.config.data import DataConfig
from megatinybert.config.flat import OptionNames
from megatinybert.config.shards import BuildOptions
from megatinybert.corpus.json_values import Readable, has_lines, split_values
from megatinybert.corpus.sources import ARROW, PARQUET, Source, check_unchanged, kind_of
from megatinybert.corpus.streams import TextStream
from megatinybert.corpus.texts import BLANK

BLOCK_BYTES = 1 << 21  # of 1 MiB each, building takes a tenth longer
_HEAD_BYTES = 1 << 16
_TAIL_BYTES = 1 << 14
_PROBE_BYTES = 1 << 20  # how much of a .txt file is looked at to tell how its documents are parted
# A line end and the blank line after it (or a blank line that opens the text), in the text and in the text
# reversed.
_BOUNDARY = re.compile(rb"(?:\A|\n)[ \t\r\f\v]*\n")
_REVERSED_BOUNDARY = re.compile(rb"\n[ \t\r\f\v]*(?:\n|\Z)")


@dataclass(frozen=True)
class ReadSettings:
    """All that decides how files become blocks.

    document: "auto", "blank-line" or "line", for .txt files. text_key: the column of a .parquet or .arrow file. names:
    for messages. mark_invalid: make invalid bytes of any encoding invalid UTF-8, for whoever decodes blocks to leave
    out their records.
    """

    document: str
    text_key: str
    encoding: str
    replace_invalid: bool
    block_bytes: int
    names: OptionNames
    mark_invalid: bool = False

    @classmethod
    def of(cls, options: BuildOptions | DataConfig, block_bytes: int, names: OptionNames) -> ReadSettings:
        """How the files of a build, or of a run's text, are read."""
        return cls(
            document=options.document,
            text_key=options.text_key,
            encoding=codec_name(options.encoding),
            replace_invalid=options.invalid_utf8 == "replace",
            block_bytes=block_bytes,
            names=names,
            mark_invalid=options.skip_bad_records > 0,
        )

    @property
    def head_bytes(self) -> int:
        """So many bytes of a document's text, stripped, are always in its first block."""
        return max(1, min(_HEAD_BYTES, self.block_bytes // 16))


@dataclass(frozen=True)
class Block:
    """Some whole lines or rows of one file, in UTF-8.

    layout: how documents are told apart: "object" (JSON lines), "value" (JSON values, in an array or one after the
    other), "row", "line" or "blank-line". first_line: number of the first line, row or value, from 1. row_ends: for
    rows and values, where in `data` each of them ends (int64); null_rows: which rows, from 0, have no text (int64). A
    block holds whole documents, or else a part of a single long one: `begins` and `ends` say whether that
    document begins and ends with this block. replaced: invalid characters replaced in decoding other encodings
    than UTF-8. text_bytes and sha256 are of the file's text up to the end of this block; file_bytes is how much
    of the file has been read.
    """

    index: int
    source: int
    path: Path
    layout: str
    encoding: str
    first_line: int
    data: bytes
    begins: bool
    ends: bool
    replaced: int
    text_bytes: int
    sha256: str
    file_bytes: int
    row_ends: np.ndarray | None = None
    null_rows: np.ndarray | None = None


def read_blocks(sources: Sequence[Source], settings: ReadSettings) -> Iterator[Block]:
    """Read the sources one after the other as blocks of about `block_bytes`; every source gives at least one
    block.

    Raises DataError where a file is damaged, is not in its encoding or changes while it is read.
    """
    indices = count()
    for number, source in enumerate(sources):
        check_unchanged(source)
        if kind_of(source.path) in (PARQUET, ARROW):
            yield from _row_blocks(number, source, settings, indices)
        elif _layout(source, settings) == "value":
            yield from _value_blocks(number, source, settings, indices)
        else:
            yield from _line_blocks(number, source, settings, indices)
        check_unchanged(source)


def _line_blocks(number: int, source: Source, settings: ReadSettings, indices: Iterator[int]) -> Iterator[Block]:
    layout = _layout(source, settings)
    with source.path.open("rb") as file:
        stream = _stream(source, file, settings)
        first_line, text_bytes, replaced, digest = 1, 0, 0, hashlib.sha256()
        for data, begins, ends in _cut(stream, layout, settings.block_bytes, settings.head_bytes):
            text_bytes += len(data)
            digest.update(data)
            replaced, before = stream.replaced, replaced
            yield Block(
                next(indices), number, source.path, layout, stream.encoding, first_line, data, begins, ends,
                replaced - before, text_bytes, digest.hexdigest(), file.tell(),
            )  # fmt: skip
            # Three times as fast as data.count(), and without Python's global lock
            first_line += int(np.count_nonzero(np.frombuffer(data, dtype=np.uint8) == ord("\n")))


def _value_blocks(number: int, source: Source, settings: ReadSettings, indices: Iterator[int]) -> Iterator[Block]:
    first, text_bytes, replaced, digest = 1, 0, 0, hashlib.sha256()
    with source.path.open("rb") as file:
        stream = _stream(source, file, settings)
        for data, ends in split_values(stream, settings.block_bytes):
            text_bytes += len(data)
            digest.update(ends.tobytes())
            digest.update(data)
            replaced, before = stream.replaced, replaced
            yield Block(
                next(indices), number, source.path, "value", stream.encoding, first, data, True, True,
                replaced - before, text_bytes, digest.hexdigest(), file.tell(), ends,
            )  # fmt: skip
            first += len(ends)


def _row_blocks(number: int, source: Source, settings: ReadSettings, indices: Iterator[int]) -> Iterator[Block]:
    # pyarrow costs every process that imports it memory and time
    if kind_of(source.path) == PARQUET:
        from megatinybert.corpus.parquet import read_rows
    else:
        from megatinybert.corpus.arrow import read_rows

    first_row, text_bytes, digest = 1, 0, hashlib.sha256()
    option = settings.names["text_key"]
    for rows in read_rows(source.path, settings.text_key, settings.block_bytes, option):
        text_bytes += len(rows.data)
        digest.update(rows.ends.tobytes())
        digest.update(rows.data)
        digest.update(rows.nulls.tobytes())
        yield Block(
            next(indices), number, source.path, "row", "utf-8", first_row, rows.data, True, True,
            0, text_bytes, digest.hexdigest(), round(rows.share * source.size), rows.ends, rows.nulls,
        )  # fmt: skip
        first_row += len(rows.ends)


def _layout(source: Source, settings: ReadSettings) -> str:
    kind = kind_of(source.path)
    if kind == ".jsonl":
        return "object"
    if kind == ".txt" and settings.document != "auto":
        return settings.document
    with source.path.open("rb") as file:
        head = _stream(source, file, settings).read(_PROBE_BYTES).strip()
    if kind == ".json":
        return "object" if has_lines(head) else "value"
    return "blank-line" if _BOUNDARY.search(head) else "line"


def _stream(source: Source, file: IO[bytes], settings: ReadSettings) -> TextStream:
    return TextStream(
        source.path, file, settings.encoding, settings.replace_invalid, settings.names, settings.mark_invalid
    )


def _cut(stream: Readable, layout: str, block_bytes: int, head_bytes: int) -> Iterator[tuple[bytes, bool, bool]]:
    """Yield (data, begins, ends). A document that does not fit a block gets blocks of its own; the first holds
    at least `head_bytes` of its text.
    """
    pending, inside, empty = b"", False, True
    # Where no cut is found more is read than before, so that a huge line costs time in proportion to its
    # length.
    while chunk := stream.read(max(block_bytes, len(pending))):
        pending += chunk
        cut, ends = _find_cut(pending, layout, inside)
        if cut and not ends and not inside and _text_bytes(pending[:cut]) < head_bytes:
            continue
        if cut:
            yield pending[:cut], not inside, ends
            pending, inside, empty = pending[cut:], not ends, False
    if pending or inside or empty:
        yield pending, not inside, True


def _find_cut(pending: bytes, layout: str, inside: bool) -> tuple[int, bool]:
    """Where to cut (0: nowhere), and whether a document ends there. inside: `pending` continues a long
    document.
    """
    if layout == "blank-line":
        if inside:
            first = _BOUNDARY.search(pending)
            if first:
                return first.end(), True
        else:
            size = _TAIL_BYTES  # the last boundary is mostly near the end
            while size < len(pending):
                last = _REVERSED_BOUNDARY.search(pending[: -size - 1 : -1])
                if last and last.end() < size:  # at the far end it may be none
                    return len(pending) - last.start(), True
                size *= 4
            last = _REVERSED_BOUNDARY.search(pending[::-1])
            if last:
                return len(pending) - last.start(), True
    return pending.rfind(b"\n") + 1, layout != "blank-line"


def _text_bytes(lines: bytes) -> int:
    """The length of a text without blank lines and white space around lines."""
    stripped = (line.strip(BLANK) for line in lines.split(b"\n"))
    return sum(len(line) + 1 for line in stripped if line) - 1
