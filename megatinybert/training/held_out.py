"""Held-out measurements of students in training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import deepspeed
import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from megatinybert.models.capture import Features, padding_mask
from megatinybert.models.load import Teacher
from megatinybert.objectives.base import Objective, Term, by_group
from megatinybert.runtime.dist import World
from megatinybert.runtime.progress_bar import progress_bar
from megatinybert.runtime.trainees import Trainees
from megatinybert.samples.batches import HeldOutData, as_tensors
from megatinybert.samples.masking import IGNORED
from megatinybert.tracking.measurements import ACCURACY, FEWEST_WINDOWS, MASKED, PROBE, PROJECTED, tag_prefix
from megatinybert.training.trainee import wanted_by


def beside_losses(teacher: Teacher | None, objective: Objective) -> list[str]:
    """The tags of `held_out` beside the losses."""
    if teacher is None:
        return [ACCURACY]
    return [PROBE, PROJECTED] if objective.last_projection else [PROBE]


def held_out(
    trainees: Trainees, teacher: Teacher | None, data: HeldOutData, micro_batch: int, world: World
) -> dict[str, float]:
    """Measure every student on the held-out rows: {tag: value}, with the trainee's name before it if there are several.

    Tags: held_out/total and held_out/GROUP for each group of terms; held_out/probe where there is a teacher, and
    held_out/probe_through_projection where the objective learns a map to its last states; else, of masked rows,
    held_out/accuracy, the share of the masked tokens that the student finds, and held_out/masked_tokens, how many there
    are. Fewer than FEWEST_WINDOWS rows have no probe.
    """
    measured = _scalars_of_each(trainees, teacher, data, micro_batch, world)
    return {
        f"{tag_prefix(name, measured)}{tag}": value
        for name, scalars in measured.items()
        for tag, value in scalars.items()
    }


@torch.no_grad()
def _scalars_of_each(
    trainees: Trainees, teacher: Teacher | None, data: HeldOutData, micro_batch: int, world: World
) -> dict[str, dict[str, float]]:
    """{trainee: {tag: value}}. Every rank makes the same number of forward passes, because ZeRO-3 gathers weights in
    each; a spare one counts nothing.
    """
    count = len(data)
    losses = {name: LossSums(engine.module.objective.terms, world) for name, engine in trainees.items()}
    others: dict[str, _Vectors | _Guesses] = {}
    wanted = wanted_by(engine.module for engine in trainees.values())
    with trainees.evaluating():
        for rows, counted in shares(count, micro_batch, world):
            batch = as_tensors(data.batch(rows), world.device)
            features = teacher.features(batch, wanted) if teacher else None
            for name, engine in trainees.items():
                seen = engine.module.sees(features)
                _, values, student = engine(batch, seen)
                projection = engine.module.objective.last_projection
                new = _Vectors(count, student, seen, projection) if seen else _Guesses(values)
                other = others.setdefault(name, new)
                if counted:
                    losses[name].add(values, _weight(batch))
                    other.add(rows, batch, student, seen)
    return {name: losses[name].scalars() | others[name].scalars(world) for name in trainees}


def shares(count: int, micro_batch: int, world: World) -> Iterator[tuple[np.ndarray, bool]]:
    """This rank's share of `count` rows in micro batches, as many on every rank: (row numbers, whether they count).

    Rank 0 shows a progress bar of all rows while they are measured.
    """
    batches = np.array_split(np.arange(count), range(micro_batch, count, micro_batch))
    with progress_bar(count, "row", desc="measuring", delay=3, leave=False, disable=not world.is_main) as bar:
        for turn in range(0, len(batches), world.size):
            number = turn + world.rank
            yield (batches[number], True) if number < len(batches) else (batches[0], False)
            bar.update(sum(len(batch) for batch in batches[turn : turn + world.size]))


class LossSums:
    """Sums of losses over one rank's share of the rows, in float64."""

    def __init__(self, terms: Sequence[Term], world: World) -> None:
        self._terms, self._world = terms, world
        self._sums = torch.zeros(2 + len(terms), dtype=torch.float64, device=world.device)

    def add(self, values: Tensor, weight: Tensor | int) -> None:
        """values: the total and each term, means over a micro batch. weight: the number that they are means over."""
        self._sums += torch.cat([values.double(), self._sums.new_ones(1)]) * weight

    def scalars(self) -> dict[str, float]:
        """held_out/total and held_out/GROUP: means over the rows of all ranks, which all call it."""
        *sums, weight = self._world.sum(self._sums).tolist()
        total, *losses = (value / max(weight, 1) for value in sums)
        groups = by_group(self._terms, losses)
        return {"held_out/total": total} | {f"held_out/{group}": loss for group, loss in groups.items()}


def _weight(batch: dict[str, Tensor]) -> Tensor | int:
    """What a loss is a mean over: the rows of a micro batch, or its masked tokens."""
    return (batch["masked_labels"] != IGNORED).sum() if "masked_labels" in batch else len(batch["input_ids"])


class _Vectors:
    """A vector of each row by student and teacher; a rank fills in its share.

    projection: takes the student's to the teacher's width; it commutes with the mean over positions.
    """

    def __init__(self, count: int, student: Features, teacher: Features, projection: nn.Linear | None) -> None:
        self.projection = projection
        self.student_ND, self.teacher_NE = (
            states[-1].new_zeros(count, states[-1].shape[-1], dtype=torch.float64)
            for states in (student.hidden_states, teacher.hidden_states)
        )

    def add(self, rows: np.ndarray, batch: dict[str, Tensor], student: Features, teacher: Features | None) -> None:
        assert teacher is not None
        index, mask_BS = torch.from_numpy(rows).to(self.student_ND.device), padding_mask(batch)
        self.student_ND[index] = mean_pool(student.hidden_states[-1], mask_BS).double()
        self.teacher_NE[index] = mean_pool(teacher.hidden_states[-1], mask_BS).double()

    def scalars(self, world: World) -> dict[str, float]:
        if len(self.student_ND) < FEWEST_WINDOWS:
            return {}
        student_ND, teacher_NE = world.sum(self.student_ND), world.sum(self.teacher_NE)
        found = {PROBE: probe(student_ND, teacher_NE)}
        if self.projection is not None:
            with deepspeed.zero.GatheredParameters(list(self.projection.parameters())):
                projected_NE = student_ND @ self.projection.weight.double().T + self.projection.bias.double()
            found[PROJECTED] = probe(projected_NE, teacher_NE)
        return found


class _Guesses:
    """The masked tokens of one rank's share of the rows: how many the student finds, and how many there are."""

    def __init__(self, values: Tensor) -> None:
        self.found_of = torch.zeros(2, dtype=torch.float64, device=values.device)

    def add(self, rows: np.ndarray, batch: dict[str, Tensor], student: Features, teacher: Features | None) -> None:
        assert student.logits is not None
        labels_BP = batch["masked_labels"]
        masked_BP = labels_BP != IGNORED
        found_BP = masked_BP & (student.logits.argmax(dim=-1) == labels_BP)
        self.found_of += torch.stack([found_BP.sum(), masked_BP.sum()])

    def scalars(self, world: World) -> dict[str, float]:
        found, of = world.sum(self.found_of).tolist()
        return {ACCURACY: found / max(of, 1), MASKED: of}


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


def mean_pool(states_BSD: Tensor, mask_BS: Tensor | None) -> Tensor:
    """Mean over the real positions: (B, D), float32."""
    states_BSD = states_BSD.float()
    if mask_BS is None:
        return states_BSD.mean(dim=1)
    weight_BS1 = mask_BS.unsqueeze(-1).float()
    return (states_BSD * weight_BS1).sum(dim=1) / weight_BS1.sum(dim=1)
