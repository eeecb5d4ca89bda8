"""Held-out measurements of students in training: their losses, and a probe that needs no labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from deepspeed.runtime.engine import DeepSpeedEngine
from scipy.stats import spearmanr
from torch import Tensor

from megatinybert.capture import mean_pool, padding_mask
from megatinybert.dist import World
from megatinybert.engine import as_tensors
from megatinybert.models import Teacher
from megatinybert.monitor import tag_prefix
from megatinybert.objectives.base import Term, by_group

PROBE = "held_out/probe"


class HeldOutData(Protocol):
    """Rows that training never sees. batch: of the rows of these numbers, int64 (B,)."""

    def __len__(self) -> int: ...
    def batch(self, rows: np.ndarray) -> dict[str, np.ndarray]: ...


def held_out(
    engines: Mapping[str, DeepSpeedEngine], teacher: Teacher, data: HeldOutData, micro_batch: int, world: World
) -> dict[str, float]:
    """Measure every student on the held-out rows: {tag: value}, with the trainee's name before it if there are several.

    Tags: held_out/total, held_out/GROUP for each group of terms, held_out/probe.
    """
    measured = _measure(engines, teacher, data, micro_batch, world)
    return {
        f"{tag_prefix(name, measured)}{tag}": value
        for name, scalars in measured.items()
        for tag, value in scalars.items()
    }


@torch.no_grad()
def _measure(
    engines: Mapping[str, DeepSpeedEngine], teacher: Teacher, data: HeldOutData, micro_batch: int, world: World
) -> dict[str, dict[str, float]]:
    """{trainee: {tag: value}}. Every rank makes the same number of
    forward passes, because ZeRO-3 gathers weights in each; a spare one counts nothing.
    """
    count = len(data)
    batches = np.array_split(np.arange(count), range(micro_batch, count, micro_batch))
    tallies: dict[str, _Tally] = {}
    for engine in engines.values():
        engine.eval()
    for turn in range(0, len(batches), world.size):
        number = turn + world.rank
        rows = batches[number] if number < len(batches) else batches[0]
        batch = as_tensors(data.batch(rows), world.device)
        features, mask_BS = teacher.features(batch), padding_mask(batch)
        teacher_BE = mean_pool(features.hidden_states[-1], mask_BS)
        for name, engine in engines.items():
            _, values, student = engine(batch, features)
            student_BD = mean_pool(student.hidden_states[-1], mask_BS)
            tally = tallies.setdefault(name, _Tally(count, values, student_BD, teacher_BE))
            if number < len(batches):
                tally.add(rows, values, student_BD, teacher_BE)
    for engine in engines.values():
        engine.train()
    return {name: tallies[name].scalars(engine.module.objective.terms, world) for name, engine in engines.items()}


class _Tally:
    """Sums over one rank's share of the held-out windows, in float64."""

    def __init__(self, count: int, values: Tensor, student_BD: Tensor, teacher_BE: Tensor) -> None:
        self.count = count
        self.values = torch.zeros_like(values, dtype=torch.float64)
        self.student_ND = torch.zeros(count, student_BD.shape[1], dtype=torch.float64, device=values.device)
        self.teacher_NE = torch.zeros(count, teacher_BE.shape[1], dtype=torch.float64, device=values.device)

    def add(self, rows: np.ndarray, values: Tensor, student_BD: Tensor, teacher_BE: Tensor) -> None:
        self.values += values.double() * len(rows)
        index = torch.from_numpy(rows).to(values.device)
        self.student_ND[index], self.teacher_NE[index] = student_BD.double(), teacher_BE.double()

    def scalars(self, terms: Sequence[Term], world: World) -> dict[str, float]:
        total, *losses = (world.sum(self.values) / self.count).tolist()
        scalars = {"held_out/total": total}
        scalars |= {f"held_out/{group}": loss for group, loss in by_group(terms, losses).items()}
        scalars[PROBE] = probe(world.sum(self.student_ND), world.sum(self.teacher_NE))
        return scalars


def probe(student_ND: Tensor, teacher_NE: Tensor) -> float:
    """Spearman correlation between the pairwise cosine similarities of two sets of N sentence vectors, in [-1, 1].

    High where the student finds the same texts alike as the teacher does. NaN where all similarities are equal.
    """
    rows, columns = np.triu_indices(len(student_ND), k=1)
    similarities = []
    for vectors in (student_ND, teacher_NE):
        unit = torch.nn.functional.normalize(vectors.double(), dim=-1)
        similarities.append((unit @ unit.T).cpu().numpy()[rows, columns])
    return float(spearmanr(*similarities).statistic)
