"""What an encoding is told by that decoding would not notice, and replacements that are counted."""

from __future__ import annotations

import codecs

import pytest

from megatinybert.config.flat import OptionNames
from megatinybert.corpus.charset import REPLACE, contradiction, recognise, replacements

NAMES = OptionNames()
POEM = "春眠不觉晓、处处闻啼鸟。夜来风雨声、花落知多少。\n白日依山尽、黄河入海流。欲穷千里目、更上一层楼。\n" * 2


@pytest.mark.parametrize("given", ["utf-8", "gb18030", "utf-16"])
def test_a_mark_has_precedence(given: str) -> None:
    for mark, codec in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ):
        assert recognise(mark + "a".encode(codec), given) == (codec, len(mark))
        assert recognise(mark, given) == (codec, len(mark))
    assert recognise(b"a", given) == (given, 0) == recognise(b"", given)


def test_what_decoding_would_not_notice() -> None:
    assert contradiction(POEM.encode(), "utf-8", NAMES) is None
    assert contradiction(POEM.encode("gb18030"), "gb18030", NAMES) is None
    assert contradiction(b"plain English\n" * 20, "gb18030", NAMES) is None
    # Also valid UTF-8, but so little proves nothing.
    assert contradiction("联通".encode("gbk"), "gbk", NAMES) is None
    assert contradiction(b"", "utf-16", NAMES) is None
    said = contradiction(POEM.encode()[:-1], "gb18030", NAMES)  # cut within a character
    assert said == ("not gb18030 but UTF-8", "utf-8", "leave --encoding out")
    unmarked = contradiction(POEM.encode("utf-16-le"), "utf-16", NAMES)
    assert unmarked and unmarked.likely is None and "--encoding utf-16-le" in unmarked.remedy
    for order in ("utf-16-le", "utf-16-be"):  # English in UTF-16 is valid UTF-8
        said = contradiction("plain English\n".encode(order), "utf-8", NAMES)
        assert said and said.likely == order and said.remedy == f"use --encoding {order}"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("text", [POEM, "plain English\n" * 9, "\n很很很\n"], ids=["Chinese", "English", "short"])
def test_wide_characters_without_a_mark_are_told_by_where_bytes_are_0(encoding: str, text: str) -> None:
    for head in (text.encode(encoding), text.encode(encoding)[:-1]):  # cut within a character
        said = contradiction(head, "utf-8", NAMES)
        assert said and said.likely == encoding and said.remedy == f"use --encoding {encoding}"
    assert contradiction((text + "a stray \0\n" * 2).encode(), "utf-8", NAMES) is None


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    "text",
    [
        "一二三四五六七八九十、今天的天气真好",
        "今天的天气真好" * 9 + "2024年",
        "これは日本語の文章です。 吾輩は猫である。",
        "안녕하세요 세계.",
    ],
)
def test_a_line_without_an_end_is_told_by_its_few_bytes_0(encoding: str, text: str) -> None:
    for given in ("utf-8", "gb18030", "big5", "cp1252"):  # in some of which it is valid, too
        said = contradiction(text.encode(encoding), given, NAMES)
        assert (
            said and said.likely == encoding and said.what == f"it has bytes 0, and is text as {encoding[:-3].upper()}"
        )
    for given in ("gb18030", "utf-8"):
        assert contradiction((POEM + "\0").encode(given), given, NAMES) is None


def test_replacements_are_counted_where_python_makes_them() -> None:
    before = replacements()
    data = b"a\xffb\xc3(" + "\ufffd".encode()  # the last one stands in the text itself
    assert data.decode("utf-8", REPLACE) == data.decode("utf-8", "replace") == "a\ufffdb\ufffd(\ufffd"
    assert replacements() - before == 2
