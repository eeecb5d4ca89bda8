"""Names of encodings."""

from __future__ import annotations

import pytest

from megatinybert.config.codec import codec_name


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("utf-8", "utf-8"),
        ("UTF8", "utf-8"),
        ("utf-8-sig", "utf-8"),
        ("GB18030-2000", "gb18030"),
        ("latin-1", "iso8859-1"),
        ("shift-jis", "shift_jis"),
        ("utf-16", "utf-16"),
        ("iso2022_jp", "iso2022_jp"),  # a codec with a state
    ],
)
def test_a_codec_has_one_name(name: str, codec: str) -> None:
    assert codec_name(name) == codec


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("gb1830", "gb18030"),
        ("big-5", "big5"),
        ("uft-8", "utf-8"),
        ("cp1525", "cp1252 or cp1125 or cp1250"),  # and other code pages as near: the common one first
        ("windows-936", "gbk"),
        ("hex", None),  # bytes to bytes
        ("rot13", None),  # text to text
        ("punycode", None),  # not for text in pieces
        ("idna", None),
        ("undefined", None),
        ("a\0b", None),
        ("", None),
    ],
)
def test_what_is_no_text_codec_is_refused(name: str, nearest: str | None) -> None:
    with pytest.raises(ValueError) as raised:
        codec_name(name)
    hint = f": did you mean {nearest}?" if nearest else ""
    assert str(raised.value) == f"Python has no such text codec{hint}"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ANSI", "Western Europe and America, cp1250 in Central Europe, cp1251 for Cyrillic, gb18030 in China,"),
        ("Unicode", "word for utf-16-le. Name that one; files that begin with a byte-order mark"),
        ("Unicode big endian", "word for utf-16-be."),
        ("UCS-2 LE BOM", "word for utf-16-le."),
        ("UTF-8 with BOM", "word for utf-8."),
    ],
)
def test_what_editors_call_encodings_is_explained(name: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"^Python has no such text codec: it is .*{meant}"):
        codec_name(name)
