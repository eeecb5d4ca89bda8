"""What to augment and how, and what came of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch

from megatinybert.tasks.augment.output import Totals
from megatinybert.tasks.augment.words import Segmenter

Kind = Literal["auto", "classification", "regression"]
Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class AugmentOptions:
    """Each field is a command-line option of data_prep/augment.py.

    labels, kind: of a custom task, as `open_task` takes them. tokenizer: None: the model's own. copies: of each row, at
    most; None: the published number of the task. candidates: M, of each word. vectors: a file of word
    vectors, for words of several pieces. rows: how many rows are rewritten, chosen by a hash; 0: all. workers: 0 means
    one per usable core, and one on a GPU. batch_tokens: of a forward pass; None: what suits the device.
    """

    task: str
    data_dir: str
    model: str
    output: Path
    tokenizer: str | None = None
    labels: Sequence[str] | None = None
    kind: Kind = "auto"
    copies: int | None = None
    probability: float = 0.4
    candidates: int = 15
    vectors: Path | None = None
    segmenter: Segmenter = "none"
    rows: int = 0
    seed: int = 0
    workers: int = 0
    batch_tokens: int | None = None
    device: Device = "auto"
    skip_bad_rows: bool = False
    resume: bool = False

    @property
    def reader(self) -> str:
        """Folder or hub name of the tokenizer."""
        return self.tokenizer or self.model

    def problems(self) -> list[str]:
        """What is wrong with the values, each naming its option."""
        problems = []
        if self.output.suffix != ".jsonl":
            problems.append(f"--output {self.output}: its name must end in .jsonl, which is what is written")
        least = {"copies": 1, "candidates": 1, "rows": 0, "seed": 0, "workers": 0, "batch_tokens": 1}
        for name, value in least.items():
            given = getattr(self, name)
            if given is not None and given < value:
                problems.append(f"--{name.replace('_', '-')} {given}: must be at least {value}")
        if not (math.isfinite(self.probability) and 0 < self.probability <= 1):
            problems.append(f"--probability {self.probability}: must be above 0 and at most 1")
        for name, kind in (("segmenter", Segmenter), ("device", Device)):
            if getattr(self, name) not in get_args(kind):
                problems.append(f"--{name} {getattr(self, name)}: must be one of {', '.join(get_args(kind))}")
        if self.device == "cuda" and not torch.cuda.is_available():
            problems.append("--device cuda: torch sees no CUDA device here; use --device cpu")
        return problems

    def choose_device(self) -> torch.device:
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)


@dataclass(frozen=True)
class AugmentReport:
    """was_whole: the file was there already. seconds: of this call. messages: the first about skipped rows."""

    totals: Totals
    was_whole: bool
    seconds: float
    messages: Sequence[str] = ()
