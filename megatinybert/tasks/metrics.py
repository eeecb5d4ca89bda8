"""The metrics of GLUE."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import stats

from megatinybert.tasks.table import Task


def accuracy(predictions: np.ndarray, labels: np.ndarray) -> float:
    """The share of rows whose class is right. Both int (N,)."""
    return float(np.mean(predictions == labels))


def f1(predictions: np.ndarray, labels: np.ndarray) -> float:
    """2 TP / (2 TP + FP + FN) of class 1. Both int (N,). 0 where no row is of class 1 or said to be."""
    hits = int(np.sum((predictions == 1) & (labels == 1)))
    named = int(np.sum(predictions == 1)) + int(np.sum(labels == 1))
    return 2 * hits / named if named else 0.0


def matthews(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Matthews' correlation coefficient, for any number of classes. Both int (N,).

    With c rows right of N, and p_k and t_k the rows predicted to be and truly of class k (Gorodkin 2004, R_K):
    (c N - sum_k p_k t_k) / sqrt((N^2 - sum_k p_k^2) (N^2 - sum_k t_k^2)). It is undefined where all predictions
    or all labels are one class; 0 is returned there, as for predictions that say nothing about the label.
    """
    count = max(int(predictions.max()), int(labels.max())) + 1
    predicted = np.bincount(predictions, minlength=count).tolist()
    true = np.bincount(labels, minlength=count).tolist()
    rows, right = len(labels), int(np.sum(predictions == labels))
    # In Python's integers: the products exceed 64 bits.
    covariance = right * rows - sum(p * t for p, t in zip(predicted, true, strict=True))
    spread = (rows**2 - sum(p * p for p in predicted)) * (rows**2 - sum(t * t for t in true))
    return covariance / math.sqrt(spread) if spread else 0.0


def pearson(predictions: np.ndarray, labels: np.ndarray) -> float:
    """The linear correlation. Both float (N,). NaN where it is undefined: either is constant."""
    if _is_constant(predictions) or _is_constant(labels):
        return math.nan
    return float(stats.pearsonr(predictions.astype(np.float64), labels.astype(np.float64)).statistic)


def spearman(predictions: np.ndarray, labels: np.ndarray) -> float:
    """The correlation of the ranks, ties at their mean rank. Both float (N,). NaN where either is constant."""
    if _is_constant(predictions) or _is_constant(labels):
        return math.nan
    return float(stats.spearmanr(predictions, labels).statistic)


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": accuracy,
    "f1": f1,
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
}
CORRELATIONS = frozenset(("matthews", "pearson", "spearman"))  # from -1 to 1; the others are shares of rows


def compute_metrics(task: Task, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The task's metrics, and their mean as "score", which is NaN where one of them is.

    logits: float (N, C), C = `task.classes`. labels: (N,), class indices or scores. N is at least 1.
    Raises ValueError where a logit is not finite.
    """
    assert logits.shape == (len(labels), task.classes) and len(labels)
    broken = int(np.sum(~np.isfinite(logits).all(axis=1)))
    if broken:
        raise ValueError(f"{broken:,} of {len(labels):,} rows have a logit that is not finite: the model is broken")
    predictions = predictions_of(task, logits)
    values = {name: METRICS[name](predictions, labels) for name in task.metrics}
    return {**values, "score": sum(values.values()) / len(values)}


def predictions_of(task: Task, logits: np.ndarray) -> np.ndarray:
    """logits: float (N, C) -> the likeliest class, int64 (N,), or the score of a regression, float (N,)."""
    return logits[:, 0] if task.labels is None else logits.argmax(axis=1)


def _is_constant(values: np.ndarray) -> bool:
    return bool((values == values[0]).all())
