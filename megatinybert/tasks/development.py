"""Losses and metrics on development rows in training, and which rows these are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from deepspeed.runtime.engine import DeepSpeedEngine

from megatinybert.models.load import Teacher
from megatinybert.runtime.dist import World
from megatinybert.samples.batches import HeldOutData, as_tensors
from megatinybert.tasks.baseline import SCORE
from megatinybert.tasks.metrics import compute_metrics
from megatinybert.tasks.rows import EncodedRows
from megatinybert.tasks.table import Task
from megatinybert.training.held_out import LossSums, shares

HELD_OUT_ROWS = 256  # that stages without answers are measured on


def measured_rows(dev: Mapping[str, EncodedRows], answers: bool) -> int:
    """How many each measurement of a stage has. answers: whether it gives any."""
    return sum(map(len, dev.values())) if answers else len(some_rows(dev))


def some_rows(dev: Mapping[str, EncodedRows]) -> HeldOutData:
    """The rows that stages without answers are measured on: the first of the first split."""
    return _First(next(iter(dev.values())), HELD_OUT_ROWS)


class _First:
    """The first rows of some."""

    def __init__(self, rows: EncodedRows, count: int) -> None:
        self._rows, self._count = rows, min(count, len(rows))

    def __len__(self) -> int:
        return self._count

    def batch(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        return self._rows.batch(rows)


def measured_tags(task: Task, dev: Mapping[str, EncodedRows]) -> list[str]:
    """The tags of `measure_task` beside the losses: split/metric."""
    return [f"{split}/{metric}" for split in dev for metric in (*task.metrics, SCORE)]


def score_tag(dev: Mapping[str, EncodedRows]) -> str:
    """The tag by which checkpoints are selected."""
    return f"{next(iter(dev))}/{SCORE}"


@torch.no_grad()
def measure_task(
    engine: DeepSpeedEngine,
    teacher: Teacher | None,
    task: Task,
    dev: Mapping[str, EncodedRows],
    micro_batch: int,
    world: World,
) -> dict[str, float]:
    """Losses on the first split (held_out/total, held_out/GROUP) and the metrics of every split (split/metric).

    Every rank calls it and makes the same number of forward passes, because ZeRO-3 gathers weights in each.
    """
    scalars: dict[str, float] = {}
    engine.eval()
    for split, rows in dev.items():
        by_length = np.argsort(rows.lengths, kind="stable")
        losses = LossSums(engine.module.objective.terms, world)
        logits_NC = torch.zeros(len(rows), task.classes, dtype=torch.float64, device=world.device)
        for places, counted in shares(len(rows), micro_batch, world):
            ids = by_length[places]
            batch = as_tensors(rows.batch(ids), world.device)
            _, values, student = engine(batch, teacher.features(batch, engine.module.wanted) if teacher else None)
            if counted:
                losses.add(values, len(ids))
                logits_NC[torch.from_numpy(ids).to(world.device)] = student.logits.double()
        if not scalars:
            scalars |= losses.scalars()
        logits = world.sum(logits_NC).float().cpu().numpy()
        scalars |= {f"{split}/{name}": value for name, value in compute_metrics(task, logits, rows.gold).items()}
    engine.train()
    return scalars
