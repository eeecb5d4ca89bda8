"""Tiny tasks: rows of words that tell the label, a teacher that knows these words, and options of short runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertForSequenceClassification, BertTokenizerFast

from megatinybert.programs.task_actions import run_task
from megatinybert.runtime.dist import World
from megatinybert.task import read_arguments
from tests.helpers.toys import bert_config, write_student_shape

TASK = ("-m", "megatinybert.task")
# Letters only, since other words are not rewritten; each label has words of its own.
LABELS = ("bad", "fair", "good")
WORDS = [
    [c + end for c in consonants for end in ("amo", "eru", "iko", "oza")] for consonants in ("bdfg", "klmn", "prst")
]
CHINESE_LABELS = ("差评", "好评")
CHINESE = [list(own + "我你他这那的电影天气") for own in ("坏丑差劣烂恨悲糟苦臭", "好美妙棒爱乐甜香亮喜")]
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def text(random: np.random.Generator, label: int, words: Sequence[Sequence[str]] = WORDS, joined_by: str = " ") -> str:
    """Four to eleven words, most of them the label's; every text has one."""
    chosen = [random.choice(words[label])]
    for _ in range(random.integers(3, 11)):
        of = label if random.random() < 0.7 else int(random.integers(len(words)))
        chosen.append(random.choice(words[of]))
    return joined_by.join(map(str, random.permutation(chosen)))


def write_singles(folder: Path) -> Path:
    """A custom task of three classes: train.txt, eval.txt and test.txt (without labels)."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(1)
    for name, rows in (("train", 48), ("eval", 30), ("test", 9)):
        lines = [(text(random, i % 3), LABELS[i % 3]) for i in range(rows)]
        _write(folder / f"{name}.txt", [line[:1] if name == "test" else line for line in lines])
    return folder


def write_pairs(folder: Path) -> Path:
    """A custom task whose label is what the second text says: yes or no."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(2)
    for name, rows in (("train", 48), ("eval", 24)):
        lines = [(text(random, 1), text(random, 2 * (i % 2)), ("no", "yes")[i % 2]) for i in range(rows)]
        _write(folder / f"{name}.txt", lines)
    return folder


def write_sts_b(folder: Path) -> Path:
    """STS-B's files and columns: the score is 5 where both texts say the same, 0 where the second says the contrary."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(3)
    for name, rows in (("train", 48), ("dev", 24), ("test", 6)):
        lines = [("index", "genre", "sentence1", "sentence2", "score")]
        for i in range(rows):
            score = f"{2.5 * (i % 3) + random.random() / 2:.3f}" if i % 3 < 2 else "5.000"
            lines.append((str(i), "main", text(random, 2), text(random, i % 3), score))
        _write(folder / f"{name}.tsv", [line[:-1] if name == "test" else line for line in lines])
    return folder


def write_sst_2(folder: Path) -> Path:
    """SST-2's files and columns."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(4)
    for name, rows in (("train", 32), ("dev", 16), ("test", 5)):
        lines = [(text(random, 2 * (i % 2)), str(i % 2)) for i in range(rows)]
        if name == "test":
            lines = [(str(i), line) for i, (line, _) in enumerate(lines)]
        _write(folder / f"{name}.tsv", [("index", "sentence") if name == "test" else ("sentence", "label"), *lines])
    return folder


def write_mnli(folder: Path) -> Path:
    """MNLI's files and columns: the label is what the second text says."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(8)
    labels = ("contradiction", "neutral", "entailment")
    sizes = {"train": 48, "dev_matched": 18, "dev_mismatched": 12, "test_matched": 6, "test_mismatched": 6}
    for name, rows in sizes.items():
        lines = [(text(random, 1), text(random, i % 3), labels[i % 3]) for i in range(rows)]
        lines = [("sentence1", "sentence2", "gold_label"), *lines]
        _write(folder / f"{name}.tsv", [line[:-1] if name.startswith("test") else line for line in lines])
    return folder


def write_chinese(folder: Path) -> Path:
    """A custom task of two classes in Chinese characters: train.txt and eval.txt."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(5)
    for name, rows in (("train", 64), ("eval", 24)):
        _write(folder / f"{name}.txt", [(text(random, i % 2, CHINESE, ""), CHINESE_LABELS[i % 2]) for i in range(rows)])
    return folder


def write_teacher(folder: Path, words: Sequence[Sequence[str]] = WORDS, joined_by: str = " ") -> Path:
    """A BERT of two layers without a head, which has learnt what texts of these words say, and its tokenizer."""
    vocabulary = [*_SPECIAL, *dict.fromkeys(word for own in words for word in own)]
    numbers = {token: number for number, token in enumerate(vocabulary)}
    random = np.random.default_rng(6)
    labels = torch.arange(72) % len(words)
    ids = torch.zeros(len(labels), 13, dtype=torch.int64)
    for row, label in zip(ids, labels.tolist(), strict=True):
        said = text(random, label, words, joined_by)
        tokens = ["[CLS]", *(said.split(joined_by) if joined_by else said), "[SEP]"]
        row[: len(tokens)] = torch.tensor([numbers[token] for token in tokens])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        shape: dict[str, Any] = {"vocab_size": len(vocabulary), "initializer_range": 0.2, "num_labels": len(words)}
        model = BertForSequenceClassification(bert_config(2, **shape))
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        for _ in range(40):
            optimizer.zero_grad()
            model(input_ids=ids, attention_mask=(ids > 0).long(), labels=labels).loss.backward()
            optimizer.step()
    model.bert.config.initializer_range = 0.002  # of a new head: the less counts what it begins with
    model.bert.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def write_shape(folder: Path, teacher: Path) -> Path:
    """A student of one layer, for a teacher of `write_teacher`."""
    config = json.loads((teacher / "config.json").read_text(encoding="utf-8"))
    return write_student_shape(folder, 1, vocab_size=config["vocab_size"])


def options(inputs: Path, task: str, output: Path, **overrides: object) -> list[str]:
    """Options of a short run on the folder `task` of `inputs`, where teacher/ and shape/ are; None leaves one out."""
    values: dict[str, object] = {
        "task.name": "custom",
        "task.data_dir": inputs / task,
        "task.max_length": 32,
        "teacher.model": inputs / "teacher",
        "teacher.dtype": "fp32",
        "student.config": inputs / "shape",
        "student.init": "random",
        "student.hidden_dropout": 0.1,
        "augment.copies": 1,
        "augment.candidates": 5,
        "monitor.attention_interval": 0,
        "deepspeed": "zero0",
        "run.output_dir": output,
        "run.log_interval": 1,
        "run.save_interval": 5,
        "run.held_out_interval": 3,
    }
    for stage in ("finetune", "mlm", "one", "two"):
        values |= {
            f"{stage}.max_steps": 30,
            f"{stage}.global_batch": 16,
            f"{stage}.micro_batch": 8,
            f"{stage}.learning_rate": 0.003 if stage in ("finetune", "mlm") else 0.01,
        }
    words: list[str] = []
    for name, value in (values | overrides).items():
        if value is not None:
            words += [f"--{name}", *(map(str, value) if isinstance(value, list | tuple) else [str(value)])]
    return words


def run(action: str, given: Sequence[str], world: World) -> None:
    """An action in this process; augmentation too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("megatinybert.tasks.augment.run.usable_cores", lambda: 1)
        run_task(read_arguments([action, *given]), world)


def command(action: str, given: Sequence[str]) -> list[str]:
    """The same as a process."""
    return [sys.executable, *TASK, action, *given]


def reorder(fine_tuned: Path, folder: Path, order: Sequence[int], names: Sequence[str] | None) -> Path:
    """A copy of a fine-tuned model whose output i is output order[i] of the original; names: of its outputs in the new
    order, None for none.
    """
    folder.mkdir(parents=True)
    for file in fine_tuned.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    weights = load_file(folder / "model.safetensors")
    for name in ("classifier.weight", "classifier.bias"):
        weights[name] = weights[name][list(order)].contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for key in ("id2label", "label2id"):
        del config[key]
    if names is None:
        config["num_labels"] = len(order)
    else:
        config["id2label"] = {str(index): name for index, name in enumerate(names)}
        config["label2id"] = {name: index for index, name in enumerate(names)}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def results(output: Path) -> dict[str, Any]:
    return json.loads((output / "results.json").read_text(encoding="utf-8"))


def _write(path: Path, rows: Sequence[Sequence[str]]) -> None:
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
