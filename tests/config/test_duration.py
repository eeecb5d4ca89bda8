"""Lengths of time as people write them."""

from __future__ import annotations

import pytest

from megatinybert.config.duration import duration_seconds
from megatinybert.config.schema import RunConfig


@pytest.mark.parametrize(
    ("text", "seconds"), [("3h30m", 12600), ("90m", 5400), ("1d12h", 129600), ("45s", 45), ("600", 600), ("2.5", 2.5)]
)
def test_lengths_of_time(text: str, seconds: float) -> None:
    assert duration_seconds(text) == seconds
    assert RunConfig(time_limit=text).time_limit == text


@pytest.mark.parametrize("text", ["", "3 hours", "30m3h", "-5", "0", "1:30:00"])
def test_no_lengths_of_time(text: str) -> None:
    with pytest.raises(ValueError):
        RunConfig(time_limit=text)
