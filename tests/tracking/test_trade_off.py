"""The picture of what students cost against what they have learnt."""

from __future__ import annotations

import math

import pytest

from megatinybert.tracking.figures import render
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


@pytest.mark.parametrize("probes", [(0.2, 0.6, 1.0), (0.9, 0.3, 1.0), (0.3, 0.95, 1.0), (0.5, 0.55, 1.0)])
def test_names_cross_no_line_and_no_other_name(probes: tuple[float, ...]) -> None:
    names = ("tiny, 2 x 128", "3L-312", "teacher")
    points = [
        Point(name, millions * 1_000_000, float(millions), {PROBE: probe, PROJECTED: min(1.0, probe + 0.1)})
        for name, millions, probe in zip(names, (9, 11, 22), probes, strict=True)
    ]
    figure = draw(points)
    render(figure)
    for axis in figure.axes:
        boxes = [text.get_window_extent() for text in axis.texts]
        for number, box in enumerate(boxes):
            for line in axis.lines:
                path = line.get_path().transformed(line.get_transform())
                assert not path.intersects_bbox(box, False), (axis.texts[number].get_text(), line.get_label())
            assert box.count_overlaps(boxes) == 1  # its own
