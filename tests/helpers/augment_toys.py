"""A tiny masked-LM of letters-only words, and tasks in its words."""

from __future__ import annotations

import json
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import BertForMaskedLM

from megatinybert.corpus.tokenizer import load_tokenizer, special_ids
from tests.helpers.toys import bert_config

WORDS = [a + b for a in "bdfklm" for b in ("bird", "stone", "river", "field", "ring", "house", "light", "water")]
CHINESE = "电影很好看天气不错我们喜欢音乐"
VOCABULARY = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *WORDS,
    *("the", "of", "don", "not"),
    *dict.fromkeys(CHINESE),
    *string.ascii_lowercase,
    *(f"##{letter}" for letter in string.ascii_lowercase),
    *string.digits,
    *string.punctuation,
]


def write_masked_lm(folder: Path, vocabulary: Sequence[str] = VOCABULARY, **more: object) -> None:
    config = bert_config(2, 24, 4, **({"vocab_size": len(vocabulary), "initializer_range": 0.4} | more))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        BertForMaskedLM(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")


def ids_of(model: Path) -> Any:
    return special_ids(load_tokenizer(model))


def write_task(folder: Path, rows: Sequence[tuple[str, ...]], dev: Sequence[tuple[str, ...]] | None = None) -> Path:
    """A custom task of .jsonl files: rows of (text_a, label) or (text_a, text_b, label)."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in (("train", rows), ("dev", dev or rows[:2])):
        keys = ("text_a", "label") if len(rows[0]) == 2 else ("text_a", "text_b", "label")
        lines = [json.dumps(dict(zip(keys, row, strict=True)), ensure_ascii=False) + "\n" for row in part]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def written(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def sentence(number: int, words: int = 6) -> str:
    return " ".join(WORDS[(number * 7 + place * place + place) % len(WORDS)] for place in range(words))
