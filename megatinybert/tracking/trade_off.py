"""What students cost against what they have learnt, as a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from megatinybert.tracking.measurements import PROBE, PROJECTED

# Where a name stands beside its point, the first that is free: offset in points, and which side of it is there.
_PLACES = (
    ((0, 7), "center", "bottom"),
    ((-5, 4), "right", "bottom"),
    ((5, 4), "left", "bottom"),
    ((7, -3), "left", "top"),
    ((-7, -3), "right", "top"),
    ((0, -8), "center", "top"),
)
_PAPER = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5}  # where no place is free
_MARKS = {PROBE: ("o", "tab:green", "student's own states"), PROJECTED: ("s", "tab:purple", "through projection")}


@dataclass(frozen=True)
class Point:
    """One model. milliseconds: of one batch on a CPU. probes: by tag; the teacher's are 1."""

    name: str
    parameters: int
    milliseconds: float
    probes: Mapping[str, float]


def draw(points: Sequence[Point]) -> Figure:
    """The probe by time on the left, by size on the right; a name beside each point."""
    figure = Figure(figsize=(10.0, 4.6), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _draw(left, points, [point.milliseconds for point in points])
    _draw(right, points, [point.parameters / 1e6 for point in points])
    left.set(xlabel="one batch, on the CPU (ms)", ylabel="probe: rank correlation with the teacher")
    right.set(xlabel="parameters (millions)")
    if left.lines:  # else there are no probes
        left.legend(loc="lower right", framealpha=0.8, edgecolor="none")
    figure.suptitle("Students of one teacher: cost and agreement")
    figure.draw_without_rendering()  # settles where the lines and the legend are
    for axis in (left, right):
        _place_labels(axis)
    return figure


def _draw(axis: Axes, points: Sequence[Point], costs: Sequence[float]) -> None:
    for tag, (marker, colour, label) in _MARKS.items():
        shown = [
            (cost, point.probes[tag])
            for cost, point in zip(costs, points, strict=True)
            if math.isfinite(point.probes.get(tag, math.nan))
        ]
        if shown:
            axis.plot(*zip(*sorted(shown), strict=True), marker + ":", color=colour, markersize=7, label=label)
    for cost, point in zip(costs, points, strict=True):
        known = [value for value in point.probes.values() if math.isfinite(value)]
        if known:
            axis.annotate(
                point.name, (cost, max(known)), xytext=(0, 0), textcoords="offset points", fontsize=9, bbox=_PAPER
            )
    axis.set_xlim(left=0.0, right=1.12 * max(costs))
    axis.set_ylim(top=1.08)
    axis.grid(True, alpha=0.2)
    axis.spines[["top", "right"]].set_visible(False)


def _place_labels(axis: Axes) -> None:
    """Put each name where it crosses neither a line nor another name, as far as there is such a place."""
    lines = [line.get_path().transformed(line.get_transform()) for line in axis.lines]
    legend = axis.get_legend()
    taken = [legend.get_window_extent()] if legend else []
    for text in axis.texts:
        for (x, y), horizontal, vertical in _PLACES:
            text.set(position=(x, y), ha=horizontal, va=vertical)
            box = text.get_window_extent()
            inside = axis.bbox.x0 <= box.x0 and box.x1 <= axis.bbox.x1 and axis.bbox.y0 <= box.y0
            if inside and not box.count_overlaps(taken) and not any(line.intersects_bbox(box, False) for line in lines):
                break
        else:
            text.set(position=_PLACES[0][0], ha=_PLACES[0][1], va=_PLACES[0][2])
        taken.append(text.get_window_extent())
