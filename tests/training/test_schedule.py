"""How often a run is measured by default."""

from __future__ import annotations

import pytest

from megatinybert.config.schema import RunConfig
from megatinybert.training.schedule import held_out_interval


@pytest.mark.parametrize(("steps", "interval"), [(2, 2), (10, 3), (93, 24), (400, 100), (1000, 250), (100_000, 250)])
def test_a_short_run_is_measured_between_its_ends(steps: int, interval: int) -> None:
    assert held_out_interval(RunConfig(output_dir="runs/1"), steps) == interval
    points = {0, *range(interval, steps, interval), steps}
    assert len(points) >= 5 or steps < 10


def test_an_interval_that_is_given_stands() -> None:
    assert held_out_interval(RunConfig(output_dir="runs/1", held_out_interval=1000), 10) == 1000
