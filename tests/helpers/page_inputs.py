"""What the pages name without making it (a teacher, text, shards, a task, a finished run), small."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import BertForPreTraining

from tests.helpers.pages import blocks
from tests.helpers.toys import REPOSITORY, WORDS, write_dataset, write_teacher

PROGRAM = ("data_prep", "ds_configs", "launch", "megatinybert")
TEACHER = "google-bert/bert-base-uncased"
CHINESE_TEACHER = "hfl/chinese-bert-wwm-ext"


def teacher(path: Path) -> None:
    """With the heads of BERT's pretraining, as the real ones have them."""
    write_teacher(path, layers=12, heads=12)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        BertForPreTraining.from_pretrained(path).save_pretrained(path)


def general_run(path: Path) -> None:
    """What a finished general distillation leaves for a task."""
    write_teacher(path / "student", layers=4, hidden=12, heads=12)
    (path / "config.yaml").write_text("")
    projection = {"projections.0.weight": torch.zeros(24, 12), "projections.0.bias": torch.zeros(24)}
    save_file(projection, path / "objective.safetensors", {"objective": "{}", "trained_positions": "64"})


def task_texts() -> list[str]:
    return [" ".join(WORDS[(11 * row + word * word) % len(WORDS)] for word in range(4 + row % 5)) for row in range(16)]


def labelled(texts: list[str]) -> str:
    return "".join(f"{text}\t{row % 2}\n" for row, text in enumerate(texts))


def sst_2(path: Path) -> None:
    path.mkdir(parents=True)
    texts = task_texts()
    for split in ("train", "dev"):
        (path / f"{split}.tsv").write_text("sentence\tlabel\n" + labelled(texts))
    (path / "test.tsv").write_text("index\tsentence\n" + "".join(f"{row}\t{text}\n" for row, text in enumerate(texts)))


def reviews(path: Path) -> None:
    path.mkdir(parents=True)
    for split in ("train", "eval"):
        (path / f"{split}.txt").write_text(labelled(task_texts()))


def text(path: Path) -> None:
    """A text of 200 documents; for a name without a suffix, a folder with one."""
    file = path if path.suffix else path / "book.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    documents = (" ".join(WORDS[(7 * d + i * i) % len(WORDS)] for i in range(40)) for d in range(200))
    file.write_text("\n\n".join(documents) + "\n")


def shards(prefix: Path) -> None:
    write_dataset(prefix)


def folder(path: Path) -> None:
    path.mkdir(parents=True)


def recipe(path: Path) -> None:
    path.write_text(f"teacher: {{model: {TEACHER}}}\ndata: {{shards: data/shards}}\n")


def hosts(path: Path) -> None:
    path.write_text("node-1 slots=8\nnode-2 slots=8\n")


# Of pages whose commands run.
INPUTS: dict[str, Callable[[Path], object]] = {
    TEACHER: teacher,
    CHINESE_TEACHER: teacher,
    "my_text": text,
    "data/*.txt": lambda path: text(path.with_name("train.txt")),
    "data/SST-2": sst_2,
    "data/reviews": reviews,
    "data/评论": reviews,
    "data/shards": shards,
    "data/wikipedia": shards,
    "runs/tinybert-4l": general_run,
    "runs/longer": lambda path: text(path / "corpus.txt"),
    "runs/wider": lambda path: text(path / "corpus.txt"),
}
# What is needed beside it, since the page does not name it.
NEEDED_BY = {"launch/recipes/": (TEACHER, "data/wikipedia")}
# What has to exist already for a command that is only read.
READ_INPUTS: dict[str, Callable[[Path], object]] = {
    "recipe.yaml": recipe,
    "TinyBERT_General_4L_312D": folder,
}


def copy_of_the_repository(copy: Path, page: Path, finished_run: Path | None) -> None:
    """The program, and what the page's blocks name but do not make.

    finished_run: what stands for `runs/quickstart`; None: the commands are only read.
    """
    for name in PROGRAM:
        shutil.copytree(REPOSITORY / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / ".venv" / "bin").mkdir(parents=True)
    (copy / ".venv" / "bin" / "activate").touch()
    hosts(copy / "hosts")
    commands = "".join(block.text for block in blocks(page) if block.language in ("sh", "python"))
    inputs, needed_by = READ_INPUTS, {}
    if finished_run is not None:
        finished = {"runs/quickstart": lambda path: text(shutil.copytree(finished_run, path) / "corpus.txt")}
        inputs, needed_by = READ_INPUTS | INPUTS | finished, NEEDED_BY
    named = {name for name in inputs if name in commands}
    named |= {name for cause, names in needed_by.items() if cause in commands for name in names}
    made_there = re.findall(r"--(?:run\.output_dir|output) (\S+)", commands)
    for name in sorted(named.difference(made_there)):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        inputs[name](copy / name)
