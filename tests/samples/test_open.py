"""What tells the data of a run from others."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from megatinybert.samples import open as opening


def test_the_checksums_of_the_manifest_tell_shards_of_equal_names_and_sizes_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No shard is read for it."""
    (tmp_path / "manifest.json").touch()
    shards = [SimpleNamespace(prefix=tmp_path / f"train_{number}") for number in range(2)]
    windows: Any = SimpleNamespace(stream=SimpleNamespace(shards=shards))

    def checksum(*sums: str) -> str:
        entries = [SimpleNamespace(prefix=f"train_{n}", bin_sha256=s, idx_sha256="0") for n, s in enumerate(sums)]
        monkeypatch.setattr(opening, "read_manifest", lambda folder: SimpleNamespace(shards=entries))
        return opening.data_checksum(windows)

    assert checksum("a", "b") == checksum("a", "b")
    assert len({checksum("a", "b"), checksum("a", "c"), checksum("b", "a")}) == 3
