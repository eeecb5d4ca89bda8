"""What a person watches: the progress bar, TensorBoard and metrics.jsonl. Rank 0 alone writes."""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path

import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from megatinybert.files import write_atomically


class Monitor:
    """Writes each logged step once: scalars of steps after `first_step` that an interrupted run left are dropped.

    output_dir: gets metrics.jsonl (one JSON object per logged step, integer key "step") and tensorboard/.
    """

    def __init__(self, output_dir: Path, first_step: int, max_steps: int) -> None:
        self._metrics = output_dir / "metrics.jsonl"
        # A run begun anew logs step 0 itself, in place of what one killed before its first checkpoint had left.
        first_logged = first_step + 1 if first_step else 0
        _drop_from(self._metrics, first_logged)
        self._file = self._metrics.open("a", encoding="utf-8")
        self._writer = SummaryWriter(str(output_dir / "tensorboard"), purge_step=first_logged)
        # Where nobody watches a terminal, a line every half minute instead of a redrawn bar.
        interval = 0.5 if sys.stderr.isatty() else 30.0
        self._bar = tqdm(
            total=max_steps, initial=first_step, unit="step", desc="distil", dynamic_ncols=True, mininterval=interval
        )

    def text(self, tag: str, text: str) -> None:
        self._writer.add_text(tag, text)

    def advance(self) -> None:
        """One more step is done."""
        self._bar.update()

    def log(self, step: int, scalars: dict[str, float]) -> None:
        """Write the scalars of a step to metrics.jsonl and TensorBoard, and the chief ones to the bar."""
        self._file.write(json.dumps({"step": step, **scalars}) + "\n")
        self._file.flush()
        for tag, value in scalars.items():
            self._writer.add_scalar(tag, value, step)
        self._writer.flush()
        shown = {"loss": scalars.get("loss/total"), "held-out": scalars.get("held_out/total")}
        text = [f"{name} {value:.4f}" for name, value in shown.items() if value is not None]
        if "speed/tokens_per_second" in scalars:
            text.append(f"{scalars['speed/tokens_per_second']:,.0f} tokens/s")
        self._bar.set_postfix_str(", ".join(text), refresh=False)

    def close(self) -> None:
        self._bar.close()
        self._writer.close()
        os.fsync(self._file.fileno())
        self._file.close()


def peak_memory(device: torch.device) -> int:
    """Largest memory so far in bytes: allocated on the GPU, or resident in this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _drop_from(metrics: Path, step: int) -> None:
    """Keep the whole lines of steps before `step`; a line cut short by a kill is dropped with the rest."""
    if not metrics.exists():
        return
    kept = []
    for line in metrics.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n") and json.loads(line)["step"] < step:
            kept.append(line)
    write_atomically(metrics, "".join(kept))
