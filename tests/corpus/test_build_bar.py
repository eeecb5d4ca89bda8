"""The bar of a build that is continued."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from megatinybert.corpus.blocks import Block
from megatinybert.corpus.build_bar import BuildBar
from megatinybert.corpus.manifest import SourceEntry
from megatinybert.corpus.sources import Source


def block(source: int, file_bytes: int) -> Block:
    """One of 100 bytes."""
    of_file = {"text_bytes": file_bytes, "sha256": "", "file_bytes": file_bytes}
    of_lines = {"layout": "line", "encoding": "utf-8", "first_line": 1, "begins": True, "ends": True, "replaced": 0}
    return Block(index=0, source=source, path=Path("a.txt"), data=b"x" * 100, **of_lines, **of_file)  # type: ignore[arg-type]


def test_it_begins_at_what_is_done_and_counts_this_run_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [1000.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    sources = [Source(Path(name), name, size, 0) for name, size in (("a.txt", 1000), ("b.txt", 1000))]
    seen = [
        SourceEntry(name=name, bytes=1000, text_bytes=text_bytes, sha256="", layout="line")
        for name, text_bytes in (("a.txt", 1000), ("b.txt", 400))
    ]
    with BuildBar(sources, True, seen) as bar:
        now[0] += 200  # the text of earlier runs is compared
        bar.begin_after(block(1, 400))
        for read in (500, 600):
            now[0] += 100
            bar.show(block(1, read), tokens=5000)
    first, *_, last = capsys.readouterr().err.splitlines()
    assert re.match(r"70% .* 1\.40k of 2\.00k, \? left, passing over what is done$", first)
    assert re.match(r"80% .* 1\.60k of 2\.00k, 06:40 left, 1e-06 MB/s, 50 tokens/s$", last)
    assert (bar.text_bytes, bar.tokens, bar.seconds) == (200, 10_000, 200.0)
