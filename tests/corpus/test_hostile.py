"""Indexes that were made to mislead, files that change under a run, and random damage to both."""

from __future__ import annotations

import os
import struct
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from megatinybert.corpus.manifest import MANIFEST
from megatinybert.corpus.shards import bin_path, idx_path, open_corpus, open_shard
from megatinybert.samples.windows import TokenStream
from tests.helpers.hostile_shards import damaged, read_everything, write_corpus

HEADER = 34  # bytes: 9 of the magic, 8 of the version, 1 of the type, 8 and 8 of the counts
MOST_BYTES = 256 << 20


@pytest.mark.parametrize("count", [1 << 31, 1 << 62, (1 << 64) - 1])
@pytest.mark.parametrize("place", [18, 26])
def test_absurd_counts_are_refused_without_memory(tmp_path: Path, place: int, count: int) -> None:
    prefix = write_corpus(tmp_path)
    _overwrite(prefix, place, struct.pack("<Q", count))
    tracemalloc.start()
    with pytest.raises(ValueError, match="cut short"):
        open_shard(prefix)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


def test_an_index_without_a_document_index_is_named(tmp_path: Path) -> None:
    prefix = write_corpus(tmp_path)
    _overwrite(prefix, 26, struct.pack("<Q", 0))
    with pytest.raises(ValueError, match="has no document index"):
        open_shard(prefix)


def test_part_of_a_token_is_refused(tmp_path: Path) -> None:
    prefix = write_corpus(tmp_path)
    last = HEADER + 12 * open_shard(prefix).sequences - 8
    (pointer,) = struct.unpack_from("<q", idx_path(prefix).read_bytes(), last)
    _overwrite(prefix, last, struct.pack("<q", pointer + 1))
    with bin_path(prefix).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ValueError, match="601 bytes, which are no whole number of uint16"):
        open_shard(prefix)


@pytest.mark.parametrize("value", [-1, -6, 1 << 50, -(1 << 62), (1 << 63) - 1])
@pytest.mark.parametrize("table", ["lengths", "pointers", "documents"])
def test_what_points_outside_the_files_is_refused(tmp_path: Path, table: str, value: int) -> None:
    prefix = write_corpus(tmp_path)
    sequences = open_shard(prefix).sequences
    place = HEADER + {"lengths": 0, "pointers": 4 * sequences, "documents": 12 * sequences}[table]
    in_range = max(min(value, (1 << 31) - 1), -(1 << 31))
    _overwrite(prefix, place, struct.pack("<i", in_range) if table == "lengths" else struct.pack("<q", value))
    with pytest.raises(ValueError, match="is corrupt: document 0 is outside the files"):
        open_shard(prefix).document_sequences(0)


@pytest.mark.parametrize("is_mapped", [True, False])
def test_a_shard_cut_short_under_a_run_is_named(tmp_path: Path, is_mapped: bool) -> None:
    """Reading it would end the process with SIGBUS."""
    prefix = write_corpus(tmp_path)
    stream = TokenStream(open_corpus(tmp_path).shards)
    if is_mapped:
        assert stream.rows(np.array([0, 280]), 10).shape == (2, 10)
    os.truncate(bin_path(prefix), 40)
    with pytest.raises(ValueError, match=r"corpus\.bin has 40 bytes, where 600 are needed: it was cut short"):
        stream.rows(np.array([0, 280]), 10)


def test_a_shard_replaced_under_a_run_is_read_as_it_was(tmp_path: Path) -> None:
    prefix = write_corpus(tmp_path)
    stream = TokenStream(open_corpus(tmp_path).shards)
    before = stream.rows(np.array([0, 280]), 10)
    (tmp_path / "other").write_bytes(b"\1" * 40)
    (tmp_path / "other").rename(bin_path(prefix))
    assert np.array_equal(stream.rows(np.array([0, 280]), 10), before)


def test_storage_that_comes_back_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = write_corpus(tmp_path)
    stream = TokenStream(open_corpus(tmp_path).shards)
    bin_path(prefix).rename(tmp_path / "elsewhere")
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            (tmp_path / "elsewhere").rename(bin_path(prefix))

    monkeypatch.setattr("megatinybert.corpus.shards.time.sleep", pause)
    assert stream.rows(np.array([0, 280]), 10).shape == (2, 10) and len(pauses) == 3


def test_storage_that_stays_away_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = write_corpus(tmp_path)
    stream = TokenStream(open_corpus(tmp_path).shards)
    bin_path(prefix).unlink()
    clock = [100.0]
    monkeypatch.setattr("megatinybert.corpus.shards.time.monotonic", lambda: clock[0])
    monkeypatch.setattr(
        "megatinybert.corpus.shards.time.sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds)
    )
    with pytest.raises(ValueError, match=r"corpus\.bin cannot be read, tried for 30 s: .*No such file"):
        stream.rows(np.array([0, 280]), 10)


def test_random_damage_is_refused_or_read(tmp_path: Path) -> None:
    assert damage_and_read(tmp_path, seed=0, most=300) == 300


@pytest.mark.slow
def test_three_minutes_of_random_damage(tmp_path: Path) -> None:
    seed = time.time_ns()
    count = damage_and_read(tmp_path, seed, seconds=180)
    print(f"{count:,} damaged files were read, seed {seed}")
    assert count > 1000


def damage_and_read(folder: Path, seed: int, seconds: float = 1e9, most: int = 1 << 60) -> int:
    """Read an index and a manifest with random damage until `seconds` or `most` are reached: how many were read.

    What is read must be right or refused by ValueError or OSError, in little memory.
    """
    draw = np.random.default_rng(seed)
    prefix = write_corpus(folder)
    whole = {path: path.read_bytes() for path in (idx_path(prefix), folder / MANIFEST)}
    tracemalloc.start()
    begin, count = time.monotonic(), 0
    while count < most and time.monotonic() - begin < seconds:
        path = list(whole)[count % 2]
        content = damaged(whole[path], draw)
        path.write_bytes(content)
        tracemalloc.reset_peak()
        try:
            read_everything(prefix if path.suffix == ".idx" else folder)
        except (ValueError, OSError):  # DataError is a ValueError
            pass
        except BaseException as error:
            raise AssertionError(f"{path.name} {content!r} (seed {seed}, {count})") from error
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES, f"{path.name} {content!r}"
        path.write_bytes(whole[path])
        count += 1
    tracemalloc.stop()
    return count


def _overwrite(prefix: Path, place: int, data: bytes) -> None:
    with idx_path(prefix).open("r+b") as file:
        file.seek(place)
        file.write(data)
