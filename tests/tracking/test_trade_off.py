"""The picture of what students cost against what they have learnt."""

from __future__ import annotations

import math

from megatinybert.tracking.measurements import PROBE, PROJECTED
from megatinybert.tracking.trade_off import Point, draw


def test_a_point_for_each_model_by_time_and_by_size() -> None:
    points = [
        Point("large", 3_000_000, 4.0, {PROBE: 0.75, PROJECTED: 0.875}),
        Point("small", 1_000_000, 2.0, {PROBE: 0.5}),
        Point("teacher", 9_000_000, 8.0, {PROBE: 1.0, PROJECTED: 1.0}),
    ]
    by_time, by_size = draw(points).axes
    own, projected = by_time.lines
    assert own.get_xydata().tolist() == [[2.0, 0.5], [4.0, 0.75], [8.0, 1.0]]
    assert projected.get_xydata().tolist() == [[4.0, 0.875], [8.0, 1.0]]
    assert by_size.lines[0].get_xydata().tolist() == [[1.0, 0.5], [3.0, 0.75], [9.0, 1.0]]
    assert [text.get_text() for text in by_time.texts] == ["large", "small", "teacher"]
    assert [text.xy for text in by_time.texts] == [(4.0, 0.875), (2.0, 0.5), (8.0, 1.0)]


def test_a_student_whose_probe_is_undefined_has_no_point() -> None:
    by_time, _ = draw([Point("flat", 1, 1.0, {PROBE: math.nan}), Point("teacher", 2, 2.0, {PROBE: 1.0})]).axes
    assert by_time.lines[0].get_xydata().tolist() == [[2.0, 1.0]]
    assert [text.get_text() for text in by_time.texts] == ["teacher"]
