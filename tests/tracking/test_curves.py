"""Metrics as curves: each loss in training and held out, also where values are missing or were not finite."""

from __future__ import annotations

import math
import time
from pathlib import Path

import matplotlib.image
import pytest

from megatinybert.tracking.curves import Row, draw, loss_names, read_metrics
from megatinybert.tracking.figures import save_picture
from megatinybert.tracking.measurements import PROJECTED
from megatinybert.tracking.remarks import on_first_losses
from tests.helpers.metric_rows import ROWS, held_out, training


def test_picture_shows_each_loss_in_training_and_held_out() -> None:
    axes = {axis.get_title(): axis for axis in draw(ROWS, "title").axes}
    assert set(axes) == {"loss: total", "loss: attention", "loss: hidden", "probe"}
    in_training, out = axes["loss: attention"].get_lines()
    assert list(in_training.get_xdata()) == [1, 2, 4] and list(in_training.get_ydata()) == [23.25, 15.0, 3.75]
    assert list(out.get_xdata()) == [0, 2, 4] and list(out.get_ydata()) == [24.0, 12.0, 3.0]
    assert axes["loss: total"].get_yscale() == "log"
    (probe,) = axes["probe"].get_lines()
    assert list(probe.get_ydata()) == [0.25, 0.5, 0.75] and axes["probe"].get_yscale() == "linear"


def test_what_solving_gave_is_marked_at_step_0_of_each_held_out_curve() -> None:
    axes = {axis.get_title(): axis for axis in draw(ROWS, "title", solved=True).axes}
    for title, value in (("loss: total", 32.0), ("loss: attention", 24.0), ("loss: hidden", 8.0), ("probe", 0.25)):
        *_, line, mark = axes[title].get_lines()
        assert list(line.get_ydata()) == [value, value] and line.get_linestyle() == "--"
        assert (list(mark.get_xdata()), list(mark.get_ydata())) == ([0], [value])
    assert "solved" in [text.get_text() for text in axes["loss: total"].get_legend().get_texts()]
    unmarked = draw([{"step": 0, **held_out(math.nan, 0.5)}, *ROWS[1:]], "title", solved=True).axes[0]
    assert len(unmarked.get_lines()) == 2  # there is no place for the mark
    resumed_elsewhere = draw(ROWS[1:], "title", solved=True).axes[0]
    assert len(resumed_elsewhere.get_lines()) == 2


def test_a_picture_says_why_a_solved_students_first_losses_are_below_held_out_ones() -> None:
    assert draw(ROWS, "title", solved=True).get_supxlabel() == on_first_losses(ROWS)
    assert draw(ROWS, "title").get_supxlabel() == draw(ROWS[1:], "title", solved=True).get_supxlabel() == ""


def test_steps_on_short_rows_are_told_in_the_legend() -> None:
    for share, label in ((0.0, "training"), (0.3, "training, 30 % of\nsteps on short rows")):
        assert draw(ROWS, "title", short_rows=share).axes[0].get_legend().get_texts()[0].get_text() == label


@pytest.mark.parametrize("short_rows", [0.0, 0.3])
def test_the_legend_hides_nothing(short_rows: float) -> None:
    figure = draw(ROWS, "title", solved=True, short_rows=short_rows)
    figure.draw_without_rendering()
    axis = figure.axes[0]
    legend, label = axis.get_legend().get_window_extent(), axis.xaxis.label.get_window_extent()
    assert legend.y1 <= label.y0 and legend.x1 < figure.axes[1].get_tightbbox().x0
    (why,) = (text for text in figure.texts if text.get_text() == figure.get_supxlabel())
    assert legend.y0 >= why.get_window_extent().y1 and legend.x0 >= 0


def test_both_probes_are_in_one_panel() -> None:
    rows: list[Row] = [row | {PROJECTED: 0.9} if "held_out/probe" in row else row for row in ROWS]
    axes = {axis.get_title(): axis for axis in draw(rows, "title", solved=True).axes}
    assert set(axes) == {"loss: total", "loss: attention", "loss: hidden", "probe"}
    own, projected = (line for line in axes["probe"].get_lines() if len(line.get_xdata()) == 3)
    assert list(own.get_ydata()) == [0.25, 0.5, 0.75] and list(projected.get_ydata()) == [0.9] * 3
    assert projected.get_label() == "through projection"
    assert axes["probe"].get_ylim() == (0.0, 1.0)
    below = [row | {PROJECTED: -0.5} if "held_out/probe" in row else row for row in ROWS]
    assert {axis.get_title(): axis for axis in draw(below, "").axes}["probe"].get_ylim() == (-0.5, 1.0)


def test_a_loss_that_hardly_changed_is_drawn_on_a_linear_axis() -> None:
    rows = [{"step": 0, **held_out(32.0, 0.1)}, {"step": 1, **training(31.0), **held_out(30.0, 0.1)}]
    assert {axis.get_yscale() for axis in draw(rows, "title").axes} == {"linear"}


def test_values_that_are_not_finite_leave_gaps(tmp_path: Path) -> None:
    """The log has null for them, and older ones NaN and Infinity, which Python reads."""
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 0, "held_out/total": 8.0, "held_out/probe": null}\n'
        '{"step": 1, "loss/total": 4.0, "speed/tokens_per_second": null, "optimizer/gradient_norm": null}\n'
        '{"step": 2, "loss/total": Infinity, "held_out/total": 2.0, "held_out/probe": NaN}\n'
    )
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert math.isnan(rows[0]["held_out/probe"]) and math.isnan(rows[1]["speed/tokens_per_second"])
    assert rows[1].keys() == {"step", "loss/total", "speed/tokens_per_second"}
    axes = {axis.get_title(): axis for axis in draw(rows, "title").axes}
    assert axes["loss: total"].get_yscale() == "log" and axes["probe"].get_ylim() == (0.0, 1.0)
    save_picture(draw(rows, "title"), tmp_path / "loss.png")
    assert matplotlib.image.imread(tmp_path / "loss.png").ndim == 3


def test_training_alone_and_one_term_alone_can_be_drawn() -> None:
    """A run continued in an empty folder begins without a measurement."""
    rows: list[Row] = [{"step": 7, **training(3.0)}]
    assert {axis.get_title() for axis in draw(rows, "").axes} == {"loss: total", "loss: attention", "loss: hidden"}
    assert loss_names([{"step": 7, "loss/total": 3.0}]) == ["total"]
    assert [axis.get_title() for axis in draw([{"step": 7, "loss/total": 3.0}], "").axes] == ["loss: total"]


def test_a_line_cut_short_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 0}\n{"step": 1, "loss/to')
    with pytest.raises(ValueError, match="line 2 is cut short"):
        read_metrics(tmp_path / "metrics.jsonl")


def test_a_picture_that_cannot_be_saved_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = draw(ROWS, "title")
    monkeypatch.setattr(figure, "savefig", lambda path: path.write_bytes(b"half a pic") and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_picture(figure, tmp_path / "loss.png")
    assert list(tmp_path.iterdir()) == []


def test_a_long_run_is_drawn_in_seconds(tmp_path: Path) -> None:
    """Half a million steps, logged every 10 and measured every 250."""
    losses = [1 + 1e4 / (n + 1) for n in range(50_000)]
    rows: list[Row] = [
        {"step": 10 * n, **training(loss), **(held_out(loss, 0.5) if n % 25 == 0 else {})}
        for n, loss in enumerate(losses)
    ]
    began = time.process_time()
    figure = draw(rows, "title")
    save_picture(figure, tmp_path / "loss.png")
    assert time.process_time() - began < 10  # of a slow processor: 3
    for curve in figure.axes[0].get_lines():
        steps = curve.get_xdata()
        assert 1000 < len(steps) <= 2001 and steps[0] == 0 and steps[-1] in (499_990, 499_750)
