"""Commands that put a file into another encoding, to be pasted as they are printed."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from itertools import chain, count, islice
from pathlib import Path

from megatinybert.corpus.charset import MARK_BYTES, iconv_name, recognise
from megatinybert.corpus.guess import ENCODING, guess, in_words

SAMPLED_LINES = 64  # by which the encoding of a file is guessed
_UNPACKED = {".gz": "gzip -dc", ".zst": "zstd -dc", ".bz2": "bzip2 -dc", ".xz": "xz -dc"}
_PACKED = {".gz": "gzip", ".zst": "zstd -q --rm", ".bz2": "bzip2", ".xz": "xz"}  # which put a file's packed form beside


def in_place(paths: Sequence[Path], encoding: str, said: str) -> str:
    """How to convert files such that their names are those of copies in the encoding `said`.

    paths: all of one compression, or none. encoding: a codec, or a word in its place. What fails leaves the file as it
    is.
    """
    if len(paths) > 1:
        return _all_in_place(paths, encoding, said)
    (path,) = paths
    suffix = packing_of(path)
    if not suffix:
        return moved(path, iconv(encoding, said, path), said)
    plain = free(path.with_suffix(""), said, suffix)
    command = f"{_UNPACKED[suffix]} < {quoted(path)} | iconv -f {iconv_name(encoding)} -t {iconv_name(said)}"
    packed = quoted(plain.with_name(plain.name + suffix))
    steps = f"{command} > {quoted(plain)} && {_PACKED[suffix]} {quoted(plain)} && mv {packed} {quoted(path)}"
    return f"put a copy in {said} into its place: {steps}"


def _all_in_place(paths: Sequence[Path], encoding: str, said: str) -> str:
    """Their copies have names of no kind of text, in case the command is interrupted."""
    packing = packing_of(paths[0])
    names = chain([said], (f"{said}-{number}" for number in count(2)))
    end = next(name for name in names if not any(_is_there(path, f".{name}", packing) for path in paths))
    copy, convert = f'"$f.{end}"', f"iconv -f {iconv_name(encoding)} -t {iconv_name(said)}"
    if packing:
        packed, pack = f'"$f.{end}{packing}"', _PACKED[packing].split()[0]
        steps = f'{_UNPACKED[packing]} < "$f" | {convert} > {copy} && {pack} -c < {copy} > {packed}'
        steps += f' && mv {packed} "$f" && rm {copy}'
    else:
        steps = f'{convert} "$f" > {copy} && mv {copy} "$f"'
    return f"put copies in {said} into their places: for f in {' '.join(map(quoted, paths))}; do {steps}; done"


def packing_of(path: Path) -> str:
    """The suffix of a file's compression; "" of none."""
    suffix = path.suffix.lower()
    return suffix if suffix in _UNPACKED else ""


def _is_there(path: Path, *ends: str) -> bool:
    """Whether there is a file of a longer name: of the first of these ends, or of all."""
    return any(path.with_name(path.name + end).exists() for end in (ends[0], "".join(ends)))


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


def invalid_line(path: Path, number: int, encoding: str) -> tuple[str, str | None]:
    """(What to say of a line, from 1, that is not valid in `encoding`; what the encoding that it may be in is called in
    commands, if any is known).
    """
    with path.open("rb") as file:
        lines = list(islice(file, number - 1, number - 1 + SAMPLED_LINES))
    byte = ""
    try:
        b"".join(lines[:1]).decode(encoding)
    except UnicodeDecodeError as error:
        byte = f" (byte 0x{error.object[error.start]:02x})"
    sample = b"".join(lines)
    known, name = in_words(guess(sample, encoding), sample)
    what = f"{path}:{number}: not valid {'UTF-8' if encoding == 'utf-8' else encoding}{byte}"
    return f"{what}. {known}" if known else what, name


def not_utf8(path: Path, number: int) -> str:
    """What to say of a file that has to be text in UTF-8, and whose line `number` is not."""
    unpack = _UNPACKED.get(path.suffix.lower())
    if unpack:
        return f"{path}: a compressed file: unpack it: {unpack} < {quoted(path)} > {quoted(path.with_suffix(''))}"
    with path.open("rb") as file:
        marked, _ = recognise(file.read(MARK_BYTES), "utf-8")
    if marked != "utf-8":
        family = family_of(marked)
        return f"{path}:1: {family.upper()}, not UTF-8: {in_place([path], family, 'utf-8')}"
    what, name = invalid_line(path, number, "utf-8")
    return f"{what}: {in_place([path], name or ENCODING, 'utf-8')}"


def lacking(text: str, encoding: str) -> str:
    """The first character of a text that an encoding has not; "" where it has all."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError as error:
        return text[error.start]
    return ""


def family_of(codec: str) -> str:
    """UTF-16 or UTF-32 of either byte order, as of a file whose mark says which: utf-16."""
    return codec.removesuffix("-le").removesuffix("-be")
