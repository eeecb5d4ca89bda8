"""What a constant answer reaches, and what is to be said of models that are no better."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from megatinybert.tasks.metrics import METRICS
from megatinybert.tasks.table import Task

SCORE = "score"  # the mean of a task's metrics


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


def retentions(teacher: float | None, student: float | None, constant: float | None) -> tuple[float, float]:
    """(the student's score as a part of the teacher's; its gain over a constant answer as a part of the teacher's).

    NaN where that says nothing: a score is undefined, or the teacher's is not above 0 and `constant`.
    """
    if teacher is None or student is None or not teacher > max(0.0, constant or 0.0):
        return math.nan, math.nan
    over = math.nan if constant is None else (student - constant) / (teacher - constant)
    return student / teacher, over


def is_better(score: float | None, constant: float) -> bool:
    """score: None or NaN where it is undefined, which is no better than a constant answer."""
    return score is not None and score > constant


def remarks(
    split: str, scores: Mapping[str, float | None], constant: float, answers: Mapping[str, str], advice: str = ""
) -> list[str]:
    """What has to be said of models on the development rows of `split`.

    scores: by model, "teacher" and "student" as far as they are there. answers: the only one that a model gives.
    advice: what to do about a student that has learnt nothing.
    """
    said = []
    for name, score in scores.items():
        if name in answers:
            said.append(f"The {name} answers {answers[name]!r} to every row of {split}.")
        if is_better(score, constant):
            continue
        shown = "undefined" if score is None or math.isnan(score) else f"{score:.4f}"
        text = f"The {name} ({shown}) is not better on {split} than the best constant answer ({constant:.4f})"
        if name == "teacher":
            said.append(f"{text}, so its student can learn nothing from it, and no retention is given.")
        else:
            said.append(f"{text}: it has learnt nothing useful. {advice}".rstrip())
    return said
