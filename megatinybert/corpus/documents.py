"""Blocks as documents: lists of stripped, non-empty lines."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from megatinybert.config.flat import OptionNames
from megatinybert.corpus.blocks import BLANK, Block
from megatinybert.corpus.charset import advice
from megatinybert.corpus.sources import DataError

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# What a record is in each layout, where it is left out: of text only the line with invalid bytes.
_UNITS = {"row": "row", "value": "value"}


@dataclass(frozen=True)
class LeftOut:
    """A record that cannot be read. unit: "line", "row" or "value" of a file; number: which, from 1."""

    unit: str
    number: int
    reason: str


def split_documents(
    block: Block, text_key: str, replace_invalid: bool, names: OptionNames, left_out: list[LeftOut] | None = None
) -> tuple[list[list[str]], int]:
    """Decode a block and part it into documents: (their lines; how many characters were replaced by U+FFFD).

    A line is blank when it holds nothing but ASCII white space. A JSON object, or a row, whose text is empty is a
    document of no lines. Records that cannot be read are added to `left_out`. Without it, raises DataError naming file
    and line, row or value where text is not valid UTF-8, or is null, or where there is no object with text.
    """
    splitter = _Splitter(block, text_key, replace_invalid, names, left_out)
    return splitter.documents(), splitter.replaced


class _Splitter:
    """Parts one block. replaced: how many characters were."""

    def __init__(
        self, block: Block, text_key: str, replace_invalid: bool, names: OptionNames, left_out: list[LeftOut] | None
    ) -> None:
        self._block, self._key, self._names, self._left_out = block, text_key, names, left_out
        self._replace_invalid = replace_invalid
        self._unit = _UNITS.get(block.layout, "line")
        self.replaced = 0

    def documents(self) -> list[list[str]]:
        block = self._block
        if block.row_ends is not None:
            return self._of_rows(block.row_ends.tolist())
        text = self._whole_text()
        if block.layout == "object":
            texts = (self._object_text(line, number) for number, line in enumerate(text.split("\n")))
            return [_lines(text) for text in texts if text is not None]
        if block.layout == "line":
            return [[line] for line in _lines(text)]
        if not (block.begins and block.ends):
            lines = _lines(text)
            return [lines] if lines else []
        return _paragraphs(text)

    def _of_rows(self, ends: list[int]) -> list[list[str]]:
        nulls = set() if self._block.null_rows is None else set(self._block.null_rows.tolist())
        documents, begin = [], 0
        for number, end in enumerate(ends):
            if number in nulls:
                self._leave_out(number, f"the value of {self._key!r} is null, not a string")
                continue
            text = self._decode(self._block.data[begin:end], number)
            begin = end
            if text is not None and self._unit == "value":
                text = self._object_text(text, number)
            if text is not None:
                documents.append(_lines(text))
        return documents

    def _whole_text(self) -> str:
        """The text of the block. Lines that cannot be decoded are left out, blank ones in their place in .jsonl."""
        data = self._block.data
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            if self._left_out is None or self._replace_invalid:
                return self._decode(data, data.count(b"\n", 0, error.start)) or ""
        lines = [self._decode(line, number) for number, line in enumerate(data.split(b"\n"))]
        if self._block.layout == "object":  # whose lines are numbered
            return "\n".join(line or "" for line in lines)
        return "\n".join(line for line in lines if line is not None)

    def _decode(self, data: bytes, number: int) -> str | None:
        """data: all lines or a single record. number: of the record, or of the line that is wrong."""
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            if not self._replace_invalid:
                self._leave_out(number, self._invalid(data, error.start))
                return None
        text = data.decode("utf-8", "replace")
        self.replaced += text.count("\ufffd") - data.count("\ufffd".encode())
        return text

    def _invalid(self, data: bytes, at: int) -> str:
        """What to say of bytes that are not valid."""
        if self._block.encoding != "utf-8":  # decoded before, and the invalid bytes marked
            return f"not valid {self._block.encoding}"
        reason = f"not valid UTF-8 (byte 0x{data[at]:02x})"
        if self._left_out is not None:
            return reason
        lines = data[data.rfind(b"\n", 0, at) + 1 :]
        return f"{reason}. {advice(lines, 'utf-8', self._names)}"

    def _object_text(self, line: str, number: int) -> str | None:
        """The text in a JSON object; None for a blank line, and for what has no text."""
        line = line.strip(BLANK)
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
        return value

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


def _lines(text: str) -> list[str]:
    """The lines that are not blank. Within the text of a JSON object or a row CRLF and CR may stand."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return [stripped for line in text.split("\n") if (stripped := line.strip(BLANK))]


def _paragraphs(text: str) -> list[list[str]]:
    lines = [line.strip(BLANK) for line in text.split("\n")]
    documents: list[list[str]] = []
    begin = 0
    for end in [number for number, line in enumerate(lines) if not line] + [len(lines)]:
        if end > begin:
            documents.append(lines[begin:end])
        begin = end + 1
    return documents
