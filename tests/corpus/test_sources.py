"""Input files: found, and watched for changes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from megatinybert.corpus.sources import find_sources


def test_folders_are_read_by_name_and_nothing_is_silent(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.jsonl.zst", "a/c.TXT.gz", "a/d.parquet", "notes.md", "b.zst", "out/old.txt"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"")
    extra = tmp_path / "first.txt"
    extra.write_bytes(b"")
    sources, left_out = find_sources([extra, tmp_path / "in"], tmp_path / "in" / "out", "--input")
    names = ["first.txt", "in/a/c.TXT.gz", "in/a/d.parquet", "in/a/z.jsonl.zst", "in/b.txt"]
    assert [source.name for source in sources] == names
    assert left_out == ["in/b.zst", "in/notes.md"]


def test_of_a_saved_data_set_only_its_rows_are_read(tmp_path: Path) -> None:
    names = ("dataset_dict.json", "train/data-00000-of-00001.arrow", "train/state.json", "train/dataset_info.json")
    for name in (*names, "train/cache-0f3a.arrow", "more/b.json.gz", "more/c.XZ", "more/d.jsonl.bz2"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(b"")
    sources, left_out = find_sources([tmp_path / "set"], tmp_path / "out", "--input")
    assert [source.name for source in sources] == [
        "set/more/b.json.gz",
        "set/more/d.jsonl.bz2",
        "set/train/data-00000-of-00001.arrow",
    ]
    notes = " (what Hugging Face's datasets keeps beside rows)"
    assert left_out == [f"set{notes}", "set/more/c.XZ", f"set/train{notes}"]


def test_shards_among_texts_are_no_text(tmp_path: Path) -> None:
    names = (
        "a.txt",
        *("wiki/manifest.json", "wiki/train-00000.bin", "wiki/train-00000.idx", "wiki/left_out.jsonl", "wiki/b.md"),
        *("begun/progress.json", "begun/train-00000.bin.partial", "megatron/p.bin", "megatron/p.idx", "weights.bin"),
    )
    for name in names:
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(b"")
    sources, left_out = find_sources([tmp_path / "data"], tmp_path / "out", "--input")
    assert [source.name for source in sources] == ["data/a.txt"]
    shards = [f"data/{name} (token shards)" for name in ("begun", "megatron", "wiki")]
    assert left_out == sorted([*shards, "data/weights.bin", "data/wiki/b.md"])


def test_files_called_as_records_of_shards_are_text_where_there_are_none(tmp_path: Path) -> None:
    for name in ("manifest.json", "left_out.jsonl"):
        (tmp_path / name).write_bytes(b"")
    sources, left_out = find_sources([tmp_path], tmp_path / "out", "--input")
    assert [source.path.name for source in sources] == ["left_out.jsonl", "manifest.json"] and not left_out


def test_every_bad_input_is_listed(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.pdf").write_bytes(b"")
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "train.idx").write_bytes(b"")
    good = tmp_path / "a.txt"
    good.write_bytes(b"")
    bad = [tmp_path / name for name in ("gone.txt", "empty", "a.pdf", "shards")]
    with pytest.raises(ValueError) as raised:
        find_sources([*bad, good, good], tmp_path / "out", "--input")
    text = str(raised.value)
    assert all(line.startswith("--input ") for line in text.splitlines())
    for part in ("gone.txt: no such file", "empty: no .txt", "a.pdf: not a .txt", "a.txt: named twice"):
        assert part in text
    assert "this folder, which is empty\n" in text
    assert text.count("token shards, which a run reads by --data.shards") == 1


def test_a_folder_within_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in" / "locked").mkdir(parents=True)
    scan = os.scandir

    def refuse(path: str) -> Any:  # chmod holds nobody back who is root
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ValueError, match=r"--input .*/in: .*/in/locked: Permission denied"):
        find_sources([tmp_path / "in"], tmp_path / "out", "--input")
