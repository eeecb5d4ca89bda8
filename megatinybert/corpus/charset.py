"""Which encoding a text is in: names of codecs, byte-order marks, and what to say after a wrong guess."""

from __future__ import annotations

import codecs
import difflib
import encodings.aliases

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


def codec_name(name: str) -> str:
    """Python's own name of a text codec: "gb18030" for "GB18030-2000". "utf-8-sig" is "utf-8", since a mark is
    never text.

    Raises ValueError, naming the nearest one, where there is no such codec or it is not for text in pieces.
    """
    if not _decodes_in_pieces(name):
        known = {*encodings.aliases.aliases.keys(), *encodings.aliases.aliases.values()}
        near = difflib.get_close_matches(name.lower().replace("-", "_"), sorted(known), n=5)
        hint = next((f": did you mean {codec_name(other)}?" for other in near if _decodes_in_pieces(other)), "")
        raise ValueError(f"--encoding {name}: Python has no such text codec{hint}")
    return codecs.lookup(name).name.removesuffix("-sig")


def recognise(head: bytes, encoding: str) -> tuple[str, int]:
    """The encoding of a file that begins with `head`, and the length of its byte-order mark (0: none).

    A mark has precedence over `encoding`, as in browsers.
    """
    for mark, codec in _MARKS:
        if head.startswith(mark):
            return codec, len(mark)
    return encoding, 0


def contradiction(head: bytes, encoding: str) -> str | None:
    """What shows that a file without a mark is not in `encoding`, and what to do, where decoding would not."""
    if encoding in ("utf-16", "utf-32"):
        options = f"--encoding {encoding}-le or --encoding {encoding}-be"
        return f"no byte-order mark says which {encoding} this is: use {options}" if head else None
    if encoding == "utf-8":
        if 4 * head.count(0) > len(head):
            return "every other byte is 0, as in UTF-16: use --encoding utf-16-le or --encoding utf-16-be"
    elif len(head.translate(None, _ASCII)) >= _CERTAIN_BYTES and _is_valid(head, "utf-8", final=False):
        return f"not {encoding} but UTF-8: build without --encoding, or convert the file"
    return None


def advice(sample: bytes, encoding: str) -> str:
    """What to do about bytes that are not valid in `encoding`. sample: whole lines, from the first bad one on."""
    names = [name for name in _SUGGESTED if name != encoding and _is_valid(sample, name, final=True)]
    if not names:
        return "Convert the file, or use --invalid-utf8 replace"
    return (
        f"These bytes are valid {' and '.join(names)}: name what the file is in, as in --encoding {names[0]}, "
        "or use --invalid-utf8 replace"
    )


def _decodes_in_pieces(name: str) -> bool:
    text = 64 * "a" + "\n"  # more than a label of a host name may have, which is what "idna" is for
    try:
        pieces = [bytes([byte]) for byte in text.encode(name)]
        decoder = codecs.getincrementaldecoder(name)()
        return "".join([*map(decoder.decode, pieces), decoder.decode(b"", True)]) == text
    except (LookupError, ValueError):
        return False


def _is_valid(sample: bytes, encoding: str, final: bool) -> bool:
    """final: the sample ends with a whole character."""
    try:
        codecs.getincrementaldecoder(encoding)().decode(sample, final)
    except UnicodeError:
        return False
    return True
