"""How many tokens a student is solved on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from megatinybert.config.schema import StudentConfig
from megatinybert.runtime.dist import World
from megatinybert.training.solve.calibration import CUT, ROWS, Calibration


@pytest.mark.parametrize(("asked", "planned"), [(2_048, 3_584), (3_584, 3_840), (32_768, 34_304)])
def test_whole_batches_hold_the_tokens_that_are_asked_for_or_more(world: World, asked: int, planned: int) -> None:
    windows: Any = SimpleNamespace(samples=10_000)
    assert Calibration(windows, asked, 128, ROWS, world, CUT).planned == planned
    few: Any = SimpleNamespace(samples=ROWS)
    assert Calibration(few, asked, 128, ROWS, world, CUT).planned == ROWS * 128  # as far as there is text


def test_the_option_says_so(world: World) -> None:
    windows: Any = SimpleNamespace(samples=10_000)
    planned = Calibration(windows, 2048, 128, ROWS, world, CUT).planned
    said = StudentConfig.model_fields["solve_tokens"].description or ""
    assert f"whole batches of {ROWS} rows (2048 are {planned} of windows of 128)" in said
