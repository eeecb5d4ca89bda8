"""Tiny models, tokenizers and corpora that tests make for themselves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from megatinybert.corpus.shards import bin_path, idx_path, write_index

REPOSITORY = Path(__file__).resolve().parents[2]
WORDS = [f"w{i}" for i in range(95)]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]


def bert_config(layers: int = 4, hidden: int = 24, heads: int = 4, **more: object) -> BertConfig:
    settings: dict[str, Any] = {
        "intermediate_size": 2 * hidden,
        "vocab_size": len(VOCABULARY),
        "max_position_embeddings": 64,
    }
    return BertConfig(hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, **(settings | more))


def write_teacher(folder: Path, layers: int = 4, hidden: int = 24, heads: int = 4, **more: object) -> Path:
    """A random BERT, livelier than at BERT's own initialisation, with its tokenizer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        model = BertModel(bert_config(layers, hidden, heads, initializer_range=0.2, **more))
    model.save_pretrained(folder)
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(VOCABULARY) + "\n")
    BertTokenizerFast(str(vocabulary)).save_pretrained(folder)
    return folder


def write_student_shape(folder: Path, layers: int = 2, hidden: int = 12, heads: int = 4, **more: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    bert_config(layers, hidden, heads, **more).save_pretrained(folder)
    return folder


def write_dataset(prefix: Path, tokens: int = 4000, seed: int = 0, dtype: type = np.uint16) -> Path:
    """A Megatron dataset of documents with repeating phrases, so that there is something to learn."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    ids = 5 + (np.cumsum(random.integers(1, 4, tokens)) % len(WORDS))
    lengths: list[int] = []
    while sum(lengths) < tokens:
        lengths.append(min(int(random.integers(20, 60)), tokens - sum(lengths)))
    ids[np.cumsum(lengths) - 1] = 3
    bin_path(prefix).write_bytes(ids.astype(dtype).tobytes())
    write_index(idx_path(prefix), np.dtype(dtype), np.asarray(lengths), np.arange(1, len(lengths) + 1))
    return prefix


def recipe(folder: Path, **overrides: object) -> list[str]:
    """Command-line options of a small complete run whose inputs are made in `folder`."""
    teacher, shape, corpus = folder / "teacher", folder / "shape", folder / "corpus"
    if not teacher.exists():
        write_teacher(teacher)
        write_student_shape(shape)
        write_dataset(corpus)
    options: dict[str, object] = {
        "teacher.model": teacher,
        "teacher.dtype": "fp32",
        "student.config": shape,
        "student.init": "random",
        "student.hidden_dropout": 0.1,
        "data.shards": corpus,
        "data.sequence_length": 16,
        "data.held_out_windows": 12,
        "optimizer.learning_rate": 0.01,
        "run.output_dir": folder / "run",
        "run.global_batch": 8,
        "run.micro_batch": 4,
        "run.max_steps": 4,
        "run.log_interval": 1,
        "run.held_out_interval": 2,
        "monitor.attention_interval": 0,
        "deepspeed": "zero1",
        **overrides,
    }
    return [part for name, value in options.items() for part in (f"--{name}", str(value))]


def padded_batch(rows: int) -> dict[str, torch.Tensor]:
    """Rows of 8 random tokens, the second of which ends after 5."""
    ids = torch.randint(5, len(VOCABULARY), (rows, 8), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    return {"input_ids": ids, "token_type_ids": torch.zeros_like(ids), "attention_mask": mask}


_NOT_INHERITED = {
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_SIZE", "MASTER_ADDR", "MASTER_PORT"),
    *("DS_ACCELERATOR", "HOSTFILE", "DEEPSPEED_ARGS"),
}


# launch/task.sh, which fails where it has imported PyTorch or Transformers.
TASK_WITHOUT_TORCH = """
import sys
from megatinybert.task import main
try:
    main()
finally:
    assert 'torch' not in sys.modules and 'transformers' not in sys.modules
"""


def environment(**more: str) -> dict[str, str]:
    """For processes a test starts: this interpreter's tools first, one thread a rank, nothing from outside."""
    bin_folder = str(Path(sys.executable).parent)
    clean = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    return {
        **clean,
        "PATH": bin_folder + os.pathsep + os.environ["PATH"],
        "PYTHONPATH": str(REPOSITORY),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
        **more,
    }


def run_general(
    options: list[str], ranks: int = 1, port: int = 0, python: Sequence[str] = (sys.executable,), **more: str
) -> subprocess.CompletedProcess[str]:
    """Run general distillation: one process, or `ranks` of them by the deepspeed launcher. python: of one."""
    if ranks == 1:
        command = [*python, "-m", "megatinybert.general", *options]
    else:
        launcher = ["deepspeed", "--num_accelerators", str(ranks), "--master_port", str(port or free_port())]
        command = [*launcher, "launch/general.sh", *options]
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment(**more), capture_output=True, text=True, timeout=300, check=False
    )


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def metrics(run_dir: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
