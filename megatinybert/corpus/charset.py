"""Byte-order marks, suggested encodings, counted replacements."""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

from megatinybert.config.flat import OptionNames

# UTF-32's little-endian mark begins with UTF-16's, so it is looked for first.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
MARK_BYTES = 4  # of the longest one
_SUGGESTED = ("utf-8", "gb18030", "big5", "shift_jis", "euc_jp", "euc_kr")
_WESTERN = "cp1252"
_ALONE = re.compile(rb"(?<![\x80-\xff])[\x80-\xff](?![\x80-\xff])")
_MOSTLY = 0.8  # of the bytes beyond ASCII stand alone in a western text, and hardly any in East Asian ones
ASCII = bytes(range(128))
CERTAIN_BYTES = 64  # so many bytes beyond ASCII are not valid UTF-8 by chance


REPLACE = "megatinybert.replace"  # a name for the `errors` of a decoder


class _CountedReplacement:
    """Puts U+FFFD in place of invalid bytes, as Python's "replace" does, and counts how often."""

    count = 0

    def __call__(self, error: UnicodeError) -> tuple[str | bytes, int]:
        self.count += 1
        return codecs.replace_errors(error)


def _marked(error: UnicodeError) -> tuple[str | bytes, int]:
    return "\udcff", codecs.replace_errors(error)[1]


# Error handlers belong to the process, so their count does too.
_replacement = _CountedReplacement()
codecs.register_error(REPLACE, _replacement)
MARK = "megatinybert.mark"  # half of a surrogate pair for invalid bytes, which UTF-8 cannot have
codecs.register_error(MARK, _marked)


def replacements() -> int:
    """How many characters decoders with REPLACE have replaced in this process so far."""
    return _replacement.count


def recognise(head: bytes, encoding: str) -> tuple[str, int]:
    """The encoding of a file that begins with `head`, and the length of its byte-order mark (0: none).

    A mark has precedence over `encoding`, as in browsers.
    """
    for mark, codec in _MARKS:
        if head.startswith(mark):
            return codec, len(mark)
    return encoding, 0


class Contradiction(NamedTuple):
    """what: shows that a file is in another encoding. likely: that one, None where it is unknown. remedy: in words."""

    what: str
    likely: str | None
    remedy: str


def contradiction(head: bytes, encoding: str, names: OptionNames) -> Contradiction | None:
    """What shows that a file without a mark is not in `encoding`, where decoding would not."""
    option = names["encoding"]
    if encoding in ("utf-16", "utf-32"):
        what = f"no byte-order mark says which {encoding} this is"
        return Contradiction(what, None, f"use {option} {encoding}-le or {option} {encoding}-be") if head else None
    if encoding == "utf-8":
        if 4 * head.count(0) > len(head):
            likely = "utf-16-be" if head[::2].count(0) > head[1::2].count(0) else "utf-16-le"
            return Contradiction("every other byte is 0, as in UTF-16", likely, f"use {option} {likely}")
    elif len(head.translate(None, ASCII)) >= CERTAIN_BYTES and _is_valid(head, "utf-8", final=False):
        return Contradiction(f"not {encoding} but UTF-8", "utf-8", f"leave {option} out")
    return None


def suggestions(sample: bytes, encoding: str) -> list[str]:
    """Codecs that bytes may be in which are not valid in `encoding`, the likeliest first. sample: whole lines."""
    valid = [name for name in _SUGGESTED if name != encoding and _is_valid(sample, name, final=True)]
    if "utf-8" not in valid and encoding != _WESTERN and _is_western(sample):
        return [_WESTERN]
    return valid


def iconv_name(encoding: str) -> str:
    """A codec of Python's as iconv spells it: EUC-JP, UTF-16LE."""
    return encoding.replace("_", "-").replace("-le", "le").replace("-be", "be")


def _is_western(sample: bytes) -> bool:
    """Whether it looks like a text of Western Europe: its accents stand among ASCII."""
    beyond = len(sample.translate(None, ASCII))
    return beyond > 0 and len(_ALONE.findall(sample)) >= _MOSTLY * beyond and _is_valid(sample, _WESTERN, final=True)


def _is_valid(sample: bytes, encoding: str, final: bool) -> bool:
    """final: the sample ends with a whole character."""
    try:
        codecs.getincrementaldecoder(encoding)().decode(sample, final)
    except UnicodeError:
        return False
    return True
