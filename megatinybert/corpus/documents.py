"""Blocks as documents: lists of stripped, non-empty lines."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np

from megatinybert.config.flat import OptionNames
from megatinybert.corpus.blocks import BLANK, Block
from megatinybert.corpus.charset import advice
from megatinybert.corpus.sources import DataError

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def split_documents(
    block: Block, text_key: str, replace_invalid: bool, names: OptionNames
) -> tuple[list[list[str]], int]:
    """Decode a block and part it into documents: (their lines; how many characters were replaced by U+FFFD).

    A line is blank when it holds nothing but ASCII white space. An object of a .jsonl file, or a row, whose
    text is empty is a document of no lines. Raises DataError naming file and line or row where text is not
    valid UTF-8, or where a line is not an object with text.
    """
    if block.row_ends is not None:
        return _row_documents(block, block.row_ends, replace_invalid, names)
    text, replaced = _decode(block, block.data, replace_invalid, names)
    if block.layout == "object":
        documents, more = _json_documents(block, text, text_key, replace_invalid, names)
        return documents, replaced + more
    if block.layout == "line":
        return [[line] for line in _lines(text)], replaced
    if not (block.begins and block.ends):
        lines = _lines(text)
        return [lines] if lines else [], replaced
    return _paragraphs(text), replaced


def _line(block: Block, offset: int) -> str:
    return f"{block.path}, line {block.first_line + offset:,}"


def _lines(text: str) -> list[str]:
    """The lines that are not blank. In a .jsonl or .parquet file CRLF and CR may stand within a text."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return [stripped for line in text.split("\n") if (stripped := line.strip(BLANK))]


def _paragraphs(text: str) -> list[list[str]]:
    documents: list[list[str]] = []
    fresh = True
    for line in [line.strip(BLANK) for line in text.split("\n")]:
        if not line:
            fresh = True
        elif fresh:
            documents.append([line])
            fresh = False
        else:
            documents[-1].append(line)
    return documents


def _row_documents(
    block: Block, ends: np.ndarray, replace_invalid: bool, names: OptionNames
) -> tuple[list[list[str]], int]:
    documents, replaced, begin = [], 0, 0
    for row, end in enumerate(ends.tolist(), start=block.first_line):
        text, count = _decode(block, block.data[begin:end], replace_invalid, names, row)
        documents.append(_lines(text))
        replaced += count
        begin = end
    return documents, replaced


def _json_documents(
    block: Block, text: str, text_key: str, replace_invalid: bool, names: OptionNames
) -> tuple[list[list[str]], int]:
    documents, replaced = [], 0
    for offset, line in enumerate(text.split("\n")):
        line = line.strip(BLANK)
        if not line:
            continue
        where = _line(block, offset)
        try:
            record: Any = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: not valid JSON ({error})") from error
        if not isinstance(record, dict):
            raise DataError(f"{where}: {line[:60]} is not a JSON object with the key {text_key!r}")
        if text_key not in record:
            keys = ", ".join(map(repr, list(record)[:8])) or "none"
            option = names["text_key"]
            raise DataError(f"{where}: no key {text_key!r} (keys: {keys}). Name the key of the text with {option}")
        value = record[text_key]
        if not isinstance(value, str):
            raise DataError(f"{where}: the value of {text_key!r} is {json.dumps(value)[:60]}, not a string")
        if "\\u" in line:  # only an escape can bring in half of a surrogate pair, which is no character
            value, count = _LONE_SURROGATE.subn("\ufffd", value)
            if count and not replace_invalid:
                option = names["invalid_utf8"]
                raise DataError(f"{where}: not valid UTF-8 (a lone surrogate escape). Use {option} replace")
            replaced += count
        documents.append(_lines(value))
    return documents, replaced


def _decode(
    block: Block, data: bytes, replace_invalid: bool, names: OptionNames, row: int | None = None
) -> tuple[str, int]:
    """The text of a block, or of one of its rows, and how many characters were replaced."""
    try:
        return data.decode(), 0
    except UnicodeDecodeError as error:
        if not replace_invalid:
            at = error.start
            where = f"{block.path}, row {row:,}" if row else _line(block, data.count(b"\n", 0, at))
            lines = data[data.rfind(b"\n", 0, at) + 1 :]
            remedy = advice(lines, "utf-8", names)
            raise DataError(f"{where}: not valid UTF-8 (byte 0x{data[at]:02x}). {remedy}") from error
    text = data.decode("utf-8", "replace")
    return text, text.count("\ufffd") - data.count("\ufffd".encode())
