"""Copies of documents are found, and dropped where that is asked for."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from megatinybert.config.flat import OptionNames
from megatinybert.corpus.build import BuildReport
from megatinybert.corpus.describe import build_summary
from megatinybert.corpus.duplicates import SeenDocuments, document_hashes, joined
from tests.helpers.texts import as_text, contents, documents, start, stored, wait_for_progress

Build = Callable[..., BuildReport]


def long_document(seed: int) -> list[str]:
    return [line for lines in documents(12, seed) for line in lines]


def repeated(seed: int = 0) -> tuple[list[list[str]], list[list[str]]]:
    """(Documents with copies, some of them of many blocks; those that are there for the first time)."""
    draw = random.Random(seed)
    unique = [*documents(150, seed), *(long_document(50 + number) for number in range(4))]
    text = [*unique, *draw.choices(unique, k=80), *unique[-4:]]
    draw.shuffle(text)
    first = [document for number, document in enumerate(text) if document not in text[:number]]
    return text, first


def test_hashes_tell_documents_apart_and_parts_give_the_whole() -> None:
    draw = np.random.default_rng(0)
    counts = draw.integers(1, 50, 3000)
    tokens = draw.integers(0, 3, counts.sum()).astype(np.uint16)  # so that some are the same
    hashes = document_hashes(tokens, counts)
    assert hashes.dtype == np.uint64
    texts = [part.tobytes() for part in np.split(tokens, np.cumsum(counts)[:-1])]
    assert 1000 < len(set(texts)) < 3000 and len(set(zip(texts, hashes.tolist(), strict=True))) == len(set(texts))
    assert len(set(hashes.tolist())) == len(set(texts))
    whole = int(document_hashes(tokens, np.array([len(tokens)]))[0])
    for cut in (1, 77, len(tokens) - 1):
        first, second = (int(document_hashes(part, np.array([len(part)]))[0]) for part in (tokens[:cut], tokens[cut:]))
        assert joined(first, cut, second) == whole
    assert joined(0, 0, whole) == whole
    assert len(document_hashes(tokens[:0], counts[:0])) == 0


@pytest.mark.parametrize("segment", [4, 50, 1 << 20])
def test_what_was_seen_is_known_again_also_after_an_interruption(tmp_path: Path, segment: int) -> None:
    draw = np.random.default_rng(1)
    seen = SeenDocuments(tmp_path, 0, segment)
    known: set[int] = set()
    for step in range(60):
        hashes = draw.integers(0, 800, draw.integers(0, 40)).astype(np.uint64)
        expected = []
        for value in hashes.tolist():
            expected.append(value not in known)
            known.add(value)
        assert seen.unseen(hashes).tolist() == expected
        if step % 20 == 10:
            count = seen.flush()
            assert count == len(known)
            seen.unseen(np.array([10_000 + step], dtype=np.uint64))  # not committed
            seen.close()
            seen = SeenDocuments(tmp_path, count, segment)
    seen.close()
    with pytest.raises(ValueError, match="missing or cut short: delete"):
        SeenDocuments(tmp_path, 10_000)


def test_copies_are_counted_and_stay(build: Build, tmp_path: Path, tokenizer: Path) -> None:
    text, first = repeated()
    (tmp_path / "a.txt").write_text(as_text(text))
    for block_bytes in (300, 1 << 20):
        report = build(tmp_path / "a.txt", output=str(block_bytes), block_bytes=block_bytes)
        assert report.manifest.duplicate_documents == len(text) - len(first) >= 84
        assert stored(tmp_path / str(block_bytes), tokenizer) == text
    assert "duplicate documents: 84 (kept; --drop-duplicates drops them)" in build_summary(report, OptionNames())


@pytest.mark.parametrize("block_bytes", [300, 1 << 20])
def test_the_first_of_copies_stays(build: Build, tmp_path: Path, tokenizer: Path, block_bytes: int) -> None:
    text, first = repeated()
    (tmp_path / "a.txt").write_text(as_text(text))
    (tmp_path / "first.txt").write_text(as_text(first))
    options: dict[str, object] = {"block_bytes": block_bytes, "shard_tokens": 2000, "validation_fraction": 0.2}
    manifest = build(tmp_path / "a.txt", drop_duplicates=True, **options).manifest
    build(tmp_path / "first.txt", output="first", **options)
    assert manifest.duplicate_documents == len(text) - len(first) and manifest.unknown_tokens == 0
    dropped, expected = contents(tmp_path / "shards"), contents(tmp_path / "first")
    assert dropped.keys() == expected.keys()
    assert all(dropped[name] == expected[name] for name in dropped if name != "manifest.json")


def test_a_killed_build_drops_the_same_copies_with_any_workers(build: Build, tmp_path: Path, tokenizer: Path) -> None:
    (tmp_path / "a.txt").write_text(as_text(repeated()[0] + repeated(1)[0]))
    options: dict[str, object] = {"block_bytes": 300, "commit_seconds": 0.0, "drop_duplicates": True}
    build(tmp_path / "a.txt", output="whole", **options)
    shown = {"input": [str(tmp_path / "a.txt")], "tokenizer": str(tokenizer), "output": str(tmp_path / "killed")}
    process = start({**options, **shown, "workers": 2, "validation_fraction": 0.0})
    wait_for_progress(process, tmp_path / "killed", 100)
    process.kill()
    process.communicate()
    assert not (tmp_path / "killed" / "manifest.json").exists()
    with pytest.raises(ValueError, match="--drop-duplicates: True there, False now"):
        build(tmp_path / "a.txt", output="killed", resume=True, **{**options, "drop_duplicates": False})
    build(tmp_path / "a.txt", output="killed", resume=True, **options)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_a_corpus_that_ends_with_a_dropped_document_of_many_blocks(build: Build, tmp_path: Path) -> None:
    long = long_document(3)
    (tmp_path / "a.txt").write_text(as_text([long, long]))
    options: dict[str, object] = {"block_bytes": 300, "commit_seconds": 0.0, "shard_tokens": 10}
    manifest = build(tmp_path / "a.txt", drop_duplicates=True, **options).manifest
    assert manifest.totals["train"]["documents"] == 1 and manifest.duplicate_documents == 1
    assert {path.name for path in (tmp_path / "shards").iterdir()} == {
        *("manifest.json", "train-00000.bin", "train-00000.idx")
    }
