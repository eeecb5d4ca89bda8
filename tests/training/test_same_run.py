"""What differs between two runs because something else does is not told."""

from __future__ import annotations

import pytest

from megatinybert.training.same_run import SHAPE, without_followers

FACTS = {SHAPE: [3, 312, 12, 1248], "run.seed": 0, "steps": 40, "rows": "a", "first weights": "b"}
MEASURED = "steps between measurements"


@pytest.mark.parametrize(
    ("leader", "value", "told"),
    [
        (SHAPE, [2, 192, 12, 768], {SHAPE, MEASURED}),
        ("run.seed", 1, {"run.seed", MEASURED}),
        ("steps", 300, {"steps", "first weights"}),
        ("rows", "other", {"rows", "first weights"}),
        ("none", None, {"first weights", MEASURED}),
    ],
)
def test_followers(leader: str, value: object, told: set[str]) -> None:
    there = {**FACTS, MEASURED: 4}
    here = {**FACTS, "first weights": "other", MEASURED: 14, leader: value}
    before, now = without_followers(there, here)
    assert {name for name in now if before.get(name, value) != now[name]} == told - {"none"}
