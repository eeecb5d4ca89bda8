"""Sentences on what a run measured, for report, card and picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from megatinybert.runtime.counts import counted
from megatinybert.tracking.measurements import ACCURACY, BESIDE_LOSSES, FEWEST_WINDOWS

Row = dict[str, float]  # of one line of metrics.jsonl, what is kept


def on_first_losses(rows: Sequence[Row]) -> str | None:
    """Why the training loss of a solved student begins below its held-out one; None where it does not.

    rows: of a run. Step 1 is of the weights as they were solved: its loss is taken before they change.
    """
    before, first = ({row["step"]: row for row in rows[:2]}.get(step, {}) for step in (0, 1))
    if not first.get("loss/total", math.nan) < before.get("held_out/total", math.nan):
        return None
    return "Losses in training begin below held-out ones: the student was solved on the text of the first steps."


def on_no_probe(windows: int | None) -> str | None:
    """Why there is no probe; None where there may be one. windows: held-out ones; None where that is not known."""
    if windows is None or windows >= FEWEST_WINDOWS:
        return None
    return f"No probe is measured on {counted(windows, 'held-out window')}: it needs {FEWEST_WINDOWS} or more."


def row_of(tag: str, masked: float | None) -> str:
    """The name in a table of what is measured beside the losses: of an accuracy with what it is a share of.

    masked: MASKED of the metrics; None of a run that has no such tokens, or did not count them yet.
    """
    name = BESIDE_LOSSES[tag].row
    return name if tag != ACCURACY or masked is None else f"{name} ({counted(int(masked), 'masked token')})"


def on_what_got_worse(
    losses: Mapping[str, tuple[float, float]],
    beside: Mapping[str, tuple[float, float]],
    few_steps: bool,
    chance: float = 0.0,
) -> str | None:
    """What training left worse than it was, and what by no more than chance; None where there is nothing of that.

    Pairs (before, after) on held-out text: losses by name, "total" among them; by tag what is measured beside them, of
    which more is better. few_steps: whether the steps were too few at their learning rate. chance: how far two probes
    of as many windows differ by it.
    """
    risen = [name for name, (before, after) in losses.items() if after > before]
    worse = ["total" if name == "total" else f"{name} loss" for name in risen]
    fallen = [tag for tag, (before, after) in beside.items() if before - after > (0 if tag == ACCURACY else chance)]
    worse += [BESIDE_LOSSES[tag].row for tag in fallen]
    told = []
    if worse:
        why = " Terms may rise while their weighted sum, the total, falls." if "total" not in risen else ""
        if few_steps:
            why = " So few steps at such a learning rate teach little: train for longer."
        told.append(f"Worse after training than before: {', '.join(worse)}.{why}")
    near = [BESIDE_LOSSES[tag].row for tag, (before, after) in beside.items() if after < before and tag not in fallen]
    if near:
        told.append(f"Lower, but by no more than chance on so many windows: {', '.join(near)}.")
    return " ".join(told) or None
