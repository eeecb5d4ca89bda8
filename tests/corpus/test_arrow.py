"""Rows of Arrow files are documents, in both forms."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest

from megatinybert.corpus.arrow import read_rows
from megatinybert.corpus.sources import DataError

TEXTS = ["天地", "", "a b" * 50, None, "c\nd"] * 2000


def write(path: Path, texts: pa.Array, in_any_order: bool, rows: int | None = None) -> Path:
    table = pa.table({"id": range(len(texts)), "text": texts})
    with (pa.ipc.new_file if in_any_order else pa.ipc.new_stream)(path, table.schema) as writer:
        writer.write_table(table, rows)
    return path


def read(path: Path, block_bytes: int = 1000) -> list[str | None]:
    texts: list[str | None] = []
    shares = []
    for rows in read_rows(path, "text", block_bytes, "--text-key"):
        begins = [0, *rows.ends.tolist()]
        run: list[str | None] = [rows.data[a:b].decode() for a, b in zip(begins, rows.ends.tolist(), strict=False)]
        for row in rows.nulls.tolist():
            assert run[row] == ""
            run[row] = None
        texts += run
        shares.append(rows.share)
        assert len(rows.data) <= block_bytes or len(rows.ends) == 1
    assert shares == sorted(shares) and 0.9 < shares[-1] <= 1
    return texts


@pytest.mark.parametrize("in_any_order", [True, False])
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()], ids=str)
def test_every_kind_of_string(tmp_path: Path, in_any_order: bool, kind: pa.DataType) -> None:
    for rows in (None, 7):
        path = write(tmp_path / "a.arrow", pa.array(TEXTS).cast(kind), in_any_order, rows)
        assert read(path) == TEXTS and read(path, 1 << 20) == TEXTS


@pytest.mark.parametrize("in_any_order", [True, False])
def test_a_file_without_rows(tmp_path: Path, in_any_order: bool) -> None:
    assert read(write(tmp_path / "a.arrow", pa.array([], pa.string()), in_any_order)) == []


def test_a_huge_batch_is_not_held_in_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "a.arrow", pa.array([f"{number:01000d}" for number in range(30_000)]), False)
    assert path.stat().st_size > 3e7
    before = pa.total_allocated_bytes()
    held = [pa.total_allocated_bytes() - before for _ in read_rows(path, "text", 1 << 16, "--text-key")]
    assert len(held) > 200 and max(held) < 1e7


def test_a_stream_cut_between_two_batches_is_not_whole(tmp_path: Path) -> None:
    table, path = pa.table({"text": ["one", "two"]}), tmp_path / "a.arrow"
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
        cut = file.tell()
        writer.write_table(table)
    assert read(path) == ["one", "two"] * 2
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match=r"a\.arrow: damaged Arrow file.*cut short"):
        read(path)


@pytest.mark.parametrize("in_any_order", [True, False])
def test_a_file_cut_short_while_it_is_read_is_refused(tmp_path: Path, in_any_order: bool) -> None:
    """Without a check the process is killed: SIGBUS."""
    path = write(tmp_path / "a.arrow", pa.array([f"{number:01000d}" for number in range(9000)]), in_any_order)
    rows = read_rows(path, "text", 100_000, "--text-key")
    next(rows)
    os.truncate(path, 4096)
    with pytest.raises(DataError, match=r"a\.arrow: cut short from 9,\d+,\d+ to 4,096 bytes while it was read"):
        next(rows)


@pytest.mark.parametrize("in_any_order", [True, False])
def test_damage_and_other_columns_are_noticed(tmp_path: Path, in_any_order: bool) -> None:
    path = write(tmp_path / "a.arrow", pa.array(TEXTS), in_any_order)
    whole = path.read_bytes()
    for data in (whole[: len(whole) // 2], b"not arrow" * 9, b""):
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"a\.arrow: damaged Arrow file"):
            read(path)
    write(path, pa.array([1, 2]), in_any_order)
    with pytest.raises(DataError, match="is of int64, not of strings"):
        read(path)
    with pytest.raises(DataError, match=r"no column 'body' \(columns: 'id', 'text'\).*--text-key"):
        list(read_rows(path, "body", 100, "--text-key"))
