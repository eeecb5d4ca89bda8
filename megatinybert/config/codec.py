"""Names of text encodings."""

from __future__ import annotations

import codecs
import difflib
import encodings.aliases
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator

_COMMON = ("utf-8", "gb18030", "gbk", "big5", "shift_jis", "euc_jp", "euc_kr", "cp1252", "iso8859-1")
_ALIKE, _SHOWN = 0.6, 3
_WORD = "it is an editor's word for {}. Name that one; files that begin with a byte-order mark need none"
# What editors call encodings, by letters and digits alone.
_OF_EDITORS = {
    **dict.fromkeys(
        ("ansi", "mbcs"),
        "it is Windows' word for the encoding of its language. Name that one: cp1252 in Western Europe and America, "
        "cp1250 in Central Europe, cp1251 for Cyrillic, gb18030 in China, cp950 in Taiwan and Hong Kong, cp932 in "
        "Japan, cp949 in Korea",
    ),
    **dict.fromkeys(("unicode", "ucs2", "ucs2le", "ucs2lebom"), _WORD.format("utf-16-le")),
    **dict.fromkeys(("unicodebigendian", "ucs2be", "ucs2bebom"), _WORD.format("utf-16-be")),
    "utf8withbom": _WORD.format("utf-8"),
}


def codec_name(name: str) -> str:
    """Python's own name of a text codec: "gb18030" for "GB18030-2000". "utf-8-sig" is "utf-8", since a mark is
    never text.

    Raises ValueError, naming the nearest one, where there is no such codec or it is not for text in pieces.
    """
    if not _decodes_in_pieces(name):
        if meant := _OF_EDITORS.get("".join(filter(str.isalnum, name)).lower()):
            raise ValueError(f"Python has no such text codec: {meant}")
        known = {*encodings.aliases.aliases.keys(), *encodings.aliases.aliases.values()}
        written = name.lower().replace("-", "_").replace("windows_", "cp")
        near = _nearest(written, filter(_decodes_in_pieces, known))
        hint = f": did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"Python has no such text codec{hint}")
    return codecs.lookup(name).name.removesuffix("-sig")


def _nearest(name: str, known: Iterable[str]) -> list[str]:
    """The codecs whose names are most like one, all equally, at most three of them: common ones first."""
    alike = {other: difflib.SequenceMatcher(None, other, name).ratio() for other in known}
    best = max(alike.values())
    names = {codec_name(other) for other, ratio in alike.items() if ratio == best >= _ALIKE}
    return sorted(names, key=lambda codec: (codec not in _COMMON, codec))[:_SHOWN]


def _decodes_in_pieces(name: str) -> bool:
    text = 64 * "a" + "\n"  # more than a label of a host name may have, which is what "idna" is for
    try:
        pieces = [bytes([byte]) for byte in text.encode(name)]
        decoder = codecs.getincrementaldecoder(name)()
        return "".join([*map(decoder.decode, pieces), decoder.decode(b"", True)]) == text
    except (LookupError, ValueError):
        return False


def _known(name: str) -> str:
    codec_name(name)
    return name


Encoding = Annotated[str, AfterValidator(_known)]
