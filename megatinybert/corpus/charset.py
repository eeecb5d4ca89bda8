"""Byte-order marks, encodings that decoding would not notice, counted replacements."""

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
ASCII = bytes(range(128))
_LAST_PLANE = 3  # of characters in use, but for a few that have no shape
CERTAIN_BYTES = 64  # so many bytes beyond ASCII are not valid UTF-8 by chance
# Latin, Greek, Cyrillic, Hebrew, Arabic, punctuation, kana, ideographs, Hangul, full-width forms. Of ideographs in the
# other byte order about half are among these.
_WRITTEN = re.compile(
    r"[\t\n\r -~\u00a0-\u024f\u0370-\u052f\u0590-\u06ff\u2000-\u206f\u3000-\u30ff"
    r"\u4e00-\u9fff\uac00-\ud7a3\uff00-\uffef]"
)
_MOSTLY_WRITTEN = 0.9
_WITH_ZERO = re.compile(r"[\t\n\r -~\u4e00]")  # characters that have a byte 0 in UTF-16, the frequent ones


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
    likely, what = _by_zeros(head) if b"\0" in head and not encoding.startswith(("utf-16", "utf-32")) else ("", "")
    if likely:
        return Contradiction(what, likely, f"use {option} {likely}")
    beyond = len(head.translate(None, ASCII)) if encoding != "utf-8" else 0
    if beyond >= CERTAIN_BYTES and _decoded(head, "utf-8") is not None:
        return Contradiction(f"not {encoding} but UTF-8", "utf-8", f"leave {option} out")
    return None


def _by_zeros(head: bytes) -> tuple[str, str]:
    """(UTF-16 or UTF-32 of one byte order, by where bytes are 0; what shows it); ("", "") where it is neither."""
    for codec, zeros, planes in (("utf-32-le", head[3::4], head[2::4]), ("utf-32-be", head[::4], head[1::4])):
        if zeros and not zeros.strip(b"\0") and max(planes) <= _LAST_PLANE:
            return codec, "every fourth byte is 0, as in UTF-32"
    if 4 * head.count(0) > len(head):
        likely = "utf-16-be" if head[::2].count(0) > head[1::2].count(0) else "utf-16-le"
        return likely, "every other byte is 0, as in UTF-16"
    if _decoded(head, "utf-8") is None:  # East Asian, say, of which hardly any bytes but those of ASCII are 0
        shares = {
            codec: _share_written(_decoded(head, codec) or "", head.count(0)) for codec in ("utf-16-le", "utf-16-be")
        }
        likely = max(shares, key=lambda codec: shares[codec])
        if shares[likely] >= _MOSTLY_WRITTEN and len(set(shares.values())) > 1:
            return likely, f"it has bytes 0, and is text as {likely[:-3].upper()}"
    return "", ""


def _share_written(text: str, zeros: int) -> float:
    """The share of characters that are of scripts in common use; 0 where few of the bytes 0 are of frequent ones."""
    if 2 * len(_WITH_ZERO.findall(text)) < zeros:
        return 0.0
    return len(_WRITTEN.findall(text)) / max(len(text), 1)


def iconv_name(encoding: str) -> str:
    """A codec of Python's as iconv spells it: EUC-JP, UTF-16LE."""
    return encoding.replace("_", "-").replace("-le", "le").replace("-be", "be")


def _decoded(head: bytes, encoding: str) -> str | None:
    """The text of bytes that may end within a character; None where they are not valid."""
    try:
        return codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeError:
        return None
