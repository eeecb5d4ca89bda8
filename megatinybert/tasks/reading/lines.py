"""The lines of a task's file, in the encoding that it is said to be in."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

from megatinybert.config.codec import codec_name
from megatinybert.corpus.charset import MARK, contradiction, recognise
from megatinybert.corpus.conversion import free, iconv, in_place, invalid_line, lacking, moved, quoted
from megatinybert.corpus.guess import ENCODING, misread
from megatinybert.corpus.other_kinds import in_disguise
from megatinybert.tasks.reading.layout import Layout

_HEAD_BYTES = 1 << 16
_MARKED = "\udcff"  # what the error handler MARK puts in place of invalid bytes


def lines_of(path: Path, layout: Layout) -> Iterator[tuple[int, str]]:
    """Numbered lines, from 1, without their ends and the file's byte-order mark.

    LF alone ends a line: other separators of Unicode may stand in a text. Raises ValueError, with file and line, where
    the file is not in its encoding, or where CR alone ends its lines.
    """
    encoding = _encoding_of(path, layout)
    with path.open(encoding=encoding, errors=MARK, newline="\n") as file:
        for number, text in enumerate(file, 1):
            if number == 1:
                text = text.removeprefix("\ufeff")
                if "\r" in text.removesuffix("\n").rstrip("\r") and not text.endswith("\n"):
                    remedy = _copied(path, f"tr '\\r' '\\n' < {quoted(path)}", "lf", layout)
                    raise ValueError(f"{path}: its lines end with CR alone: {remedy}")
            if _MARKED in text:
                raise _not_valid(path, number, encoding, layout)
            if "\0" in text:
                raise ValueError(f"{path}:{number}: a byte 0, which is no character of a text: remove it")
            yield number, text.removesuffix("\n")


def _encoding_of(path: Path, layout: Layout) -> str:
    """The codec of a file. Raises ValueError where its first bytes show that it is in another one than is said, or no
    text.
    """
    said = codec_name(layout.encoding)
    head = _head(path)
    if told := in_disguise(path, head, of_rows=True):
        raise ValueError(told)
    encoding, mark = recognise(head, said)
    problem = None if mark else contradiction(head, encoding, layout.names) or misread(head, encoding, layout.names)
    if problem:
        likely = problem.likely
        remedy = _remedy(path, likely, layout, problem.remedy) if likely else problem.remedy
        raise ValueError(f"{path}: {problem.what}: {remedy}")
    return encoding


def _not_valid(path: Path, number: int, encoding: str, layout: Layout) -> ValueError:
    what, found = invalid_line(path, number, encoding)
    return ValueError(f"{what}: {_remedy(path, found, layout) if found else _conversion(path, ENCODING, layout)}")


def _remedy(path: Path, encoding: str, layout: Layout, by_option: str = "") -> str:
    """What to do about a file in another encoding than is said. encoding: a codec or ENCODING."""
    said, option = codec_name(layout.encoding), layout.names["encoding"]
    by_option = by_option or f"use {option} {encoding}"
    others = [other for other in layout.files if other != path and _is_read_otherwise(other, encoding, said)]
    lacks = "" if encoding == ENCODING else lacking(_decoded(_head(path), encoding) or "", said)
    if not others:  # the option holds for all
        return by_option if lacks else f"{by_option}, or {_conversion(path, encoding, layout)}"
    since = f"since {option} holds for {others[0]}, too, which is {said}"
    if not lacks:
        return f"{since}, {_conversion(path, encoding, layout)}"
    also = "" if encoding == "utf-8" else f". And {_conversion(path, encoding, layout, 'utf-8')}"
    return f"{since} and has no {lacks!r}, leave {option} out, and {in_place(others, said, 'utf-8')}{also}"


def _is_read_otherwise(path: Path, encoding: str, said: str) -> bool:
    """Whether a file of the encoding that is said would be another text in `encoding`."""
    head = _head(path)
    text = None if recognise(head, said)[1] else _decoded(head, said)
    if text is None or encoding == ENCODING:
        return text is not None and not head.isascii()
    return text != _decoded(head, encoding)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def _decoded(head: bytes, encoding: str) -> str | None:
    """None where it is not valid, or holds a byte 0, which is refused."""
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeError:
        return None
    return None if "\0" in text else text


def _conversion(path: Path, encoding: str, layout: Layout, form: str = "") -> str:
    """form: the encoding of the copy, "" for the one that is said."""
    form = form or codec_name(layout.encoding)
    return _copied(path, iconv(encoding, form, path), form, layout)


def _copied(path: Path, command: str, form: str, layout: Layout) -> str:
    """How to have what a command makes of a file read instead of it: a task finds its own files by their names, and
    any other one is named by an option.
    """
    if path in layout.files:
        return moved(path, command, form)
    return f"make a copy in {form} and name that: {command} > {quoted(free(path, form))}"
