"""Commands that put a file into another encoding, to be pasted as they are printed."""

from __future__ import annotations

import shlex
from itertools import chain, count, islice
from pathlib import Path

from megatinybert.config.flat import OptionNames
from megatinybert.corpus.charset import MARK_BYTES, Contradiction, iconv_name, recognise, suggestions

SAMPLED_LINES = 64  # by which the encoding of a file is guessed
_UNPACKED = {".gz": "gzip -dc", ".zst": "zstd -dc", ".bz2": "bzip2 -dc", ".xz": "xz -dc"}
_PACKED = {".gz": "gzip", ".zst": "zstd -q --rm", ".bz2": "bzip2", ".xz": "xz"}  # which put a file's packed form beside


def advice(sample: bytes, encoding: str, names: OptionNames, path: Path | None) -> str:
    """What to do about bytes of a corpus that are not valid in `encoding`. sample: whole lines, from the first bad one
    on. The option holds for all files, of which this one may be the only one of its kind. path: None of a table, whose
    texts are no text file.
    """
    valid, replace = suggestions(sample, encoding), f"use {names['invalid_utf8']} replace"
    known = f"These bytes are valid {' and '.join(valid)}: " if valid else ""
    if not valid or path is None:
        what = "file" if path else "table's texts"
        return f"{known}{'convert' if known else 'Convert'} the {what}, or {replace}"
    of_all = f"if all files are, use {names['encoding']} {valid[0]}; to lose these characters, {replace}; otherwise "
    return known + of_all + in_place(path, valid[0], encoding)


def contradicted(path: Path, problem: Contradiction, encoding: str) -> str:
    """What to say of a file of a corpus that its first bytes show not to be in `encoding`."""
    if problem.likely is None:
        return f"{path}: {problem.what}: {problem.remedy}"
    otherwise = in_place(path, problem.likely, encoding)
    return f"{path}: {problem.what}: if all files are, {problem.remedy}; otherwise {otherwise}"


def in_place(path: Path, encoding: str, said: str) -> str:
    """How to convert a file, compressed or not, such that the same name is that of a copy in the encoding `said`.

    encoding: a codec, or a word in its place. What fails leaves the file as it is.
    """
    suffix = path.suffix.lower()
    if suffix not in _UNPACKED:
        return moved(path, iconv(encoding, said, path), said)
    plain = free(path.with_suffix(""), said, suffix)
    command = f"{_UNPACKED[suffix]} < {quoted(path)} | iconv -f {iconv_name(encoding)} -t {iconv_name(said)}"
    packed = quoted(plain.with_name(plain.name + suffix))
    steps = f"{command} > {quoted(plain)} && {_PACKED[suffix]} {quoted(plain)} && mv {packed} {quoted(path)}"
    return f"put a copy in {said} into its place: {steps}"


def iconv(encoding: str, said: str, path: Path) -> str:
    return f"iconv -f {iconv_name(encoding)} -t {iconv_name(said)} {quoted(path)}"


def moved(path: Path, command: str, form: str) -> str:
    """How to have what a command makes of a file read under its name."""
    copy = quoted(free(path, form))
    return f"put a copy in {form} into its place: {command} > {copy} && mv {copy} {quoted(path)}"


def free(path: Path, what: str, packing: str = "") -> Path:
    """Where a converted copy can stand: beside the file, with its suffix, under a name that nothing has. packing: a
    suffix with which it has to be free as well.
    """
    names = chain([what], (f"{what}-{number}" for number in count(2)))
    copies = (path.with_name(f"{path.stem}.{name}{path.suffix}") for name in names)
    return next(copy for copy in copies if not (copy.exists() or copy.with_name(copy.name + packing).exists()))


def quoted(path: Path) -> str:
    """As a shell has to have it."""
    return shlex.quote(str(path))


def invalid_line(path: Path, number: int, encoding: str) -> tuple[str, list[str]]:
    """(What to say of a line, from 1, that is not valid in `encoding`; the codecs that it may be in, the likeliest
    first).
    """
    with path.open("rb") as file:
        lines = list(islice(file, number - 1, number - 1 + SAMPLED_LINES))
    byte = ""
    try:
        b"".join(lines[:1]).decode(encoding)
    except UnicodeDecodeError as error:
        byte = f" (byte 0x{error.object[error.start]:02x})"
    valid = suggestions(b"".join(lines), encoding)
    known = f". These bytes are valid {' and '.join(valid)}" if valid else ""
    return f"{path}:{number}: not valid {'UTF-8' if encoding == 'utf-8' else encoding}{byte}{known}", valid


def not_utf8(path: Path, number: int) -> str:
    """What to say of a file that has to be text in UTF-8, and whose line `number` is not."""
    unpack = _UNPACKED.get(path.suffix.lower())
    if unpack:
        return f"{path}: a compressed file: unpack it: {unpack} < {quoted(path)} > {quoted(path.with_suffix(''))}"
    with path.open("rb") as file:
        marked, _ = recognise(file.read(MARK_BYTES), "utf-8")
    if marked != "utf-8":
        family = family_of(marked)
        return f"{path}:1: {family.upper()}, not UTF-8: {in_place(path, family, 'utf-8')}"
    what, valid = invalid_line(path, number, "utf-8")
    return f"{what}: {in_place(path, valid[0] if valid else 'ENCODING', 'utf-8')}"


def family_of(codec: str) -> str:
    """UTF-16 or UTF-32 of either byte order, as of a file whose mark says which: utf-16."""
    return codec.removesuffix("-le").removesuffix("-be")
