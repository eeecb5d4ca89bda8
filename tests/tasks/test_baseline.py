"""The best constant answer, and what is said of models that are no better."""

from __future__ import annotations

import math

import numpy as np
import pytest

from megatinybert.tasks.baseline import Baseline, constant_scores, only_answer, remarks, retentions
from megatinybert.tasks.table import TASKS

RARE_POSITIVES = np.array([1] * 30 + [0] * 70)
SHARE, CORRELATION = Baseline(0.6, 1_000, correlation=False), Baseline(0.0, 1_500, correlation=True)


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


@pytest.mark.parametrize(
    ("metrics", "constant", "rows", "chance", "lead"),
    [
        (["accuracy"], 0.5, 100, 0.59, 0.6),
        (["accuracy", "f1"], 0.7, 400, 0.74, 0.75),
        (["matthews"], 0.0, 1_000, 0.06, 0.07),
        (["pearson", "spearman"], 0.0, 1_500, 0.05, 0.06),
        (["accuracy"], 0.97, 100, 0.98, 1.0),  # nothing is better than no mistake
    ],
)
def test_two_standard_errors_are_chance(
    metrics: list[str], constant: float, rows: int, chance: float, lead: float
) -> None:
    baseline = Baseline.of(metrics, constant, rows)
    assert not baseline.is_beaten(chance) and baseline.is_beaten(lead)
    assert not baseline.is_beaten(constant) and not baseline.is_beaten(None) and not baseline.is_beaten(math.nan)


def test_retention_over_the_constant_answer() -> None:
    assert retentions(0.9, 0.8, SHARE) == pytest.approx((0.8 / 0.9, 2 / 3))
    kept, over = retentions(0.9, 0.8, None)
    assert kept == pytest.approx(0.8 / 0.9) and math.isnan(over)
    assert retentions(0.9, 0.5, SHARE)[1] == pytest.approx(-1 / 3)


@pytest.mark.parametrize(
    "scores",
    [
        (0.6, 0.7, SHARE),
        (0.62, 0.7, SHARE),
        (0.034, 0.048, CORRELATION),
        (-0.1, 0.5, CORRELATION),
        (None, 0.5, CORRELATION),
        (0.5, None, CORRELATION),
    ],
)
def test_there_is_no_retention_of_a_teacher_that_is_no_better(
    scores: tuple[float | None, float | None, Baseline],
) -> None:
    assert all(map(math.isnan, retentions(*scores)))


def test_nothing_is_said_of_models_that_are_better() -> None:
    assert remarks("dev", {"teacher": 0.9, "student": 0.7}, SHARE, {}) == []


@pytest.mark.parametrize(
    ("baseline", "teacher", "student", "said"),
    [
        (SHARE, 0.88, 0.90, "within chance: two standard errors of the difference on 1,000 rows are 0.0280."),
        (
            SHARE,
            0.87,
            0.90,
            "more than chance explains: two standard errors of the difference on 1,000 rows are 0.0285",
        ),
        (CORRELATION, 0.5, 0.55, "within chance: two standard errors of the difference on 1,500 rows are 0.0529."),
        (Baseline(0.5, 100, correlation=False), 0.99, 1.0, "within chance: "),
    ],
)
def test_a_student_above_its_teacher_is_told_to_be_so_by_chance_or_not(
    baseline: Baseline, teacher: float, student: float, said: str
) -> None:
    (text,) = remarks("dev", {"teacher": teacher, "student": student}, baseline, {})
    assert text.startswith(f"The student is above its teacher on dev ({student:.4f}; ") and said in text
    assert not remarks("dev", {"teacher": student, "student": teacher}, baseline, {})
    assert not remarks("dev", {"teacher": teacher, "student": teacher}, baseline, {})


def test_a_student_that_has_learnt_nothing_is_told() -> None:
    one, none = remarks("dev", {"teacher": 0.9, "student": 0.6}, SHARE, {"student": "good"}, "Train on.")
    assert one == "The student answers 'good' to every row of dev."
    assert none == (
        "The student is no better than chance on dev (0.6000; the best constant answer has 0.6000, and two standard "
        "errors of 1,000 rows are 0.0310): nothing shows that it has learnt anything. Train on."
    )
    (undefined,) = remarks("dev", {"student": math.nan}, CORRELATION, {})
    assert "(undefined; " in undefined


def test_a_student_of_a_teacher_that_has_learnt_nothing_is_given_no_advice() -> None:
    for teacher in (0.6, None, math.nan):
        ours, own = remarks("dev", {"teacher": teacher, "student": 0.6}, SHARE, {}, "Train on.")
        assert "can learn nothing from it" in ours and own.endswith("nothing shows that it has learnt anything.")


def test_a_teacher_that_has_learnt_nothing_is_told() -> None:
    (said,) = remarks("dev", {"teacher": 0.62, "student": 0.7}, SHARE, {})
    assert said.startswith("The teacher is no better than chance on dev (0.6200; ") and "no retention is given" in said
