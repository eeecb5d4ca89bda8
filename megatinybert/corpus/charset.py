"""Byte-order marks, suggested encodings, counted replacements."""

from __future__ import annotations

import codecs

from megatinybert.config.flat import OptionNames

# UTF-32's little-endian mark begins with UTF-16's, so it is looked for first.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SUGGESTED = ("utf-8", "gb18030", "big5", "shift_jis", "euc_jp", "euc_kr")
_ASCII = bytes(range(128))
_CERTAIN_BYTES = 64  # so many bytes beyond ASCII are not valid UTF-8 by chance


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


def contradiction(head: bytes, encoding: str, names: OptionNames) -> str | None:
    """What shows that a file without a mark is not in `encoding`, and what to do, where decoding would not."""
    option = names["encoding"]
    if encoding in ("utf-16", "utf-32"):
        options = f"{option} {encoding}-le or {option} {encoding}-be"
        return f"no byte-order mark says which {encoding} this is: use {options}" if head else None
    if encoding == "utf-8":
        if 4 * head.count(0) > len(head):
            return f"every other byte is 0, as in UTF-16: use {option} utf-16-le or {option} utf-16-be"
    elif len(head.translate(None, _ASCII)) >= _CERTAIN_BYTES and _is_valid(head, "utf-8", final=False):
        return f"not {encoding} but UTF-8: build without {option}, or convert the file"
    return None


def advice(sample: bytes, encoding: str, names: OptionNames) -> str:
    """What to do about bytes that are not valid in `encoding`. sample: whole lines, from the first bad one on."""
    lenient = f"use {names['invalid_utf8']} replace"
    valid = [name for name in _SUGGESTED if name != encoding and _is_valid(sample, name, final=True)]
    if not valid:
        return f"Convert the file, or {lenient}"
    return (
        f"These bytes are valid {' and '.join(valid)}: name what the file is in, as in {names['encoding']} {valid[0]}, "
        f"or {lenient}"
    )


def _is_valid(sample: bytes, encoding: str, final: bool) -> bool:
    """final: the sample ends with a whole character."""
    try:
        codecs.getincrementaldecoder(encoding)().decode(sample, final)
    except UnicodeError:
        return False
    return True
