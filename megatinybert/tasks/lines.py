"""The lines of a task's file, in the encoding that it is said to be in."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

from megatinybert.config.codec import codec_name
from megatinybert.corpus.charset import MARK, contradiction, recognise
from megatinybert.corpus.conversion import family_of, free, iconv, invalid_line, moved, quoted
from megatinybert.tasks.layout import Layout

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
                raise ValueError(f"{path}:{number}: a byte 0, as in UTF-16: {_remedy(path, 'utf-16-le', layout)}")
            yield number, text.removesuffix("\n")


def _encoding_of(path: Path, layout: Layout) -> str:
    """The codec of a file. Raises ValueError where its first bytes show that it is in another one than is said."""
    said = codec_name(layout.encoding)
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    encoding, mark = recognise(head, said)
    if said == "utf-8" and encoding != said:
        family = family_of(encoding)
        raise ValueError(f"{path}:1: {family.upper()}, not UTF-8: {_remedy(path, family, layout)}")
    problem = None if mark else contradiction(head, encoding, layout.names)
    if problem:
        remedy = problem.remedy
        if problem.likely:
            alone = _conversion_alone(path, problem.likely, layout)
            remedy = alone or f"{remedy}, or {_conversion(path, problem.likely, layout)}"
        raise ValueError(f"{path}: {problem.what}: {remedy}")
    return encoding


def _not_valid(path: Path, number: int, encoding: str, layout: Layout) -> ValueError:
    what, valid = invalid_line(path, number, encoding)
    return ValueError(f"{what}: {_remedy(path, valid[0], layout) if valid else _conversion(path, 'ENCODING', layout)}")


def _remedy(path: Path, encoding: str, layout: Layout) -> str:
    """What to do about a file in another encoding than is said."""
    either = f"use {layout.names['encoding']} {encoding}, or {_conversion(path, encoding, layout)}"
    return _conversion_alone(path, encoding, layout) or either


def _conversion_alone(path: Path, encoding: str, layout: Layout) -> str | None:
    """What to do where the option cannot name the encoding, since another file of the task would be read otherwise."""
    said = codec_name(layout.encoding)
    for other in layout.files:
        if other == path:
            continue
        with other.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        text = None if recognise(head, said)[1] else _decoded(head, said)
        if text is not None and text != _decoded(head, encoding):
            since = f"since {layout.names['encoding']} holds for {other}, too, which is {said}"
            return f"{since}, {_conversion(path, encoding, layout)}"
    return None


def _decoded(head: bytes, encoding: str) -> str | None:
    """None where it is not valid, or holds what is refused as a sign of UTF-16."""
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeError:
        return None
    return None if "\0" in text else text


def _conversion(path: Path, encoding: str, layout: Layout) -> str:
    said = codec_name(layout.encoding)
    return _copied(path, iconv(encoding, said, path), said, layout)


def _copied(path: Path, command: str, form: str, layout: Layout) -> str:
    """How to have what a command makes of a file read instead of it: a task finds its own files by their names, and
    any other one is named by an option.
    """
    if path in layout.files:
        return moved(path, command, form)
    return f"make a copy in {form} and name that: {command} > {quoted(free(path, form))}"
