"""Curves from metrics.jsonl for report and model card."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from megatinybert.tracking.measurements import BESIDE_LOSSES, MASKED, PROJECTED
from megatinybert.tracking.remarks import Row, on_first_losses

_MOST_POINTS = 2000  # of a curve: more are chosen from evenly, for they take seconds to draw and are not seen
_SKIPPED = "optimizer/overflow_count"
# A long run logs much else.
_KEPT = ("step", "loss/", "held_out/", "speed/tokens_per_second", _SKIPPED)


def read_metrics(file: Path) -> list[Row]:
    """Losses, what is measured beside them, speed and skipped steps of each logged step. null, which JSON has in place
    of NaN and infinity, becomes NaN.

    Raises ValueError where a line is cut short.
    """
    rows: list[Row] = []
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                values = json.loads(line)
            except json.JSONDecodeError:
                raise ValueError(f"{file}, line {number} is cut short: the run was interrupted.") from None
            kept = {tag: value for tag, value in values.items() if tag.startswith(_KEPT)}
            rows.append({tag: math.nan if value is None else value for tag, value in kept.items()})
    return rows


def skipped_steps(rows: Sequence[Row]) -> int:
    """How many of the steps of a run changed no weight (fp16's overflows, batches left out), as far as they say."""
    return int(max((row[_SKIPPED] for row in rows if _SKIPPED in row), default=0))


def loss_names(rows: Sequence[Row]) -> list[str]:
    """Names of the losses in the metrics, "total" first: total, attention, hidden, ..."""
    parts = [tag.partition("/") for row in (rows[0], rows[-1]) for tag in row]
    names = dict.fromkeys(name for kind, _, name in parts if kind in ("loss", "held_out"))
    others = {"total", *(tag.removeprefix("held_out/") for tag in (*BESIDE_LOSSES, MASKED))}
    return ["total", *(name for name in names if name not in others)]


def run_title(student: tuple[int, int], teacher: tuple[int, int] | None = None) -> str:
    """What a run trained. student, teacher: (layers, width); no teacher: by masked-language modelling."""
    name = "A {} x {}".format(*student)
    if teacher is None:
        return f"{name} BERT trained by masked-language modelling"
    return f"{name} student distilled from a {'{} x {}'.format(*teacher)} teacher"


def draw(rows: Sequence[Row], title: str, solved: bool = False, short_rows: float = 0.0) -> Figure:
    """Loss curves: the total on the left, its terms and what else is measured on the right. rows: at least one.

    solved: whether the first weights were solved, so that what is held out at step 0 is marked as what solving gave.
    short_rows: the share of steps on short rows, whose losses are of others than those of whole windows.
    """
    names = loss_names(rows)
    beside = {each: curve for each in BESIDE_LOSSES.values() if (curve := _curve(rows, each.tag))[0]}
    panels = [*names[1:], *dict.fromkeys(each.chart for each in beside)]
    right = math.ceil(len(panels) / 2)
    cells = panels + ["."] * (2 * right - len(panels))
    figure = Figure(figsize=(5.0 + 3.2 * right, 6.0), dpi=120, layout="constrained")
    axes = figure.subplot_mosaic(
        [["total", *cells[:right]], ["total", *cells[right:]]], width_ratios=[1.6] + [1.0] * right
    )
    training = f"training, {100 * short_rows:.0f} % of\nsteps on short rows" if short_rows else "training"
    for name in names:
        _draw_loss(axes[name], rows, name, training)
        if solved:
            _mark_solved(axes[name], _curve(rows, f"held_out/{name}"))
    # Below the panel, as a noisy line leaves no room within.
    axes["total"].legend(loc="upper center", bbox_to_anchor=(0.5, -0.09), ncols=3, frameon=False)
    for each, (steps, values) in beside.items():
        axis = axes[each.chart]
        lowest = min([0.0, *_finite(values), *axis.get_ylim()])
        if each.tag == PROJECTED:  # in the panel of the probe
            axis.plot(steps, values, "s-", color="tab:purple", markersize=4, label="through projection")
            axis.legend(loc="best", framealpha=0.8, edgecolor="none")
            axis.set_ylim(lowest, 1.0)
            continue
        axis.plot(steps, values, "o-", color="tab:green", markersize=4, label="student's own states")
        axis.set(title=each.chart, ylabel=each.unit, ylim=(lowest, 1.0))
        if solved:
            _mark_solved(axis, (steps, values))
    for axis in axes.values():
        axis.set_xlabel("optimizer step")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 2.5, 5, 10], nbins="auto"))
        axis.grid(True, which="both", alpha=0.2)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    if solved and (why := on_first_losses(rows)):
        figure.supxlabel(why, fontsize=9)
    return figure


def _draw_loss(axis: Axes, rows: Sequence[Row], name: str, label: str) -> None:
    """One loss in training and on held-out text; on a logarithmic axis unless it hardly changes. label: of training."""
    training, held_out = _curve(rows, f"loss/{name}"), _curve(rows, f"held_out/{name}")
    axis.plot(*training, color="tab:blue", alpha=0.5, linewidth=1.2, label=label)
    axis.plot(*held_out, "o-", color="tab:orange", markersize=4, label="held out")
    axis.set(title=f"loss: {name}", ylabel="loss")
    values = _finite(training[1] + held_out[1])
    if values and 0 < 2 * min(values) < max(values):
        axis.set(yscale="log", ylabel="loss (log scale)")
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_locator(NullLocator())


def _mark_solved(axis: Axes, curve: tuple[list[float], list[float]]) -> None:
    """What solving gave, at step 0 of a curve: a diamond there, and a dashed line to see what training changes."""
    steps, values = curve
    if steps and steps[0] == 0 and math.isfinite(values[0]):
        axis.axhline(values[0], color="tab:red", linestyle="--", linewidth=1.0, alpha=0.7, zorder=1)
        axis.plot(0, values[0], "D", color="tab:red", markersize=7, clip_on=False, zorder=3, label="solved")


def _curve(rows: Sequence[Row], tag: str) -> tuple[list[float], list[float]]:
    points = [(row["step"], row[tag]) for row in rows if tag in row]
    if len(points) > _MOST_POINTS:
        points = [*points[: -1 : len(points) // _MOST_POINTS + 1], points[-1]]
    return [step for step, _ in points], [value for _, value in points]


def _finite(values: Sequence[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]
