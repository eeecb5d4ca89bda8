"""Input files: found, and watched for changes."""

from __future__ import annotations

from pathlib import Path

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


def test_every_bad_input_is_listed(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.pdf").write_bytes(b"")
    good = tmp_path / "a.txt"
    good.write_bytes(b"")
    with pytest.raises(ValueError) as raised:
        find_sources([tmp_path / "gone.txt", tmp_path / "empty", tmp_path / "a.pdf", good, good], tmp_path, "--input")
    text = str(raised.value)
    assert all(line.startswith("--input ") for line in text.splitlines())
    for part in ("gone.txt: no such file", "empty: no .txt", "a.pdf: not a .txt", "a.txt: named twice"):
        assert part in text
