"""What one run of benchmarks/step.py measures, and the inputs it makes for itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import BertConfig, BertModel

from megatinybert.config.deepspeed import load_ds_config
from megatinybert.config.load import GeneralConfig, load_config
from megatinybert.corpus.shards import bin_path, idx_path, write_index
from megatinybert.models.configuration import read_bert_config


@dataclass(frozen=True)
class Job:
    """teacher: a model folder. corpus: prefix of a Megatron dataset. micro_batch: windows of one step. compile: whether
    the product's step goes through torch.compile, "always" or "never". quantize: its teacher's products."""

    teacher: str
    corpus: str
    student: str
    length: int
    micro_batch: int
    deepspeed: str
    compile: str = "never"
    quantize: str = "none"

    @property
    def tokens(self) -> int:
        """Tokens of one step."""
        return self.micro_batch * self.length

    def config(self) -> GeneralConfig:
        """The recipe of the measured steps; what is not named here has the product's defaults."""
        options = {
            "teacher.model": self.teacher,
            "student.config": self.student,
            "data.shards": self.corpus,
            "data.sequence_length": self.length,
            "run.global_batch": self.micro_batch,
            "run.micro_batch": self.micro_batch,
            "run.compile": self.compile,
            "optimizer.learning_rate": 5e-4,  # null would ask for that of a run's length
            "teacher.quantize": self.quantize,
            "deepspeed": self.deepspeed,
        }
        return load_config([f"--{name}={value}" for name, value in options.items()])

    def check(self) -> None:
        """Refuse at once what would fail in the middle of a measurement, with a ValueError."""
        load_ds_config(self.deepspeed, self.config(), world_size=1)
        positions = read_bert_config(self.teacher, "--teacher").max_position_embeddings
        if self.length > positions:
            raise ValueError(
                f"--length {self.length} is more than the {positions:,} positions of --teacher {self.teacher}: "
                "shorten it, or leave --teacher out for a random one that fits"
            )


def write_teacher(folder: Path, length: int) -> str:
    """Write a BERT-base of random weights with at least `length` positions."""
    BertModel(BertConfig(max_position_embeddings=max(512, length))).save_pretrained(folder)
    return str(folder)


def write_corpus(prefix: Path, vocab_size: int, tokens: int) -> str:
    """Write a Megatron dataset of one document of random tokens."""
    ids = np.random.default_rng(0).integers(0, vocab_size, tokens).astype(np.int32)
    bin_path(prefix).write_bytes(ids.tobytes())
    write_index(idx_path(prefix), ids.dtype, np.array([tokens]), np.array([1]))
    return str(prefix)
