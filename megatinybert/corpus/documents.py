"""Blocks as documents: stripped, non-empty lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from megatinybert.config.flat import OptionNames
from megatinybert.corpus.blocks import Block
from megatinybert.corpus.sources import DataError
from megatinybert.corpus.texts import BLANK, Texts, lines_of
from megatinybert.corpus.wrong_encoding import invalid, invalid_in_table

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# What a record is in each layout, where it is left out: of text only the line with invalid bytes.
_UNITS = {"row": "row", "value": "value"}


@dataclass(frozen=True)
class LeftOut:
    """A record that cannot be read. unit: "line", "row" or "value" of a file; number: which, from 1."""

    unit: str
    number: int
    reason: str


@dataclass(frozen=True)
class Split:
    """The documents of a block. lines: of all of them, stripped, none empty. counts: lines of each document, int64.
    replaced: how many characters were replaced by U+FFFD.
    """

    lines: Texts
    counts: np.ndarray
    replaced: int

    def documents(self) -> list[list[str]]:
        """The lines of each document."""
        lines = [line.decode() for line in self.lines.all()]
        ends = np.cumsum(self.counts)
        return [lines[end - count : end] for end, count in zip(ends.tolist(), self.counts.tolist(), strict=True)]

    def heads(self, size: int) -> Iterator[bytes]:
        """Up to `size` bytes of the text of each document."""
        data, begins, ends = self.lines.data, self.lines.begins, self.lines.ends
        after = np.cumsum(self.counts)
        firsts = after - self.counts
        filled = np.flatnonzero(self.counts)
        first, last = firsts[filled], after[filled] - 1
        # How often something was stripped between two lines, up to each line: the same at both ends of a document
        # that lies there in one piece.
        stripped = np.cumsum(np.concatenate([[0], begins[1:] != ends[:-1] + 1]))
        cuts = np.full((len(self.counts), 2), 0)
        cuts[filled] = np.stack([begins[first], np.minimum(ends[last], begins[first] + size)], axis=1)
        whole = np.ones(len(self.counts), dtype=bool)
        whole[filled] = stripped[first] == stripped[last]
        for number, ((begin, end), in_one_piece) in enumerate(zip(cuts.tolist(), whole.tolist(), strict=True)):
            if in_one_piece:
                yield data[begin:end]
            else:
                yield b"\n".join(map(self.lines.text, range(firsts[number], after[number])))[:size]


def split_documents(
    block: Block, text_key: str, replace_invalid: bool, names: OptionNames, left_out: list[LeftOut] | None = None
) -> Split:
    """Part a block into documents, and make sure that they are valid UTF-8.

    A line is blank when it holds nothing but ASCII white space. A JSON object, or a row, whose text is empty is a
    document of no lines. Records that cannot be read are added to `left_out`. Without it, raises DataError naming file
    and line, row or value where text is not valid UTF-8, or is null, or where there is no object with text.
    """
    splitter = _Splitter(block, text_key, replace_invalid, names, left_out)
    lines, counts = splitter.documents()
    return Split(lines, counts, splitter.replaced)


class _Splitter:
    """Parts one block. replaced: how many characters were."""

    def __init__(
        self, block: Block, text_key: str, replace_invalid: bool, names: OptionNames, left_out: list[LeftOut] | None
    ) -> None:
        self._block, self._key, self._names, self._left_out = block, text_key, names, left_out
        self._replace_invalid = replace_invalid
        self._unit = _UNITS.get(block.layout, "line")
        self.replaced = 0

    def documents(self) -> tuple[Texts, np.ndarray]:
        """(lines of all documents; how many each has)."""
        block = self._block
        if block.row_ends is not None:
            return _of_texts(self._of_rows(block.row_ends.tolist()))
        data = self._whole()
        if block.layout == "object":
            texts = (self._object_text(line, number) for number, line in enumerate(data.split(b"\n")))
            return _of_texts([text for text in texts if text is not None])
        lines, filled = _filled_lines(data)
        if block.layout == "line":
            return lines, np.ones(len(lines), dtype=np.int64)
        if not (block.begins and block.ends):
            return lines, np.array([len(lines)] if len(lines) else [], dtype=np.int64)
        opens = filled & ~np.concatenate([[False], filled[:-1]])  # after a blank line
        return lines, np.bincount(np.cumsum(opens)[filled] - 1, minlength=int(opens.sum()))

    def _of_rows(self, ends: list[int]) -> list[bytes]:
        nulls = set() if self._block.null_rows is None else set(self._block.null_rows.tolist())
        texts, begin = [], 0
        for number, end in enumerate(ends):
            if number in nulls:
                self._leave_out(number, f"the value of {self._key!r} is null, not a string")
                continue
            text = self._valid(self._block.data[begin:end], number)
            begin = end
            if text is not None and self._unit == "value":
                text = self._object_text(text, number)
            if text is not None:
                texts.append(text)
        return texts

    def _whole(self) -> bytes:
        """The text of the block, valid. Lines that are not are left out, blank ones in their place in .jsonl."""
        data = self._block.data
        if self._left_out is None or self._replace_invalid:
            valid = self._valid(data)
            assert valid is not None
            return valid
        if _invalid_at(data) is None:
            return data
        lines = [self._valid(line, number) for number, line in enumerate(data.split(b"\n"))]
        if self._block.layout == "object":  # whose lines are numbered
            return b"\n".join(line or b"" for line in lines)
        return b"\n".join(line for line in lines if line is not None)

    def _valid(self, data: bytes, number: int | None = None) -> bytes | None:
        """number: of the record, or of the line; None: these are all lines."""
        at = _invalid_at(data)
        if at is None:
            return data
        if not self._replace_invalid:
            self._leave_out_invalid(data, at, data.count(b"\n", 0, at) if number is None else number)
            return None
        text = data.decode("utf-8", "replace")
        self.replaced += text.count("\ufffd") - data.count("\ufffd".encode())
        return text.encode()

    def _leave_out_invalid(self, data: bytes, at: int, number: int) -> None:
        """Leave out record `number`, from 0, for the bytes of `data` at `at`, which are not valid."""
        lines = data[data.rfind(b"\n", 0, at) + 1 :]
        if self._block.encoding != "utf-8":  # decoded before, and the invalid bytes marked
            self._leave_out(number, f"not valid {self._block.encoding}")
        elif self._left_out is not None:
            self._leave_out(number, f"not valid UTF-8 (byte 0x{data[at]:02x})")
        elif self._unit == "row":
            self._leave_out(number, invalid_in_table(data[at], lines, self._names))
        else:
            place = f", {self._unit} {number + self._block.first_line:,}"
            raise invalid(self._block.path, place, data[at], lines, "utf-8", self._names)

    def _object_text(self, data: bytes, number: int) -> bytes | None:
        """The text in a JSON object; None for a blank line, and for what has no text."""
        line = data.strip(BLANK).decode()
        if not line:
            return None
        try:
            record: Any = json.loads(line)
        except (ValueError, RecursionError) as error:
            self._leave_out(number, f"not valid JSON ({error})")
            return None
        value = record.get(self._key) if isinstance(record, dict) else None
        if not isinstance(value, str):
            self._leave_out(number, self._no_text(line, record))
            return None
        if "\\u" in line:  # only an escape can bring in half of a surrogate pair, which is no character
            value, count = _LONE_SURROGATE.subn("\ufffd", value)
            if count and not self._replace_invalid:
                option = self._names["invalid_utf8"]
                self._leave_out(number, f"not valid UTF-8 (a lone surrogate escape). Use {option} replace")
                return None
            self.replaced += count
        return value.encode()

    def _no_text(self, line: str, record: Any) -> str:
        """What a JSON value has in place of text."""
        if not isinstance(record, dict):
            return f"{line[:60]} is not a JSON object with the key {self._key!r}"
        if self._key not in record:
            keys = ", ".join(map(repr, list(record)[:8])) or "none"
            return f"no key {self._key!r} (keys: {keys}). Name the key of the text with {self._names['text_key']}"
        return f"the value of {self._key!r} is {json.dumps(record[self._key])[:60]}, not a string"

    def _leave_out(self, number: int, reason: str) -> None:
        """number: of the record in this block, from 0."""
        number += self._block.first_line
        if self._left_out is None:
            raise DataError(f"{self._block.path}, {self._unit} {number:,}: {reason}")
        self._left_out.append(LeftOut(self._unit, number, reason))


def _invalid_at(data: bytes) -> int | None:
    """Where the first bytes are that are not valid UTF-8; None where all are."""
    if data.isascii():  # ten times as fast as decoding
        return None
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.start
    return None


def _filled_lines(data: bytes) -> tuple[Texts, np.ndarray]:
    """(The lines that are not blank; which of all lines they are, bool)."""
    begins, ends = lines_of(data)
    filled = begins < ends
    return Texts(data, begins[filled], ends[filled]), filled


def _of_texts(texts: list[bytes]) -> tuple[Texts, np.ndarray]:
    """Each of them a document: (lines of all; how many each has). CRLF and CR may stand within them, too."""
    texts = [text.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in text else text for text in texts]
    joined = Texts.of_bytes(texts)
    lines, _ = _filled_lines(joined.data)
    documents = np.searchsorted(joined.begins, lines.begins, side="right") - 1
    return lines, np.bincount(documents, minlength=len(texts))
