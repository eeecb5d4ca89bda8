"""Builds of texts in the words of the small tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from megatinybert.config.shards import BuildOptions
from megatinybert.corpus.blocks import BLOCK_BYTES
from megatinybert.corpus.build import BuildReport, build_corpus


@pytest.fixture
def build(tmp_path: Path, tokenizer: Path) -> Callable[..., BuildReport]:
    """Build text files into tmp_path / `output`; in this process and without validation by default."""

    def call(
        *inputs: Path,
        output: str = "shards",
        block_bytes: int = BLOCK_BYTES,
        commit_seconds: float = 10.0,
        **options: object,
    ) -> BuildReport:
        values: dict[str, Any] = {"workers": 1, "validation_fraction": 0.0, **options}
        paths = [str(path) for path in inputs]
        asked = BuildOptions(input=paths, tokenizer=str(tokenizer), output=tmp_path / output, **values)
        return build_corpus(asked, block_bytes=block_bytes, commit_seconds=commit_seconds)

    return call
