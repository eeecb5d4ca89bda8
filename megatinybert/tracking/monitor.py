"""Progress bar, TensorBoard and metrics.jsonl, written by rank 0."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from megatinybert.runtime.files import write_atomically
from megatinybert.runtime.progress_bar import progress_bar
from megatinybert.tracking.measurements import TRAINING, place_of

# Of TensorBoard's custom scalars: {category: {chart: patterns of its tags}}, in the order of the page.
Layout = Mapping[str, Mapping[str, Sequence[str]]]


class MetricsFile:
    """metrics.jsonl in a folder: one JSON object per logged step, integer key "step". Lines of `first` on are dropped.

    What is not finite, such as the gradient norm of a step that fp16 skips, is null: JSON has no other word for it.
    """

    def __init__(self, folder: Path, first: int) -> None:
        path = folder / "metrics.jsonl"
        _drop_from(path, first)
        self._file = path.open("a", encoding="utf-8")

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        row = {tag: value if math.isfinite(value) else None for tag, value in scalars.items()}
        self._file.write(json.dumps({"step": step, **row}) + "\n")
        self._file.flush()

    def close(self) -> None:
        os.fsync(self._file.fileno())
        self._file.close()


class Monitor:
    """Writes each logged step once: what an interrupted run left of steps after `first_step` is dropped.

    output_dir: gets metrics.jsonl and tensorboard/. title: of the progress bar. members: a folder for each of several
    trainees, which gets a metrics.jsonl of its own: its scalars as a run of its own would have them, and what is common
    to all. loss_of: by step, what its loss is of where held-out ones are of something else, such as " with dropout".
    best: the tag by which weights are chosen, if they are; the bar shows its newest value beside the held-out loss.
    """

    def __init__(
        self,
        output_dir: Path,
        first_step: int,
        max_steps: int,
        title: str = "distil",
        members: Mapping[str, Path] | None = None,
        loss_of: Callable[[int], str] = lambda _: "",
        best: str | None = None,
    ) -> None:
        # A run begun anew logs step 0 itself, in place of what one killed before its first checkpoint had left.
        self._first_logged = first_step + 1 if first_step else 0
        self._metrics = MetricsFile(output_dir, self._first_logged)
        self._members = {name: MetricsFile(folder, self._first_logged) for name, folder in (members or {}).items()}
        self._folder = output_dir / "tensorboard"
        self._writers: dict[str, SummaryWriter] = {}
        # Those that are there are opened at once: only that drops what they hold of later steps.
        for name in {TRAINING, *(folder.name for folder in self._folder.glob("*/"))}:
            self._writer(name)
        # smoothing 0: the time left is told from the mean of the steps so far, with the pauses between them.
        self._bar = progress_bar(
            max_steps, "step", initial=first_step, desc=title, dynamic_ncols=True, miniters=1, smoothing=0
        )
        self._clock_runs = False
        self._loss_of = loss_of
        self._of_measured = {"held_out/total": "held-out"} | ({best: best.replace("/", " ")} if best else {})
        self._measured, self._measured_at = dict[str, float](), 0

    def layout(self, layout: Layout) -> None:
        """Arrange the charts of the page "Custom Scalars"."""
        multiline = {
            category: {chart: ["Multiline", list(tags)] for chart, tags in charts.items()}
            for category, charts in layout.items()
        }
        self._writer(TRAINING).add_custom_scalars(multiline)

    def text(self, tag: str, text: str) -> None:
        """Write Markdown about the run as it goes on from here: one text for each time that it was started."""
        self._writer(TRAINING).add_text(tag, text, self._first_logged)

    def image(self, tag: str, step: int, image: np.ndarray) -> None:
        """image: uint8 (height, width, 3)."""
        writer = self._writer(TRAINING)
        writer.add_image(tag, image, step, dataformats="HWC")
        writer.flush()  # a checkpoint of this step may follow, and then this picture is not drawn again

    def advance(self) -> None:
        """One more step is done."""
        if not self._clock_runs:
            # Neither what was before the first step nor that step, slower than others, tells how long the rest takes.
            self._bar.unpause()
            self._bar.initial += 1
            self._clock_runs = True
        self._bar.update()

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write the scalars of a step to metrics.jsonl and TensorBoard, and the chief ones to the bar."""
        self._metrics.write(step, scalars)
        for name, file in self._members.items():
            others = tuple(f"{other}/" for other in self._members if other != name)
            own = {tag: value for tag, value in scalars.items() if not tag.startswith(others)}
            file.write(step, {tag.removeprefix(f"{name}/"): value for tag, value in own.items()})
        try:
            for tag, value in scalars.items():
                place = place_of(tag)
                self._writer(place.run).add_scalar(place.tag, value, step)
            for writer in self._writers.values():
                writer.flush()
        except OSError:  # such as a full disk; a writer that failed once fails for ever, so the next step gets new ones
            self._writers, self._first_logged = {}, step + 1
            raise
        of = self._loss_of(step)
        # Most logged steps are not measured: the newest values stay.
        if now := {name: scalars[tag] for tag, name in self._of_measured.items() if tag in scalars}:
            self._measured, self._measured_at = self._measured | now, step
        text = _values({f"loss{of}": scalars.get("loss/total")})
        if measured := _values(self._measured):
            text += measured
            text[-1] += f" (step {self._measured_at:,})" if self._measured_at != step else ""
        text += _values({f"loss of {name}{of}": scalars.get(f"{name}/loss/total") for name in self._members})
        if "speed/tokens_per_second" in scalars:
            text.append(f"{scalars['speed/tokens_per_second']:,.0f} tokens/s")
        self._bar.set_postfix_str(", ".join(text), refresh=False)

    def close(self) -> None:
        self._bar.close()
        for writer in self._writers.values():
            writer.close()
        for file in (self._metrics, *self._members.values()):
            file.close()

    def _writer(self, name: str) -> SummaryWriter:
        if name not in self._writers:
            self._writers[name] = SummaryWriter(str(self._folder / name), purge_step=self._first_logged)
        return self._writers[name]


def _values(shown: Mapping[str, float | None]) -> list[str]:
    return [f"{name} {value:.4f}" for name, value in shown.items() if value is not None]


def _drop_from(metrics: Path, step: int) -> None:
    """Keep the whole lines of steps before `step`; a line cut short by a kill is dropped with the rest."""
    if not metrics.exists():
        return
    kept = []
    for line in metrics.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n") and json.loads(line)["step"] < step:
            kept.append(line)
    write_atomically(metrics, "".join(kept))
