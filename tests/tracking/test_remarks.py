"""Sentences on what a run measured."""

from __future__ import annotations

from megatinybert.tracking.measurements import ACCURACY, PROBE, PROJECTED
from megatinybert.tracking.remarks import on_first_losses, on_no_probe, on_what_got_worse, row_of
from tests.helpers.metric_rows import ROWS, training


def test_why_a_solved_students_first_losses_are_below_held_out_ones() -> None:
    why = "Losses in training begin below held-out ones: the student was solved on the text of the first steps."
    assert on_first_losses(ROWS) == why
    above = [ROWS[0], {"step": 1, **training(33.0)}, *ROWS[2:]]
    for rows in (above, ROWS[1:], [ROWS[0], *ROWS[2:]]):  # the others do not show the solved weights on both texts
        assert on_first_losses(rows) is None


def test_too_few_windows_for_a_probe() -> None:
    assert on_no_probe(2) == "No probe is measured on 2 held-out windows: it needs 3 or more."
    assert on_no_probe(3) is None and on_no_probe(None) is None


def test_an_accuracy_is_told_with_what_it_is_a_share_of() -> None:
    assert row_of(ACCURACY, 23.0) == "accuracy (23 masked tokens)" and row_of(ACCURACY, None) == "accuracy"
    assert row_of(PROJECTED, None) == "probe through projection"


def test_what_got_worse() -> None:
    better, worse = {"total": (2.0, 1.0), "hidden": (0.2, 0.1)}, {"total": (1.0, 2.0), "hidden": (0.1, 0.2)}
    assert on_what_got_worse(better, {PROBE: (0.5, 0.6)}, few_steps=True) is None
    said = "Worse after training than before: "
    assert on_what_got_worse(worse, {PROBE: (0.5, 0.4)}, False) == f"{said}total, hidden loss, probe."
    assert str(on_what_got_worse(worse, {}, True)).endswith(
        "hidden loss. So few steps at such a learning rate teach little: train for longer."
    )
    terms = " Terms may rise while their weighted sum, the total, falls."
    by_chance = {PROBE: (0.5, 0.45), ACCURACY: (0.5, 0.49)}
    lower = "Lower, but by no more than chance on so many windows: probe."
    assert on_what_got_worse(better, by_chance, False, chance=0.1) == f"{said}accuracy.{terms} {lower}"
    assert on_what_got_worse(better, {PROBE: (0.5, 0.45)}, False, chance=0.1) == lower
    assert on_what_got_worse(better, by_chance, False, chance=0.04) == f"{said}probe, accuracy.{terms}"
    assert on_what_got_worse(better | {"hidden": (0.1, 0.2)}, {}, False) == f"{said}hidden loss.{terms}"
