"""A small tokenizer, and builds of texts in its words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers.implementations import BertWordPieceTokenizer

from megatinybert.corpus.build import BuildOptions, BuildReport, build_corpus
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

    def call(*inputs: Path, output: str = "shards", **options: object) -> BuildReport:
        values: dict[str, object] = {"workers": 1, "validation_fraction": 0.0, **options}
        return build_corpus(
            BuildOptions([str(path) for path in inputs], str(tokenizer), tmp_path / output, **values)  # type: ignore[arg-type]
        )

    return call
