"""The best constant answer, and what is said of models that are no better."""

from __future__ import annotations

import math

import numpy as np
import pytest

from megatinybert.tasks.baseline import constant_scores, only_answer, remarks, retentions
from megatinybert.tasks.table import TASKS

RARE_POSITIVES = np.array([1] * 30 + [0] * 70)


def test_each_metric_has_the_constant_answer_that_is_best_for_it() -> None:
    """Accuracy: the commonest class; F1: class 1, however rare; a correlation of a constant counts as 0."""
    f1 = 2 * 30 / (100 + 30)
    assert constant_scores(TASKS["mrpc"], RARE_POSITIVES) == pytest.approx(
        {"accuracy": 0.7, "f1": f1, "score": (0.7 + f1) / 2}
    )
    assert constant_scores(TASKS["rte"], RARE_POSITIVES) == {"accuracy": 0.7, "score": 0.7}
    assert constant_scores(TASKS["cola"], RARE_POSITIVES) == {"matthews": 0, "score": 0}
    assert constant_scores(TASKS["sts-b"], RARE_POSITIVES / 2) == {"pearson": 0, "spearman": 0, "score": 0}


def test_a_model_with_one_answer_is_found() -> None:
    assert only_answer(TASKS["mrpc"], np.ones(5, dtype=int)) == "equivalent"
    assert only_answer(TASKS["sts-b"], np.full(5, 2.5, dtype=np.float32)) == "2.5"
    assert only_answer(TASKS["mrpc"], np.array([1, 1, 0])) is None


def test_retention_over_the_constant_answer() -> None:
    assert retentions(0.9, 0.8, 0.6) == pytest.approx((0.8 / 0.9, 2 / 3))
    kept, over = retentions(0.9, 0.8, None)
    assert kept == pytest.approx(0.8 / 0.9) and math.isnan(over)
    assert retentions(0.9, 0.5, 0.6)[1] == pytest.approx(-1 / 3)


@pytest.mark.parametrize("scores", [(0.6, 0.7, 0.6), (-0.1, 0.5, 0.0), (None, 0.5, 0.0), (0.5, None, 0.0)])
def test_there_is_no_retention_of_a_teacher_that_is_no_better(scores: tuple[float | None, float | None, float]) -> None:
    assert all(map(math.isnan, retentions(*scores)))


def test_nothing_is_said_of_models_that_are_better() -> None:
    assert remarks("dev", {"teacher": 0.9, "student": 0.7}, 0.6, {}) == []


def test_a_student_that_has_learnt_nothing_is_told() -> None:
    one, none = remarks("dev", {"teacher": 0.9, "student": 0.6}, 0.6, {"student": "good"}, "Train on.")
    assert one == "The student answers 'good' to every row of dev."
    assert none.startswith("The student (0.6000) is not better on dev than the best constant answer (0.6000)")
    assert none.endswith("(0.6000): it has learnt nothing useful. Train on.")
    (undefined,) = remarks("dev", {"student": math.nan}, 0.0, {})
    assert "(undefined)" in undefined


def test_a_teacher_that_has_learnt_nothing_is_told() -> None:
    (said,) = remarks("dev", {"teacher": 0.5, "student": 0.7}, 0.6, {})
    assert "The teacher (0.5000)" in said and "no retention is given" in said
