"""Fonts, images and atomic .png files."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import matplotlib.image
import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from megatinybert.runtime.files import publish_file

# Tried in turn for each character. The first comes with matplotlib and has no Chinese, Japanese or Korean.
_FONTS = ("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Micro Hei", "PingFang SC", "SimHei")


def families() -> list[str]:
    """Installed fonts to draw text of any language with, in the order to try them in."""
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return [name for name in _FONTS if name in installed]


def render(figure: Figure) -> np.ndarray:
    """The figure as an image: uint8 (height, width, 3)."""
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        # One for each character that no font has; its place in the picture is a box.
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
