"""Builds of texts in the words of the small tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from megatinybert.corpus.build import BuildOptions, BuildReport, build_corpus


@pytest.fixture
def build(tmp_path: Path, tokenizer: Path) -> Callable[..., BuildReport]:
    """Build text files into tmp_path / `output`; in this process and without validation by default."""

    def call(*inputs: Path, output: str = "shards", **options: object) -> BuildReport:
        values: dict[str, object] = {"workers": 1, "validation_fraction": 0.0, **options}
        return build_corpus(
            BuildOptions([str(path) for path in inputs], str(tokenizer), tmp_path / output, **values)  # type: ignore[arg-type]
        )

    return call
