"""Options of data_prep/augment.py."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from megatinybert.config.flat import FilePath, FlatOptions
from megatinybert.config.program import Program
from megatinybert.config.rows import RowOptions, TaskName
from megatinybert.config.values import Count, FractionAboveZero, Index, Names, Text

# N of the paper's authors; fewer for tasks that have many rows.
PUBLISHED_COPIES = {"cola": 30, "mrpc": 30, "rte": 30, "sts-b": 30, "sst-2": 20, "qnli": 20, "mnli": 10, "qqp": 10}
OTHER_COPIES = 20
BATCH_TOKENS = {"cpu": 1024, "cuda": 32768}

_COPIES = ", ".join(f"{name} {copies}" for name, copies in PUBLISHED_COPIES.items())
_BATCHES = ", ".join(f"{tokens:,} on {device}" for device, tokens in BATCH_TOKENS.items())


class _AugmentOptions(FlatOptions):
    task: TaskName = Field(description="a GLUE task, such as sst-2, or custom")
    data_dir: Text = Field(description="folder of the task's files")
    labels: Names | None = Field(None, description="classes of a custom task, in order (null: those of its files)")
    kind: Literal["auto", "classification", "regression"] = Field(
        "auto", description="what a custom task is; auto: a regression where labels are numbers and not all whole"
    )
    model: Text = Field(description="folder or hub name of a BERT with its masked-LM head, which proposes words")
    tokenizer: Text | None = Field(None, description="folder or hub name (null: the model's own)")
    output: FilePath = Field(description="new .jsonl file of all rows")
    copies: Count | None = Field(
        None, description=f"of each row, at most (null: as published: {_COPIES}, others {OTHER_COPIES})"
    )
    probability: FractionAboveZero = Field(0.4, description="chance of a word to be replaced in a copy")
    candidates: Count = Field(15, description="words that a replacement is drawn from")
    vectors: FilePath | None = Field(
        None, description="word vectors in GloVe's text format, for words of several pieces (null: the model alone)"
    )
    segmenter: Literal["none", "jieba"] = Field(
        "none", description="what finds Chinese words; none: each character; jieba needs that package"
    )
    rows: Index = Field(0, description="how many of the rows are rewritten, chosen by the seed (0: all)")
    seed: Index = Field(0, description="seed of all draws")
    workers: Index = Field(0, description="processes, which change no byte (0: one per usable core, and one on a GPU)")
    batch_tokens: Count | None = Field(
        None, description=f"tokens of a forward pass, padding included (null: {_BATCHES})"
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="what the model runs on")
    skip_bad_rows: bool = Field(False, description="leave out and count rows that cannot be parsed")
    resume: bool = Field(False, description="continue an unfinished file")

    @field_validator("output")
    @classmethod
    def _json_lines(cls, output: Path) -> Path:
        if output.suffix != ".jsonl":
            raise ValueError("its name must end in .jsonl, which is what is written")
        return output

    @property
    def reader(self) -> str:
        """Folder or hub name of the tokenizer."""
        return self.tokenizer or self.model


class AugmentOptions(RowOptions, _AugmentOptions):  # pydantic puts the fields of the last base first
    """More training rows for a task."""


_USAGE = """\
usage:
  python data_prep/augment.py --task NAME --data-dir FOLDER --model NAME_OR_FOLDER --output FILE.jsonl [...]

Writes a task's training rows, each followed by copies with words replaced (TinyBERT, algorithm 1). --labels takes all
words up to the next option; --resume and --skip-bad-rows need no value. A recipe is a YAML file of any of the options
below (data_dir: data/SST-2); those on the command line are applied over it, and VALUE null goes back to the default.
Relative paths are relative to the working directory.

  --config RECIPE.yaml          the recipe (none: command line and defaults only)
  --print-config                print the resolved configuration, itself a valid recipe, and stop
  --help                        print this text and stop
"""

AUGMENT = Program(AugmentOptions, _USAGE)
