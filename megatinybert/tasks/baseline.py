"""What a constant answer and chance reach, and what is to be said of models that are no better."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from megatinybert.runtime.counts import counted
from megatinybert.tasks.metrics import CORRELATIONS, METRICS
from megatinybert.tasks.table import Task

SCORE = "score"  # the mean of a task's metrics


@dataclass(frozen=True)
class Baseline:
    """What a model that has learnt something is better than, in one metric or the mean of several of a kind.

    constant: what the best constant answer reaches (`constant_scores`). rows: that are measured. correlation: whether
    the metric is one, or else a share of rows.
    """

    constant: float
    rows: int
    correlation: bool

    @classmethod
    def of(cls, metrics: Iterable[str], constant: float, rows: int) -> Baseline:
        """metrics: those of a task, which are all correlations, or none is."""
        return cls(constant, rows, not CORRELATIONS.isdisjoint(metrics))

    def chance(self, score: float) -> float:
        """The lead over `constant` that chance explains: two standard errors of the score, as 95 % of a normal
        distribution are within 1.96 of them.

        The standard error of a share v of N rows is sqrt(v (1 - v) / N), by the binomial distribution; that of a
        correlation r is (1 - r^2) / sqrt(N) for large N (Fisher 1915). At a perfect score both are 0, so that few rows
        do not condemn a model without a mistake.
        """
        variance = (1 - score**2) ** 2 if self.correlation else score * (1 - score)
        return 2 * math.sqrt(variance / self.rows)

    def is_beaten(self, score: float | None) -> bool:
        """Whether by more than chance. score: None or NaN where it is undefined, which beats nothing."""
        return score is not None and score - self.constant > self.chance(score)

    def above(self, teacher: float, student: float, split: str) -> str:
        """What to say of a student's score above its teacher's on the rows of `split`.

        The standard error of the difference is that of two scores whose mistakes are not related: sqrt(a^2 + b^2). Both
        models answer the same rows and often err on the same ones, so it is rather too large than too small.
        """
        chance = math.hypot(self.chance(teacher), self.chance(student))
        which = "within chance" if student - teacher <= chance else "more than chance explains"
        return (
            f"The student is above its teacher on {split} ({student:.4f}; the teacher has {teacher:.4f}), which is "
            f"{which}: two standard errors of the difference on {counted(self.rows, 'row')} are {chance:.4f}."
        )

    def unbeaten(self, score: float | None, split: str) -> str:
        """What to say of a score that does not beat it on the rows of `split`, to follow "X is"."""
        if score is None or math.isnan(score):
            return f"no better than chance on {split} (undefined; the best constant answer has {self.constant:.4f})"
        rows = counted(self.rows, "row")
        return (
            f"no better than chance on {split} ({score:.4f}; the best constant answer has {self.constant:.4f}, and two "
            f"standard errors of {rows} are {self.chance(score):.4f})"
        )


def constant_scores(task: Task, labels: np.ndarray) -> dict[str, float]:
    """The best that one answer to all rows reaches, in each metric by itself; their mean as "score".

    labels: (N,), class indices or scores, of the rows that are measured: no other constant answer, such as the
    commonest class of the training rows, is better on them. A correlation (Matthews, Pearson, Spearman) of a constant
    is undefined and counts as 0. For accuracy it is the share of the commonest class; for F1 it is that of class 1.
    """
    values = dict.fromkeys(task.metrics, 0.0)
    for answer in range(task.classes if task.labels is not None else 0):
        predictions = np.full(len(labels), answer)
        values = {name: max(best, METRICS[name](predictions, labels)) for name, best in values.items()}
    return {**values, SCORE: sum(values.values()) / len(values)}


def only_answer(task: Task, predictions: np.ndarray) -> str | None:
    """The answer that all predictions (N,) give; None where they differ."""
    first = predictions[0]
    if not (predictions == first).all():
        return None
    return f"{first:g}" if task.labels is None else task.labels[int(first)]


def retentions(teacher: float | None, student: float | None, baseline: Baseline | None) -> tuple[float, float]:
    """(the student's score as a part of the teacher's; its gain over a constant answer as a part of the teacher's).

    NaN where that says nothing: a score is undefined, or the teacher's is not positive or does not beat `baseline`.
    """
    if teacher is None or student is None or not teacher > 0:
        return math.nan, math.nan
    if baseline is None:
        return student / teacher, math.nan
    if not baseline.is_beaten(teacher):
        return math.nan, math.nan
    return student / teacher, (student - baseline.constant) / (teacher - baseline.constant)


def remarks(
    split: str, scores: Mapping[str, float | None], baseline: Baseline, answers: Mapping[str, str], advice: str = ""
) -> list[str]:
    """What has to be said of models on the development rows of `split`.

    scores: by model, "teacher" and "student" as far as they are there. answers: the only one that a model gives.
    advice: what to do about a student that has learnt nothing, though its teacher has.
    """
    said = []
    teacher, student = scores.get("teacher"), scores.get("student")
    may_learn = "teacher" not in scores or baseline.is_beaten(teacher)
    for name, score in scores.items():
        if name in answers:
            said.append(f"The {name} answers {answers[name]!r} to every row of {split}.")
        if baseline.is_beaten(score):
            continue
        text = f"The {name} is {baseline.unbeaten(score, split)}"
        if name == "teacher":
            said.append(f"{text}, so its student can learn nothing from it, and no retention is given.")
        else:
            said.append(f"{text}: nothing shows that it has learnt anything. {advice if may_learn else ''}".rstrip())
    if teacher is not None and student is not None and student > teacher and baseline.is_beaten(teacher):
        said.append(baseline.above(teacher, student, split))
    return said
