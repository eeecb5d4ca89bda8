"""The metrics against literal formulas and cases worked by hand."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

from megatinybert.tasks.metrics import METRICS, compute_metrics
from megatinybert.tasks.table import TASKS

RANDOM = np.random.default_rng(0)


def metric(name: str, predictions: list[float], labels: list[float]) -> float:
    return METRICS[name](np.array(predictions), np.array(labels))


def test_by_hand() -> None:
    predictions, labels = [1, 1, 1, 0, 0, 1], [1, 0, 1, 1, 0, 0]  # TP 2, FP 2, FN 1, TN 1
    assert metric("accuracy", predictions, labels) == 0.5
    assert metric("f1", predictions, labels) == pytest.approx(4 / 7)
    assert metric("matthews", predictions, labels) == pytest.approx((2 * 1 - 2 * 1) / math.sqrt(4 * 3 * 3 * 2))
    assert metric("matthews", [1, 1, 0, 0], [1, 1, 0, 1]) == pytest.approx((2 * 1 - 0 * 1) / math.sqrt(2 * 3 * 1 * 2))
    assert metric("pearson", [1, 2, 3], [1, 3, 2]) == pytest.approx(0.5)
    assert metric("spearman", [10, 200, 3000], [0.1, 0.3, 0.2]) == pytest.approx(0.5)
    assert metric("spearman", [1, 1, 2], [1, 2, 3]) == pytest.approx(math.sqrt(3) / 2), "ties have their mean rank"


def test_matthews_is_the_correlation_of_two_classes() -> None:
    predictions, labels = RANDOM.integers(2, size=(2, 500))
    tp, tn = np.sum(predictions & labels), np.sum((1 - predictions) & (1 - labels))
    fp, fn = np.sum(predictions & (1 - labels)), np.sum((1 - predictions) & labels)
    literal = (tp * tn - fp * fn) / math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    assert METRICS["matthews"](predictions, labels) == pytest.approx(literal, abs=1e-12)
    assert np.corrcoef(predictions, labels)[0, 1] == pytest.approx(literal, abs=1e-12)


def test_matthews_of_many_classes_is_the_correlation_of_indicators() -> None:
    labels = RANDOM.integers(4, size=1000)
    predictions = np.where(RANDOM.random(1000) < 0.6, labels, RANDOM.integers(4, size=1000))
    x, y = np.eye(4)[predictions], np.eye(4)[labels]
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    literal = (x * y).sum() / math.sqrt((x * x).sum() * (y * y).sum())
    assert METRICS["matthews"](predictions, labels) == pytest.approx(literal, abs=1e-12)


def test_matthews_of_many_rows_does_not_overflow() -> None:
    labels = np.arange(400_000) % 2
    assert METRICS["matthews"](labels, labels) == 1.0
    assert METRICS["matthews"](1 - labels, labels) == -1.0


def test_correlations_are_those_of_the_definition() -> None:
    predictions, labels = RANDOM.normal(size=200).astype(np.float32), RANDOM.normal(size=200)
    assert METRICS["pearson"](predictions, labels) == pytest.approx(np.corrcoef(predictions, labels)[0, 1])
    ranks = [np.argsort(np.argsort(values)) for values in (predictions, labels)]
    assert METRICS["spearman"](predictions, labels) == pytest.approx(np.corrcoef(*ranks)[0, 1])


def test_what_is_undefined() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("pearson", "spearman"):
            assert math.isnan(metric(name, [2.0, 2.0, 2.0], [1.0, 2.0, 3.0]))
            assert math.isnan(metric(name, [1.0, 2.0, 3.0], [2.0, 2.0, 2.0]))
            assert math.isnan(metric(name, [1.0], [2.0]))
        assert metric("matthews", [1, 1, 1], [0, 1, 1]) == 0.0
        assert metric("f1", [0, 0], [0, 0]) == 0.0


def test_measure_takes_the_likeliest_class_or_the_score() -> None:
    logits = np.array([[0.1, 0.9], [2.0, -1.0], [-3.0, -2.0], [5.0, 6.0]], dtype=np.float32)
    labels = np.array([1, 0, 1, 0])
    assert compute_metrics(TASKS["sst-2"], logits, labels) == {"accuracy": 0.75, "score": 0.75}
    values = compute_metrics(TASKS["mrpc"], logits, labels)
    assert values == {"accuracy": 0.75, "f1": pytest.approx(0.8), "score": pytest.approx(0.775)}
    values = compute_metrics(TASKS["sts-b"], logits[:, :1], np.array([1.0, 3.0, 0.0, 4.0]))
    assert values["score"] == pytest.approx((values["pearson"] + values["spearman"]) / 2) and values[
        "spearman"
    ] == pytest.approx(1)
    assert set(compute_metrics(TASKS["cola"], logits, labels)) == {"matthews", "score"}


def test_an_undefined_metric_makes_the_score_undefined() -> None:
    values = compute_metrics(TASKS["sts-b"], np.ones((3, 1), np.float32), np.array([1.0, 2.0, 3.0]))
    assert math.isnan(values["pearson"]) and math.isnan(values["score"])


def test_a_broken_model_is_not_given_a_metric() -> None:
    logits = np.array([[0.0, np.nan], [np.inf, 0.0], [0.0, 1.0]])
    with pytest.raises(ValueError, match="2 of 3 rows have a logit that is not finite"):
        compute_metrics(TASKS["sst-2"], logits, np.array([0, 0, 1]))
