"""The values of a JSON file that is not one value a line: of an array, or one after the other.

Only where values end is found here, by brackets and strings; whether they are valid JSON is found by whoever parses
them. Memory holds some of them (or one, where that is longer), however long the array is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Protocol

import numpy as np

_BLANK = b" \t\r\n\f\v"
_MARK = re.compile(rb'["\[\]{},]')  # outside strings: what can begin or end a value
# Up to the quote that ends a string, or the backslash of an escape that has not been read yet.
_IN_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def has_lines(head: bytes) -> bool:
    """Whether a file that begins with `head`, stripped, has a JSON object a line. One line in all is such a file, too,
    unless it is an array.
    """
    if head.startswith(b"["):
        return False
    first = head.split(b"\n", 1)[0].strip(_BLANK)
    if first == head and not head.endswith(b"}"):  # the beginning of a long line
        return True
    try:
        return isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        # A broken first line of several, and not the first line of a long object.
        return first.startswith(b"{") and first.endswith(b"}")


def split_values(stream: Readable, block_bytes: int) -> Iterator[tuple[bytes, np.ndarray]]:
    """Yield runs of values of about `block_bytes`, at least one run: (the values one after the other, where in it each
    one ends, int64).
    """
    values: list[bytes] = []
    size, empty = 0, True
    for value in _values(stream, block_bytes):
        values.append(value)
        size += len(value)
        if size >= block_bytes:
            yield _run(values)
            values, size, empty = [], 0, False
    if values or empty:
        yield _run(values)


def _run(values: list[bytes]) -> tuple[bytes, np.ndarray]:
    return b"".join(values), np.cumsum(np.fromiter(map(len, values), "<i8", len(values)))


def _values(stream: Readable, block_bytes: int) -> Iterator[bytes]:
    """Each value of the array that the text is, else each object of the text. What stands between them but should not
    comes as a value that is not valid.
    """
    scan = _Scan()
    # Where no value ends more is read than before, so that a huge one costs time in proportion to its length.
    while chunk := stream.read(max(block_bytes, len(scan.pending))):
        yield from scan.values(chunk)
    rest = scan.pending.strip(_BLANK)
    if scan.in_array:
        yield b"[" + rest  # the array does not end
    elif rest:
        yield rest


class _Scan:
    """Where in the text the scan is. pending: read, and in no value yet; at: how far it has been looked at."""

    def __init__(self) -> None:
        self.pending, self._at = b"", 0
        self._depth = 0  # within a value
        self._in_string = self._begun = False
        self.in_array = False

    def values(self, chunk: bytes) -> Iterator[bytes]:
        """Look at more text: the values that end in it."""
        text = self.pending + chunk
        if not self._begun:
            text = text.lstrip(_BLANK)
            self._begun, self.in_array = bool(text), text.startswith(b"[")
            text = text[self.in_array :]
        first, at = 0, self._at
        while (found := self._next(text, at)) is not None:
            mark, at = found
            if mark in b"{[":
                self._depth += 1
            elif mark in b"}]" and self._depth:
                self._depth -= 1
                if not (self._depth or self.in_array):
                    yield text[first:at]
                    first = at
            elif not self._depth and (mark == b"," or (mark == b"]" and self.in_array)):
                value = text[first : at - 1].strip(_BLANK)
                if value or mark == b",":
                    yield value or b","
                first = at
                if mark == b"]":
                    self.in_array = False
        self.pending, self._at = text[first:], self._at - first

    def _next(self, text: bytes, at: int) -> tuple[bytes, int] | None:
        """The next bracket or comma outside strings, and where it ends; None at the end of what has been read."""
        while True:
            if self._in_string:
                inside = _IN_STRING.match(text, at)
                assert inside is not None  # it may be empty
                self._at = inside.end()
                if text[self._at : self._at + 1] != b'"':
                    return None
                at, self._in_string = self._at + 1, False
            mark = _MARK.search(text, at)
            if mark is None:
                self._at = len(text)
                return None
            at = mark.end()
            if mark.group() != b'"':
                return mark.group(), at
            self._in_string = True
