"""Labels in any language: by whichever font has their characters, else by numbers; boxes never."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from megatinybert.tracking import figures
from megatinybert.tracking.attention_maps import legend_text
from megatinybert.tracking.figures import drawable, families

LABELS = ["[CLS]", "中", "w1", "文字", "é"]
LATIN = frozenset("[CLS]w1é")


@pytest.fixture
def fonts(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, frozenset[str]]]:
    """{font: its characters}, to be filled by a test."""
    installed: dict[str, frozenset[str]] = {}
    monkeypatch.setattr(figures, "_glyphs", lambda file: installed[file])
    listed = SimpleNamespace()
    monkeypatch.setattr(font_manager, "fontManager", listed)
    listed.ttflist = _Listed(installed)
    figures._fonts_for.cache_clear()
    yield installed
    figures._fonts_for.cache_clear()


class _Listed:
    def __init__(self, installed: dict[str, frozenset[str]]) -> None:
        self._installed = installed

    def __iter__(self) -> Iterator[SimpleNamespace]:
        return (SimpleNamespace(name=name, fname=name, style="normal") for name in self._installed)


def test_labels_without_glyphs_are_numbered_and_told(fonts: dict[str, frozenset[str]]) -> None:
    fonts["DejaVu Sans"] = LATIN
    assert drawable(LABELS) == (["[CLS]", "(1)", "w1", "(3)", "é"], {"(1)": "中", "(3)": "文字"})
    assert families(LABELS) == ["DejaVu Sans"]
    text = legend_text(drawable(LABELS)[1])
    assert "- (1) 中\n- (3) 文字" in text
    assert "No font of this machine has these characters: install a font that has them (for Chinese the package" in text
    assert legend_text({}) == "" and drawable(["[CLS]"]) == (["[CLS]"], {})


def test_whichever_font_has_the_characters_is_taken(fonts: dict[str, frozenset[str]]) -> None:
    fonts |= {"DejaVu Sans": LATIN, "Another": frozenset("w1"), "Some Song": frozenset("中文字")}
    assert drawable(LABELS) == (LABELS, {})
    assert families(LABELS) == ["DejaVu Sans", "Some Song"]
    assert families() == ["DejaVu Sans"]


def test_the_font_of_boxes_is_none(fonts: dict[str, frozenset[str]]) -> None:
    fonts |= {"DejaVu Sans": LATIN, "Last Resort High-Efficiency": frozenset("".join(LABELS))}
    assert drawable(LABELS)[1] == {"(1)": "中", "(3)": "文字"} and families(LABELS) == ["DejaVu Sans"]


def test_what_is_drawn_here_has_no_boxes() -> None:
    """With the fonts of this machine, whichever they are."""
    labels, legend = drawable(LABELS)
    assert families(LABELS) and not [name for name in families(LABELS) if name.startswith("Last")]  # which has boxes
    assert (labels[1] == "中") != ("(1)" in legend)
    figure = Figure()
    for place, label in enumerate(labels):
        figure.text(0.1, 0.1 * place, label, fontfamily=families(labels))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib's, of a glyph that is missing
        FigureCanvasAgg(figure).draw()
