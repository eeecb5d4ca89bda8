"""What students cost against what they have learnt, as a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from megatinybert.tracking.measurements import PROBE, PROJECTED

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
    left.legend(loc="lower right", framealpha=0.8, edgecolor="none")
    figure.suptitle("Students of one teacher: cost and agreement")
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
                point.name, (cost, max(known)), xytext=(0, 7), textcoords="offset points", ha="center", fontsize=9
            )
    axis.set_xlim(left=0.0, right=1.12 * max(costs))
    axis.set_ylim(top=1.08)
    axis.grid(True, alpha=0.2)
    axis.spines[["top", "right"]].set_visible(False)
