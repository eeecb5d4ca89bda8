"""A text is searched as a run's own text is read."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from megatinybert.programs.search_text import read_text

CHINESE = "春眠不觉晓、处处闻啼鸟。\n夜来风雨声、花落知多少。\n\n很好看、我们大家都很喜欢看这部电影\n"


def read(file: Path, **data: str) -> str:
    return read_text("--text", file, data)


def test_text_in_the_runs_encoding_or_in_utf_8_or_with_a_mark(tmp_path: Path) -> None:
    for name in ("a.txt", "a.md", "a"):
        file = tmp_path / name
        file.write_bytes(CHINESE.encode("gb18030"))
        assert read(file, encoding="gb18030") == CHINESE
        for encoding in ("utf-8", "utf-8-sig", "utf-16"):
            file.write_bytes(CHINESE.encode(encoding))
            assert read(file) == read(file, encoding="GB18030") == CHINESE
    packed = tmp_path / "a.txt.gz"
    packed.write_bytes(gzip.compress(CHINESE.encode("gb18030")))
    assert read(packed, encoding="gb18030") == CHINESE


def test_records_are_documents(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps({"body": text}) + "\n" for text in ("one\ntwo", "three")))
    assert read(file, text_key="body") == "one\ntwo\n\nthree"
    with pytest.raises(ValueError, match=r"no key 'text' \(keys: 'body'\). Name .* with data.text_key of the run's"):
        read(file)


def test_what_cannot_be_read_is_told_with_what_converts_it(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    for encoding, told in (
        ("gb18030", r"a.txt:1: not valid UTF-8 .* -f gb18030 -t utf-8 "),
        ("utf-16-le", r"a.txt: .* put a copy in utf-8 into its place: iconv -f utf-16le -t utf-8 "),
    ):
        file.write_bytes(CHINESE.encode(encoding))
        for data in ({}, {"encoding": "euc_kr"}):
            with pytest.raises(ValueError, match=f"^--text .*{told}"):
                read(file, **data)
    for missing in (tmp_path / "b.txt", tmp_path / "b.jsonl"):
        with pytest.raises(ValueError, match=f"^--text {missing}: No such file or directory$"):
            read(missing)
