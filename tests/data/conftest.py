"""A small tokenizer and texts in its words, made on the spot."""

from __future__ import annotations

import json
import random
import string
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers.implementations import BertWordPieceTokenizer

from megatinybert.data.build import BuildOptions, BuildReport, build_corpus

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [a + b + c for a in "bdfklm" for b in "aeiou" for c in ("bird", "stone", "river", "field", "ring")]
CHINESE = "我们的世界很大今天下雨了"
VOCABULARY = [
    *SPECIALS,
    *WORDS,
    *sorted(set(CHINESE)),
    *string.ascii_lowercase,
    *(f"##{letter}" for letter in string.ascii_lowercase),
    *string.digits,
    *string.punctuation,
]


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


def documents(count: int, seed: int = 0, lines: int = 6, words: int = 30) -> list[list[str]]:
    """Random documents, each a list of lines."""
    draw = random.Random(seed)
    return [
        [" ".join(draw.choices(WORDS, k=draw.randint(1, words))) for _ in range(draw.randint(1, lines))]
        for _ in range(count)
    ]


def as_text(documents: list[list[str]]) -> str:
    """Documents with a blank line between them."""
    return "\n".join("".join(f"{line}\n" for line in lines) for lines in documents)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
