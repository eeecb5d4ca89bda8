"""Fonts, images and atomic .png files."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import matplotlib.image
import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font

from megatinybert.runtime.files import publish_file

# Tried in turn for each character. The first comes with matplotlib and has no Chinese, Japanese or Korean.
_FONTS = ("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Micro Hei", "PingFang SC", "SimHei")

FONT_ADVICE = "install a font that has them (for Chinese the package fonts-noto-cjk)"  # characters that none here has


def families(texts: Sequence[str] = ()) -> list[str]:
    """Installed fonts to draw text with, in the order to try them in.

    Those that are known to have many characters, and of the others whichever has what is missing in `texts`.
    """
    chosen, _ = _fonts_for(frozenset("".join(texts)))
    return list(chosen)


def drawable(labels: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The labels as they can be drawn here, and what stands for others: {"(3)": the label of place 3, from 0}.

    A label with characters that no installed font has would be boxes, so its place stands for it.
    """
    _, missing = _fonts_for(frozenset("".join(labels)))
    legend = {f"({place})": label for place, label in enumerate(labels) if missing & set(label)}
    return [f"({place})" if f"({place})" in legend else label for place, label in enumerate(labels)], legend


@functools.cache
def _fonts_for(characters: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """(families in the order to try them in, the characters that none of them has)."""
    fonts = [font for font in font_manager.fontManager.ttflist if font.style == "normal"]
    # matplotlib brings one that has a box for every character there is.
    files = {font.name: font.fname for font in fonts if not font.name.replace(" ", "").startswith("LastResort")}
    chosen = [name for name in _FONTS if name in files]
    missing = frozenset(characters)
    for name in chosen:
        missing -= _glyphs(files[name]) if missing else frozenset()
    for name, file in sorted(files.items()):
        found = missing & _glyphs(file) if missing and name not in chosen else None
        if found:
            chosen.append(name)
            missing -= found
    return tuple(chosen), missing


def _glyphs(file: str) -> frozenset[str]:
    """The characters that a font file has."""
    try:
        return frozenset(map(chr, FT2Font(file).get_charmap()))
    except (OSError, RuntimeError):  # it cannot be drawn with either
        return frozenset()


def render(figure: Figure) -> np.ndarray:
    """The figure as an image: uint8 (height, width, 3)."""
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        # One for each character that no font has: those who draw text of users ask `drawable` first.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def save_picture(picture: Figure | np.ndarray, path: Path) -> None:
    """Write a figure, or an image, uint8 (height, width, 3), as a .png file, atomically."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.png")
    try:
        if isinstance(picture, Figure):
            picture.savefig(temporary)
        else:
            matplotlib.image.imsave(temporary, picture)
        publish_file(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
