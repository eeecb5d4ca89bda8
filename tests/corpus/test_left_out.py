"""Records that cannot be read are left out, listed, and limited."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from megatinybert.config.flat import OptionNames
from megatinybert.corpus.build import BuildReport
from megatinybert.corpus.describe import build_summary
from megatinybert.corpus.sources import DataError
from tests.helpers.texts import contents, start, stored, wait_for_progress

Build = Callable[..., BuildReport]
EVERY_BLOCK: dict[str, object] = {"block_bytes": 200, "commit_seconds": 0.0}


def listed(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "left_out.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("name", "data", "where", "reason"),
    [
        ("a.jsonl", b'{"text": "bird"}\n{"text": \n{"text": "stone"}\n', {"line": 2}, "not valid JSON ("),
        ("a.jsonl", b'{"text": "bird"}\n\n{"text": null}\n{"text": "stone"}', {"line": 3}, "is null, not a string"),
        ("a.jsonl", b'{"text": "bird"}\n{"body": ""}\n{"text": "stone"}', {"line": 2}, "no key 'text' (keys: 'body')"),
        ("a.jsonl", b'{"text": "bird"}\n{"text": 7}\n{"text": "stone"}', {"line": 2}, "is 7, not a string"),
        ("a.jsonl", b'{"text": "bird"}\n[1]\n{"text": "stone"}', {"line": 2}, "[1] is not a JSON object"),
        (
            "a.jsonl",
            b'{"text": "bird"}\n{"text": "\xff"}\n{"text": "stone"}',
            {"line": 2},
            "not valid UTF-8 (byte 0xff)",
        ),
        ("a.jsonl", b'{"text": "bird"}\n{"text": "\\ud800"}\n{"text": "stone"}', {"line": 2}, "a lone surrogate"),
        ("a.json", b'[{"text": "bird"}, {"text": x}, {"text": "stone"}]', {"value": 2}, "not valid JSON ("),
        ("a.json", b'[{"text": "bird"}, {"text": "\xff"}, {"text": "stone"}]', {"value": 2}, "not valid UTF-8"),
        ("a.json", b'[{"text": "bird"}, {"text": "stone"}, {"text": "r', {"value": 3}, "not valid JSON ("),
        ("a.txt", b"bird\n\xffield\nstone\n", {"line": 2}, "not valid UTF-8 (byte 0xff)"),
        ("a.txt", b"bird\n\n\xffield\n\nstone\n", {"line": 3}, "not valid UTF-8 (byte 0xff)"),
    ],
)
def test_each_kind(
    build: Build, tmp_path: Path, tokenizer: Path, name: str, data: bytes, where: dict[str, int], reason: str
) -> None:
    (tmp_path / name).write_bytes(data)
    place = " ".join(f"{unit} {number}" for unit, number in where.items())
    with pytest.raises(DataError) as caught:
        build(tmp_path / name)
    assert f"{name}, {place}: " in str(caught.value) and reason in str(caught.value)
    manifest = build(tmp_path / name, resume=True, skip_bad_records=0.4).manifest
    (entry,) = listed(tmp_path / "shards")
    assert entry.pop("file") == name and reason in str(entry.pop("reason")) and entry == where
    assert (manifest.records, manifest.left_out_records) == (3, 1)
    assert stored(tmp_path / "shards", tokenizer) == [["bird"], ["stone"]]


def test_rows_that_are_null(build: Build, tmp_path: Path, tokenizer: Path) -> None:
    table = pa.table({"text": ["bird", None, "stone"]})
    pq.write_table(table, tmp_path / "a.parquet")
    with pa.ipc.new_stream(tmp_path / "a.arrow", table.schema) as stream:
        stream.write_table(table)
    for name in ("a.parquet", "a.arrow"):
        with pytest.raises(DataError, match=rf"{name}, row 2: the value of 'text' is null, not a string"):
            build(tmp_path / name, output=f"{name}-out")
        build(tmp_path / name, output=f"{name}-out", skip_bad_records=0.4)
        assert [(entry["file"], entry["row"]) for entry in listed(tmp_path / f"{name}-out")] == [(name, 2)]
        assert stored(tmp_path / f"{name}-out", tokenizer) == [["bird"], ["stone"]]


def test_invalid_bytes_of_another_encoding(build: Build, tmp_path: Path, tokenizer: Path) -> None:
    for encoding, invalid in (("gb18030", b"\xff"), ("utf-16-le", b"\x00\xdc")):
        path = tmp_path / f"{encoding}.txt"
        path.write_bytes("天\n".encode(encoding) + invalid + "下\n雨\n".encode(encoding))
        with pytest.raises(DataError, match=f"line 2: not valid {encoding}"):
            build(path, output=encoding, encoding=encoding)
        build(path, output=encoding, encoding=encoding, skip_bad_records=0.5)
        (entry,) = listed(tmp_path / encoding)
        assert (entry["line"], entry["reason"]) == (2, f"not valid {encoding}")
        assert stored(tmp_path / encoding, tokenizer) == [["天"], ["雨"]]


def test_a_share_too_small_stops_the_build_and_a_larger_one_goes_on(build: Build, tmp_path: Path) -> None:
    lines = ["{" if number % 10 == 3 else '{"text": "bird stone"}' for number in range(100)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError) as caught:
        build(tmp_path / "a.jsonl", skip_bad_records=0.09, **EVERY_BLOCK)
    told = str(caught.value).splitlines()
    assert told[0] == "10 of 100 records so far cannot be read, more than --skip-bad-records 0.09 allows. The first:"
    assert [line.split(",")[1] for line in told[1:6]] == [f" line {number}" for number in (4, 14, 24, 34, 44)]
    assert told[6] == "Put them right, or raise --skip-bad-records"
    assert not (tmp_path / "shards" / "manifest.json").exists()
    report = build(tmp_path / "a.jsonl", skip_bad_records=0.1, resume=True, **EVERY_BLOCK)
    assert len(listed(tmp_path / "shards")) == 10
    assert "left out: 10 of 100 (10 %), listed in left_out.jsonl" in build_summary(report, OptionNames())


def test_a_broken_beginning_stops_a_long_build_early(build: Build, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{\n" * 2000 + '{"text": "bird"}\n' * 30_000)
    with pytest.raises(DataError, match="records so far cannot be read") as caught:
        build(tmp_path / "a.jsonl", skip_bad_records=0.1, block_bytes=1000)
    assert int(str(caught.value).split(" of ")[1].split(" ")[0].replace(",", "")) < 10_000


def test_bad_lines_of_a_document_of_many_blocks(build: Build, tmp_path: Path, tokenizer: Path) -> None:
    lines = [b"\xff" if number % 20 == 0 else b"bird stone river" for number in range(200)]
    (tmp_path / "a.txt").write_bytes(b"\n".join(lines) + b"\n\nring\n")
    manifest = build(tmp_path / "a.txt", skip_bad_records=0.2, validation_fraction=0.5, **EVERY_BLOCK).manifest
    assert (manifest.records, manifest.left_out_records) == (201, 10)
    found = [
        document for split in ("train", "validation") for document in stored(tmp_path / "shards", tokenizer, split)
    ]
    assert sorted(map(len, found)) == [1, 190]
    assert [entry["line"] for entry in listed(tmp_path / "shards")] == list(range(1, 201, 20))


def test_a_killed_build_goes_on_to_the_same_list_with_any_workers(
    build: Build, tmp_path: Path, tokenizer: Path
) -> None:
    text = "".join("broken\n" if number % 7 == 0 else '{"text": "bird stone"}\n' for number in range(4000))
    (tmp_path / "a.jsonl").write_text(text)
    options = {**EVERY_BLOCK, "skip_bad_records": 0.2}
    build(tmp_path / "a.jsonl", output="whole", **options)
    shown: dict[str, object] = {
        **options,
        "input": [str(tmp_path / "a.jsonl")],
        "tokenizer": str(tokenizer),
        "output": str(tmp_path / "killed"),
        "validation_fraction": 0.0,
        "workers": 2,
    }
    process = start(shown)
    wait_for_progress(process, tmp_path / "killed", 20)
    process.kill()
    process.communicate()
    with (tmp_path / "killed" / "left_out.jsonl.partial").open("ab") as file:
        file.write(b"what no commit recorded")
    build(tmp_path / "a.jsonl", output="killed", resume=True, **options)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert len(listed(tmp_path / "whole")) == 572
