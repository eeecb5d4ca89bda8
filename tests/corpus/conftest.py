"""A small tokenizer, and builds of texts in its words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers.implementations import BertWordPieceTokenizer

from megatinybert.config.shards import BuildOptions
from megatinybert.corpus.build import BLOCK_BYTES, BuildReport, build_corpus
from tests.helpers.texts import VOCABULARY


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with vocab.txt and a tokenizer.json that truncates and pads, as some published do."""
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    wordpiece = BertWordPieceTokenizer(str(folder / "vocab.txt"))
    wordpiece.enable_truncation(16)
    wordpiece.enable_padding(length=16)
    wordpiece.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    return folder


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
