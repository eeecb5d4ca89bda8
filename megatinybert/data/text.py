"""Input files as blocks of whole lines, and blocks as documents.

Blocks are what is handed to worker processes. Where they are cut depends on the text alone, and memory holds
one block (or one line, where a line is longer), however large the files are.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

_SUFFIXES = (".txt", ".jsonl", ".txt.gz", ".jsonl.gz")
_PROBE_BYTES = 1 << 20  # how much of a .txt file is looked at to tell how its documents are parted
_BLANK = " \t\r\f\v"
# A line end and the blank line after it (or a blank line that opens the text), in the text and in the text
# reversed.
_BOUNDARY = re.compile(rb"(?:\A|\n)[ \t\r\f\v]*\n")
_REVERSED_BOUNDARY = re.compile(rb"\n[ \t\r\f\v]*(?:\n|\Z)")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class DataError(ValueError):
    """Something in an input file is not as it has to be. The message names the file and, where there is one,
    the line.
    """


@dataclass(frozen=True)
class Source:
    """One input file as it was found. name: its path from the input folder on (that folder's name
    included).
    """

    path: Path
    name: str
    size: int
    modified_ns: int


@dataclass(frozen=True)
class Block:
    """Some whole lines of one file.

    layout: how documents are told apart: "object" (JSON lines), "line" or "blank-line". first_line: number of
    the first line, from 1. A block holds whole documents, or else a part of a single long one: `begins` and
    `ends` say whether that document begins and ends with this block. text_bytes and sha256 are of the file's
    text up to the end of this block; file_bytes is how much of the file has been read.
    """

    index: int
    source: int
    path: Path
    layout: str
    first_line: int
    data: bytes
    begins: bool
    ends: bool
    text_bytes: int
    sha256: str
    file_bytes: int


def find_sources(inputs: Sequence[str | Path], leave_out: Path) -> tuple[list[Source], list[str]]:
    """Find the input files: (sources in the order of `inputs`, and of relative paths in a folder; files left
    out).

    leave_out: a folder that is not looked into (the output). Raises ValueError listing every input that is
    missing, unreadable, of a kind that is not supported, or named twice.
    """
    sources: list[Source] = []
    left_out: list[str] = []
    problems: list[str] = []
    for given in map(Path, inputs):
        try:
            if given.is_dir():
                found, others = _walk(given, leave_out)
                left_out += others
                if not found:
                    problems.append(f"--input {given}: no {', '.join(_SUFFIXES)} file in this folder")
                sources += found
            elif not given.exists():
                problems.append(f"--input {given}: no such file or folder")
            elif not _supported(given) or not given.is_file():
                problems.append(f"--input {given}: not a {', '.join(_SUFFIXES)} file")
            else:
                sources.append(_source(given, given.name))
        except OSError as error:
            problems.append(f"--input {given}: {error.strerror}")
    seen: set[Path] = set()
    for source in sources:
        resolved = source.path.resolve()
        if resolved in seen:
            problems.append(f"--input {source.path}: named twice")
        elif not os.access(source.path, os.R_OK):
            problems.append(f"--input {source.path}: permission denied")
        seen.add(resolved)
    if problems:
        raise ValueError("\n".join(problems))
    return sources, left_out


def read_blocks(sources: Sequence[Source], document: str, block_bytes: int) -> Iterator[Block]:
    """Read the sources one after the other as blocks of about `block_bytes`; every source gives at least one
    block.

    document: "auto", "blank-line" or "line", for .txt files; each line of a .jsonl file is a document.
    Raises DataError where a file is damaged or changes while it is read.
    """
    index = 0
    for number, source in enumerate(sources):
        check_unchanged(source)
        with source.path.open("rb") as file:
            compressed = source.path.suffix.lower() == ".gz"
            stream: IO[bytes] = gzip.GzipFile(fileobj=file) if compressed else file  # type: ignore[assignment]
            try:
                layout = _layout(source, document, stream)
                first_line, text_bytes, digest = 1, 0, hashlib.sha256()
                for data, begins, ends in _cut(stream, layout, block_bytes):
                    text_bytes += len(data)
                    digest.update(data)
                    text = data.removeprefix(b"\xef\xbb\xbf") if text_bytes == len(data) else data  # byte-order mark
                    yield Block(
                        index, number, source.path, layout, first_line, text, begins, ends,
                        text_bytes, digest.hexdigest(), file.tell(),
                    )  # fmt: skip
                    index += 1
                    first_line += data.count(b"\n")
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise DataError(f"{source.path}: damaged gzip file ({error})") from error
        check_unchanged(source)


def check_unchanged(source: Source) -> None:
    """Raise DataError where a file is no longer the one that was found at the start."""
    try:
        now = source.path.stat()
    except FileNotFoundError as error:
        raise DataError(f"{source.path}: removed while the shards were being built") from error
    if (now.st_size, now.st_mtime_ns) != (source.size, source.modified_ns):
        raise DataError(
            f"{source.path}: changed while the shards were being built (it had {source.size:,} bytes, now "
            f"{now.st_size:,}): delete the output folder and start over when the file is complete"
        )


def decode(block: Block, replace_invalid: bool) -> tuple[str, int]:
    """The text of a block and how many characters were replaced by U+FFFD. Raises DataError naming file and
    line.
    """
    try:
        return block.data.decode("utf-8"), 0
    except UnicodeDecodeError as error:
        if not replace_invalid:
            line = block.first_line + block.data.count(b"\n", 0, error.start)
            raise DataError(
                f"{block.path}, line {line:,}: not valid UTF-8 (byte 0x{block.data[error.start]:02x}). "
                "Convert the file, or use --invalid-utf8 replace"
            ) from error
    text = block.data.decode("utf-8", "replace")
    return text, text.count("\ufffd") - block.data.count("\ufffd".encode())


def split_documents(block: Block, text: str, text_key: str, replace_invalid: bool) -> tuple[list[list[str]], int]:
    """Part the text of a block into documents: (each a list of stripped, non-empty lines; characters
    replaced).

    A line is blank when it holds nothing but ASCII white space. An object of a .jsonl file whose text is
    empty is a document of no lines. Raises DataError naming file and line where a line is not an object with
    text.
    """
    lines = [line.strip(_BLANK) for line in text.split("\n")]
    if block.layout == "object":
        return _json_documents(block, lines, text_key, replace_invalid)
    if not (block.begins and block.ends):
        rest = [line for line in lines if line]
        return [rest] if rest else [], 0
    if block.layout == "line":
        return [[line] for line in lines if line], 0
    documents: list[list[str]] = []
    fresh = True
    for line in lines:
        if not line:
            fresh = True
        elif fresh:
            documents.append([line])
            fresh = False
        else:
            documents[-1].append(line)
    return documents, 0


def _json_documents(
    block: Block, lines: list[str], text_key: str, replace_invalid: bool
) -> tuple[list[list[str]], int]:
    documents, replaced = [], 0
    for offset, line in enumerate(lines):
        if not line:
            continue
        where = f"{block.path}, line {block.first_line + offset:,}"
        try:
            record: Any = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: not valid JSON ({error})") from error
        if not isinstance(record, dict):
            raise DataError(f"{where}: {line[:60]} is not a JSON object with the key {text_key!r}")
        if text_key not in record:
            keys = ", ".join(map(repr, list(record)[:8])) or "none"
            raise DataError(f"{where}: no key {text_key!r} (keys: {keys}). Name the key of the text with --text-key")
        text = record[text_key]
        if not isinstance(text, str):
            raise DataError(f"{where}: the value of {text_key!r} is {json.dumps(text)[:60]}, not a string")
        if "\\u" in line:  # only an escape can bring in half of a surrogate pair, which is no character
            text, count = _LONE_SURROGATE.subn("\ufffd", text)
            if count and not replace_invalid:
                raise DataError(f"{where}: not valid UTF-8 (a lone surrogate escape). Use --invalid-utf8 replace")
            replaced += count
        documents.append([part for part in (part.strip(_BLANK) for part in text.split("\n")) if part])
    return documents, replaced


def _cut(stream: IO[bytes], layout: str, block_bytes: int) -> Iterator[tuple[bytes, bool, bool]]:
    """Yield (data, begins, ends). A document that does not fit a block gets blocks of its own."""
    pending, inside, empty = b"", False, True
    # Where no cut is found more is read than before, so that a huge line costs time in proportion to its
    # length.
    while chunk := stream.read(max(block_bytes, len(pending))):
        pending += chunk
        cut, ends = _find_cut(pending, layout, inside)
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
            last = _REVERSED_BOUNDARY.search(pending[::-1])
            if last:
                return len(pending) - last.start(), True
    return pending.rfind(b"\n") + 1, layout != "blank-line"


def _layout(source: Source, document: str, stream: IO[bytes]) -> str:
    if source.path.name.lower().removesuffix(".gz").endswith(".jsonl"):
        return "object"
    if document != "auto":
        return document
    head = stream.read(_PROBE_BYTES).removeprefix(b"\xef\xbb\xbf").strip()
    stream.seek(0)
    return "blank-line" if _BOUNDARY.search(head) else "line"


def _walk(folder: Path, leave_out: Path) -> tuple[list[Source], list[str]]:
    paths: list[Path] = []
    left_out: list[str] = []
    label = Path(folder.resolve().name)

    def fail(error: OSError) -> None:
        raise error

    for parent, folders, names in os.walk(folder, onerror=fail):
        for name in list(folders):
            path = Path(parent, name)
            if path.resolve() == leave_out.resolve():
                folders.remove(name)
            elif path.is_symlink():
                left_out.append(f"{label / path.relative_to(folder)} (a link to a folder)")
        for path in (Path(parent, name) for name in names):
            if _supported(path) and path.is_file():
                paths.append(path)
            else:
                left_out.append(str(label / path.relative_to(folder)))
    paths.sort(key=lambda path: path.relative_to(folder).as_posix())
    return [_source(path, (label / path.relative_to(folder)).as_posix()) for path in paths], sorted(left_out)


def _source(path: Path, name: str) -> Source:
    facts = path.stat()
    return Source(path, name, facts.st_size, facts.st_mtime_ns)


def _supported(path: Path) -> bool:
    return path.name.lower().endswith(_SUFFIXES)
