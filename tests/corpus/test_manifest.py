"""Manifests that were made to mislead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from megatinybert.corpus.manifest import MANIFEST
from megatinybert.corpus.shards import bin_path, idx_path, open_corpus
from tests.helpers.hostile_shards import write_corpus


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("prefix", "../outside", "shards.0.prefix"),
        ("prefix", "/tmp/outside", "shards.0.prefix"),
        ("prefix", ".", "shards.0.prefix"),
        ("prefix", "", "shards.0.prefix"),
        ("prefix", "a\0b", "shards.0.prefix"),
        ("dtype", "object", "shards.0.dtype"),
        ("dtype", "float64", "shards.0.dtype"),
        ("dtype", "U1000000", "shards.0.dtype"),
        ("tokens", -1, "shards.0.tokens"),
        ("bin_bytes", 10**30, "shards.0.bin_bytes"),
        ("tokens", 400, r"the 400 tokens \(uint16\) of corpus take 800 bytes, but corpus.bin has 600"),
        ("dtype", "int64", r"the 300 tokens \(int64\) of corpus take 2,400 bytes, but corpus.bin has 600"),
        ("sequences", 1 << 40, "the 1,099,511,627,776 sequences and .* documents of corpus take"),
        ("documents", 1 << 40, "sequences and 1,099,511,627,776 documents of corpus take"),
    ],
)
def test_a_hostile_shard_entry_is_refused(tmp_path: Path, key: str, value: Any, message: str) -> None:
    write_corpus(tmp_path)
    for path in (bin_path, idx_path):  # there is something to be read outside
        path(tmp_path.parent / "outside").write_bytes(path(tmp_path / "corpus").read_bytes())
    content = json.loads((tmp_path / MANIFEST).read_text())
    content["shards"][0][key] = value
    if key in content["totals"]["train"]:
        content["totals"]["train"][key] = value
    (tmp_path / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message) as refusal:
        open_corpus(tmp_path)
    assert MANIFEST in str(refusal.value)
