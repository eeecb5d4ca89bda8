"""What is said of bytes that are not in the encoding that they are said to be in."""

from __future__ import annotations

import pickle
from pathlib import Path

from megatinybert.config.flat import OptionNames
from megatinybert.corpus.sources import DataError
from megatinybert.corpus.wrong_encoding import invalid, invalid_in_table

NAMES = OptionNames()
POEM = "春眠不觉晓、处处闻啼鸟。夜来风雨声、花落知多少。\n白日依山尽、黄河入海流。欲穷千里目、更上一层楼。\n" * 2


def told(sample: bytes, said: str = "utf-8") -> str:
    message = str(invalid(Path("a.txt"), ", line 1", sample[0], sample, said, NAMES))
    begin = f"a.txt, line 1: not valid {'UTF-8' if said == 'utf-8' else said} (byte 0x{sample[0]:02x}). "
    assert message.startswith(begin)
    return message.removeprefix(begin)


def test_what_the_bytes_may_be_is_named_with_the_ways_out() -> None:
    """And that the option holds for all files: where one of several is in another encoding, it leads nowhere."""
    ways = (
        "if all files are, use --encoding {0}; to lose these characters, use --invalid-utf8 replace; otherwise put a "
        "copy in {1} into its place: iconv -f {0} -t {1} a.txt > a.{1}.txt && mv a.{1}.txt a.txt"
    )
    assert told(POEM.encode("gb18030")) == f"These bytes are valid gb18030: {ways.format('gb18030', 'utf-8')}"
    assert f"valid utf-8: {ways.format('utf-8', 'gb18030')}" in told(POEM.encode(), "gb18030")
    chinese = "這是繁體中文的檔案、內容很長。\n" * 2
    known = "These bytes are valid big5 and gb18030; by how common their characters are, this is big5"
    assert told(chinese.encode("big5")) == f"{known}: {ways.format('big5', 'utf-8')}"
    french = "un café, «oui», ça va: où, à côté?\n" * 3
    known = "These bytes are valid cp1252, in which they read 'caf\u00e9, «oui», ça'"
    assert told(french.encode("cp1252")) == f"{known}: {ways.format('cp1252', 'utf-8')}"
    assert told(b"\xff\xff \xff\n") == "Convert the file, or use --invalid-utf8 replace"


def test_a_person_chooses_by_what_few_bytes_read() -> None:
    message = told("檔案\n".encode("big5"))
    assert message.startswith("These bytes read '檔案' in big5 and ") and " in gb18030" in message
    assert "; take the one that is right for ENCODING: if all files are, use --encoding ENCODING; " in message
    assert message.endswith("iconv -f ENCODING -t utf-8 a.txt > a.utf-8.txt && mv a.utf-8.txt a.txt")


def test_where_no_copy_can_hold_the_characters_the_others_are_converted() -> None:
    message = told(POEM.encode("gb18030"), "ascii")
    ways = "otherwise leave --encoding out and, since ascii has no '春', convert those that are ascii to utf-8: iconv "
    assert f"{ways}-f ascii -t utf-8 FILE > COPY. Of this one, put a copy in utf-8 into its place: iconv" in message
    assert "-t ascii" not in message
    few = told("檔案\n".encode("big5"), "ascii")
    assert "since ascii has no '檔', convert" in few and "iconv -f ENCODING -t utf-8 a.txt" in few


def test_workers_hand_it_over() -> None:
    error = invalid(Path("a.txt"), ", line 1", 0xB4, POEM.encode("gb18030"), "utf-8", NAMES)
    other = pickle.loads(pickle.dumps(error))
    assert (str(other), other.kind) == (str(error), error.kind) and isinstance(other, DataError)


def test_a_table_has_no_option() -> None:
    said = "not valid UTF-8 (byte 0xb4). These bytes are valid gb18030: convert the table's texts, or use "
    assert invalid_in_table(0xB4, POEM.encode("gb18030"), NAMES) == f"{said}--invalid-utf8 replace"
