"""Rows of parquet files are documents."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from megatinybert.config.flat import OptionNames
from megatinybert.corpus.blocks import Block, ReadSettings, read_blocks
from megatinybert.corpus.documents import split_documents
from megatinybert.corpus.parquet import read_rows
from megatinybert.corpus.sources import DataError, find_sources

NAMES = OptionNames()
TEXTS = ["天地\n玄黄", "", "a b" * 50, "c\r\nd\re\n\n"] * 20
LINES = [["天地", "玄黄"], [], ["a b" * 50], ["c", "d", "e"]] * 20


def write(path: Path, texts: list[str | None] | pa.Array, **options: object) -> Path:
    pq.write_table(pa.table({"id": list(range(len(texts))), "text": texts}), path, **options)
    return path


def read(path: Path, block_bytes: int = 100, replace: bool = False) -> tuple[list[list[str]], list[Block]]:
    sources, _ = find_sources([path], path.parent / "output", "--input")
    blocks = list(read_blocks(sources, ReadSettings("auto", "text", "gb18030", replace, block_bytes, NAMES)))
    return [lines for block in blocks for lines in split_documents(block, "text", replace, NAMES).documents()], blocks


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())],
    ids=str,
)
@pytest.mark.parametrize(
    "options", [{}, {"row_group_size": 7}, {"compression": "zstd", "use_dictionary": False}], ids=str
)
def test_every_kind_of_string(tmp_path: Path, kind: pa.DataType, options: dict[str, object]) -> None:
    texts = pa.array(TEXTS)
    texts = texts.dictionary_encode() if pa.types.is_dictionary(kind) else texts.cast(kind)
    path = write(tmp_path / "a.parquet", texts, **options)
    for block_bytes in (1, 100, 1 << 20):
        assert read(path, block_bytes)[0] == LINES


def test_rows_come_in_blocks_of_the_size_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", TEXTS)
    _, blocks = read(path, 300)
    assert len(blocks) > 10 and all(len(block.data) <= 300 for block in blocks)
    assert [block.first_line for block in blocks] == [
        1 + sum(len(before.row_ends) for before in blocks[:number] if before.row_ends is not None)
        for number in range(len(blocks))
    ]
    assert blocks[-1].text_bytes == len("".join(TEXTS).encode()) and blocks[-1].file_bytes == path.stat().st_size
    assert {(block.layout, block.encoding, block.begins, block.ends) for block in blocks} == {
        ("row", "utf-8", True, True)
    }


def test_memory_does_not_hold_a_row_group(tmp_path: Path) -> None:
    draw = random.Random(0)
    texts = [draw.randbytes(500).hex() for _ in range(20_000)]
    path = write(tmp_path / "a.parquet", texts, use_dictionary=False)
    assert path.stat().st_size > 2e7 and pq.ParquetFile(path).num_row_groups == 1
    before = pa.total_allocated_bytes()
    held = [pa.total_allocated_bytes() - before for _ in read_rows(path, "text", 1 << 16, "--text-key")]
    assert len(held) > 200 and max(held) < 6e6


def test_where_rows_end_is_part_of_the_checksum(tmp_path: Path) -> None:
    checksums = {read(write(tmp_path / "a.parquet", texts))[1][-1].sha256 for texts in (["ab", "c"], ["a", "bc"])}
    assert len(checksums) == 2


def test_a_file_without_rows(tmp_path: Path) -> None:
    documents, blocks = read(write(tmp_path / "a.parquet", pa.array([], pa.string())))
    assert documents == [] and len(blocks) == 1


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a", None], r"a\.parquet, row 2: the value of 'text' is null, not a string"),
        (["a"] * 5000 + [None], r"row 5,001: the value of 'text' is null"),
        (pa.array([1, 2]), r"a\.parquet: the column 'text' is of int64, not of strings"),
        (pa.array([b"a"]), "is of binary, not of strings"),
        (pa.array([["a"]]), "is of list"),
        (pa.array([None], pa.null()), "is of null"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, texts: pa.Array, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(write(tmp_path / "a.parquet", texts))


def test_a_missing_column_names_those_there_are(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"body": ["a"], "url": ["b"]}), path)
    with pytest.raises(DataError, match=r"a\.parquet: no column 'text' \(columns: 'body', 'url'\).*--text-key"):
        read(path)
    pq.write_table(pa.table([["a"], ["b"]], names=["text", "text"]), path)
    with pytest.raises(DataError, match="more than one column 'text'"):
        read(path)


def test_invalid_text_names_its_row(tmp_path: Path) -> None:
    data, ends = b"fine\ncaf\xe9 \xff", np.array([0, 5, 11], dtype=np.int32)
    texts = pa.Array.from_buffers(pa.string(), 2, [None, pa.py_buffer(ends.tobytes()), pa.py_buffer(data)])
    path = write(tmp_path / "a.parquet", texts)
    with pytest.raises(DataError, match=r"a\.parquet, row 2: not valid UTF-8 \(byte 0xe9\)"):
        read(path)
    documents, (block,) = read(path, replace=True)
    assert documents == [["fine"], ["caf\ufffd \ufffd"]] and split_documents(block, "text", True, NAMES).replaced == 2


def test_damage_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", TEXTS, write_page_checksum=True, compression=None, use_dictionary=False)
    whole = path.read_bytes()
    at = whole.index(b"a ba b") + 1
    for data in (whole[:-20], b"not parquet" * 9, b"", whole[:at] + b"?" + whole[at + 1 :]):
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"a\.parquet: damaged parquet file"):
            read(path)
