"""Attention maps of both models' layers as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from megatinybert.tracking.figures import families

_MOST_TOKENS = 32  # whose labels can still be read
_LONGEST = 12  # characters of a label


@dataclass(frozen=True)
class LayerMaps:
    """The maps of a student layer and its teacher layer, counted from 0: float32 (H, S, S), each row a distribution."""

    student_layer: int
    teacher_layer: int
    student_HSS: np.ndarray
    teacher_HSS: np.ndarray


def draw(maps: LayerMaps, heads: Sequence[int], tokens: Sequence[str], step: int, numbered: bool = False) -> Figure:
    """The teacher's heads above the student's, cut to the first tokens. tokens: those of the window. numbered: whether
    places stand for some of them, which TensorBoard lists under Text.

    Both maps of a head share one scale, from 0 to the larger of their maxima, which stands above them.
    """
    shown = [token if len(token) <= _LONGEST else token[: _LONGEST - 1] + "…" for token in tokens[:_MOST_TOKENS]]
    size = len(shown)
    panel = max(0.115 * size, 1.2)
    left, right, top, bottom, gap = 1.2, 0.15, 0.9, 0.8, 0.2  # inches, as all that follows
    width = left + len(heads) * (panel + gap) - gap + right
    height = bottom + 2 * panel + gap + top
    figure = Figure(figsize=(width, height), dpi=100)
    axes = figure.subplots(2, len(heads), squeeze=False)
    figure.subplots_adjust(
        left / width, bottom / height, 1 - right / width, 1 - top / height, wspace=gap / panel, hspace=gap / panel
    )
    for column, head in enumerate(heads):
        pair = [maps_HSS[column, :size, :size] for maps_HSS in (maps.teacher_HSS, maps.student_HSS)]
        highest = float(max(values.max() for values in pair))
        for row, values in enumerate(pair):
            # The square root keeps weak attention visible beside strong.
            axes[row, column].imshow(values, norm=PowerNorm(0.5, vmin=0, vmax=highest), cmap="Blues")
            _label(axes[row, column], shown, queries=column == 0, keys=row == 1)
        axes[0, column].set_title(f"head {head} (darkest: {highest:.2f})", fontsize=9)
    for row, name in enumerate((f"teacher layer {maps.teacher_layer}", f"student layer {maps.student_layer}")):
        axes[row, 0].set_ylabel(name, fontsize=11, fontweight="bold")
    part = f"first {size} of {len(tokens)} tokens" if size < len(tokens) else f"{size} tokens"
    part += "; (n): see Text" if numbered else ""
    title = f"student layer {maps.student_layer}, teacher layer {maps.teacher_layer}, step {step:,}"
    figure.text(0.1 / width, 1 - 0.3 / height, title, fontsize=10, fontweight="bold")
    figure.text(0.1 / width, 1 - 0.5 / height, f"each row looks at columns; {part}", fontsize=9)
    return figure


def _label(axes: Axes, tokens: Sequence[str], queries: bool, keys: bool) -> None:
    # A $ is a token like others, and no mathematics.
    fonts: dict[str, Any] = {"fontsize": 6, "fontfamily": families(tokens), "parse_math": False}
    places = range(len(tokens))
    axes.set_xticks([])
    axes.set_yticks([])
    if queries:
        axes.set_yticks(places, tokens, **fonts)
    if keys:
        axes.set_xticks(places, tokens, rotation=90, **fonts)
    axes.tick_params(length=0, pad=2)
    axes.spines[:].set_color("lightgrey")  # a dark first column is to be told from the frame
