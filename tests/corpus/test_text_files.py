"""The files of a text are the same ones to the shards that were made of them, and what differs is said by name."""

from __future__ import annotations

import functools
import gzip
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from megatinybert.config.data import DataConfig
from megatinybert.config.shards import BuildOptions
from megatinybert.corpus import cache
from megatinybert.corpus.cache import shard_text
from megatinybert.corpus.text_files import TextFile, files_of_shards, files_of_text, in_what_they_differ


def test_shards_and_text_tell_the_same_files(toy_inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "BuildOptions", functools.partial(BuildOptions, workers=1))
    folder, more = tmp_path / "texts", tmp_path / "more"
    folder.mkdir()
    more.mkdir()
    texts = [f"w{number % 50} w1 w2\n" for number in range(2000)]
    records = [{"text": text} for text in texts]
    (folder / "a.txt").write_text("".join(texts))
    (folder / "b.txt.gz").write_bytes(gzip.compress("".join(texts).replace("\n", "\r\n").encode("utf-16")))
    (folder / "c.jsonl").write_text("\n".join(map(json.dumps, records)))
    (more / "d.json").write_text(json.dumps(records))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), more / "e.parquet")
    given = DataConfig(text=[str(folder), str(more)], cache=str(tmp_path / "cache"), mixture=[1, 1])
    found = files_of_shards(map(Path, shard_text(given, str(toy_inputs / "teacher"))))
    assert [each.name for each in found] == [
        "texts/a.txt", "texts/b.txt.gz", "texts/c.jsonl", "more/d.json", "more/e.parquet"
    ]  # fmt: skip
    assert files_of_text(given, []) == found
    assert files_of_shards([toy_inputs]) == []  # a Megatron dataset


def test_files_of_many_are_counted_and_of_one_name_told_together() -> None:
    there = [TextFile(f"{number:02}.txt", 1, "a") for number in range(12)]
    before, now = in_what_they_differ(there, [TextFile("00.txt", 2, "b"), TextFile("00.txt", 3, "c")])
    assert list(before)[-1] == "text file 09.txt and 2 more" and len(before) == 10
    assert now == {"text file 00.txt": "2 bytes and 3 bytes"}
    assert in_what_they_differ(there[:2], there[1::-1]) == ({}, {})  # which are the same
    two = [TextFile("a.txt", 1, "a"), TextFile("b.txt", 1, "b")]
    assert in_what_they_differ(two, two[::-1])[0] == {"order of the text files": "a.txt, b.txt"}
