"""Names of text encodings."""

from __future__ import annotations

import codecs
import difflib
import encodings.aliases
from typing import Annotated

from pydantic import AfterValidator


def codec_name(name: str) -> str:
    """Python's own name of a text codec: "gb18030" for "GB18030-2000". "utf-8-sig" is "utf-8", since a mark is
    never text.

    Raises ValueError, naming the nearest one, where there is no such codec or it is not for text in pieces.
    """
    if not _decodes_in_pieces(name):
        known = {*encodings.aliases.aliases.keys(), *encodings.aliases.aliases.values()}
        near = difflib.get_close_matches(name.lower().replace("-", "_"), sorted(known), n=5)
        hint = next((f": did you mean {codec_name(other)}?" for other in near if _decodes_in_pieces(other)), "")
        raise ValueError(f"Python has no such text codec{hint}")
    return codecs.lookup(name).name.removesuffix("-sig")


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
