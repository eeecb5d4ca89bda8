"""Files that are not in the encoding that they are said to be in: what to say of one, and of several at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from megatinybert.config.flat import OptionNames
from megatinybert.corpus.charset import Contradiction, iconv_name
from megatinybert.corpus.conversion import in_place, lacking, packing_of
from megatinybert.corpus.guess import guess, in_words
from megatinybert.corpus.sources import DataError
from megatinybert.runtime.counts import some_of

_NAMED = 5  # files of one message; its command has all of them


@dataclass(frozen=True)
class Remedy:
    """What to do about bytes that are not in the encoding `said`.

    valid: codecs that they may be in. known: what is known of them, as a sentence, or "". encoding: what theirs is
    called in commands, None where that is not known. by_option: how they can be read, where all files are like them.
    lost: how else, without their characters; "" where no option does that. lacks: a character of theirs that `said` has
    not, or "". option: that of the encoding.
    """

    valid: tuple[str, ...]
    known: str
    encoding: str | None
    said: str
    by_option: str
    lost: str
    lacks: str
    option: str

    def words(self, paths: Sequence[Path], are_all: bool = False) -> str:
        """For files that have it. are_all: whether the text has no others."""
        if self.encoding is None:
            return f"Convert the {'file' if len(paths) == 1 else 'files'}, or {self.lost}"
        ways = [self.by_option if are_all else f"if all files are, {self.by_option}"]
        ways += [f"to lose these characters, {self.lost}"] if self.lost else []
        if not (self.lacks and are_all):
            copies = self._into_utf_8(paths) if self.lacks else in_place(paths, self.encoding, self.said)
            ways.append(f"{'or' if are_all else 'otherwise'} {copies}")
        return f"{self.known}: {'; '.join(ways)}"

    def _into_utf_8(self, paths: Sequence[Path]) -> str:
        """What to do where only that can hold all of the text."""
        command = f"iconv -f {iconv_name(self.said)} -t utf-8 FILE > COPY"
        others = f"since {self.said} has no {self.lacks!r}, convert those that are {self.said} to utf-8: {command}"
        leave = f"leave {self.option} out and, {others}"
        if self.encoding is None or self.encoding == "utf-8":
            return leave
        these = "this one" if len(paths) == 1 else "these"
        return f"{leave}. Of {these}, {in_place(paths, self.encoding, 'utf-8')}"


class WrongEncoding(DataError):
    """One such file. what: shows it. place: where, as a message says it after the path, or ""."""

    def __init__(self, path: Path, place: str, what: str, remedy: Remedy) -> None:
        super().__init__(path, place, what, remedy)  # by which workers hand it over
        self.path, self.place, self.what, self.remedy = path, place, what, remedy

    def __str__(self) -> str:
        return together([self])

    @property
    def kind(self) -> tuple[object, ...]:
        """The same of files that are told together."""
        remedy = self.remedy
        return remedy.valid, remedy.encoding, remedy.lost, bool(remedy.lacks), packing_of(self.path)


def together(found: Sequence[WrongEncoding], are_all: bool = False) -> str:
    """What to say of files of one kind. are_all: whether the text has no others."""
    first, paths = found[0], [each.path for each in found]
    begin = f"{first.path}{first.place}: {first.what}"
    if len(found) > 1:
        where = f", in{first.place.removeprefix(',')} of the first" if first.place else ""
        begin = f"{some_of(paths, _NAMED)}: {first.what}{where}"
    known = bool(first.remedy.known) or first.remedy.encoding is None
    return f"{begin}{'. ' if known else ''}{first.remedy.words(paths, are_all)}"


def invalid(path: Path, place: str, byte: int, sample: bytes, said: str, names: OptionNames) -> WrongEncoding:
    """Of a file with a byte that is not valid in `said`. sample: whole lines, from that with the byte on."""
    found = guess(sample, said)
    known, encoding = in_words(found, sample)
    text = sample.decode(found.valid[0]) if found.valid else ""
    by_option, lost = f"use {names['encoding']} {encoding}", f"use {names['invalid_utf8']} replace"
    remedy = Remedy(tuple(found.valid), known, encoding, said, by_option, lost, lacking(text, said), names["encoding"])
    shown = "UTF-8" if said == "utf-8" else said
    return WrongEncoding(path, place, f"not valid {shown} (byte 0x{byte:02x})", remedy)


def invalid_in_table(byte: int, sample: bytes, names: OptionNames) -> str:
    """The same of a table's row, which no option says the encoding of, after the name of the row."""
    known, _ = in_words(guess(sample, "utf-8"), sample)
    convert = f"{known}: convert" if known else "Convert"
    return f"not valid UTF-8 (byte 0x{byte:02x}). {convert} the table's texts, or use {names['invalid_utf8']} replace"


def contradicted(path: Path, found: Contradiction, head: bytes, said: str, names: OptionNames) -> DataError:
    """Of a file that its first bytes, `head`, show not to be in `said`."""
    if found.likely is None:
        return DataError(f"{path}: {found.what}: {found.remedy}")
    lacks = lacking(head.decode(found.likely, "ignore"), said)
    remedy = Remedy((), "", found.likely, said, found.remedy, "", lacks, names["encoding"])
    return WrongEncoding(path, "", found.what, remedy)
