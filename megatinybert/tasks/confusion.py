"""Confusion matrices; a scatter plot for regression."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from megatinybert.tracking.figures import families, render

_NUMBERED = 12  # classes, up to which the counts stand in the cells
_TICKS = 24  # labels on an axis
_LONGEST = 18  # characters of a label


def count_confusions(predictions: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """predictions, labels: int (N,), class indices -> int64 (C, C), rows by [label, prediction]."""
    pairs = labels.astype(np.int64) * classes + predictions
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def confusion_figure(counts: Mapping[str, np.ndarray], labels: Sequence[str], note: str = "") -> np.ndarray:
    """Confusion matrices side by side as an image: uint8 (height, width, 3).

    counts: as `count_confusions` gives them, by the model's name. labels: names of the C classes. note: below them. A
    cell is the darker, the larger its share of the rows with its label.
    """
    panel = min(max(0.55 * len(labels), 2.6), 7.0)  # inches
    figure = Figure(figsize=(len(counts) * panel + 1.6, panel + 1.3), dpi=100, layout="constrained")
    axes = figure.subplots(1, len(counts), squeeze=False)[0]
    for axis, (name, counts_CC) in zip(axes, counts.items(), strict=True):
        _draw_counts(axis, counts_CC, labels)
        axis.set_title(f"{name}: {np.trace(counts_CC) / max(counts_CC.sum(), 1):.1%} right", fontsize=10)
        axis.set_xlabel("prediction", fontsize=9)
    axes[0].set_ylabel("label", fontsize=9)
    if note:
        figure.supxlabel(note, fontsize=8)
    return render(figure)


def scatter_figure(predictions: Mapping[str, np.ndarray], scores: np.ndarray) -> np.ndarray:
    """Predicted against given scores, a panel for each model, as an image: uint8 (height, width, 3).

    predictions: float (N,), by the model's name. scores: float (N,).
    """
    everything = np.concatenate([scores, *predictions.values()])
    low, high = float(everything.min()), float(everything.max())
    margin = 0.05 * (high - low) or 1.0
    limits = (low - margin, high + margin)
    figure = Figure(figsize=(3.6 * len(predictions) + 0.6, 4.4), dpi=100, layout="constrained")
    axes = figure.subplots(1, len(predictions), squeeze=False)[0]
    for axis, (name, values) in zip(axes, predictions.items(), strict=True):
        axis.plot(limits, limits, color="grey", linewidth=0.8)
        axis.plot(scores, values, "o", markersize=3, alpha=0.35, markeredgewidth=0, color="tab:blue")
        axis.set(xlim=limits, ylim=limits, aspect="equal")
        axis.set_title(f"{name}: mean error {np.abs(values - scores).mean():.3g}", fontsize=10)
        axis.set_xlabel("score", fontsize=9)
    axes[0].set_ylabel("prediction", fontsize=9)
    return render(figure)


def _draw_counts(axis: Axes, counts_CC: np.ndarray, labels: Sequence[str]) -> None:
    share_CC = counts_CC / np.maximum(counts_CC.sum(axis=1, keepdims=True), 1)
    axis.imshow(share_CC, vmin=0, vmax=1, cmap="Blues")
    # A $ in a label is a character, and no mathematics.
    fonts: dict[str, Any] = {"fontsize": 8, "fontfamily": families(labels), "parse_math": False}
    places = range(0, len(labels), math.ceil(len(labels) / _TICKS))
    shown = [_shortened(labels[place]) for place in places]
    axis.set_xticks(places, shown, rotation=90 if max(map(len, shown)) > 3 else 0, **fonts)
    axis.set_yticks(places, shown, **fonts)
    axis.tick_params(length=0)
    axis.spines[:].set_color("lightgrey")
    if len(labels) <= _NUMBERED:
        for (row, column), count in np.ndenumerate(counts_CC):
            colour = "white" if share_CC[row, column] > 0.5 else "black"
            axis.text(column, row, f"{count:,}", ha="center", va="center", fontsize=8, color=colour)


def _shortened(label: str) -> str:
    return label if len(label) <= _LONGEST else label[: _LONGEST - 1] + "…"
