"""Rows of metrics.jsonl, as of a short run."""

from __future__ import annotations

from megatinybert.tracking.curves import Row


def held_out(total: float, probe: float) -> Row:
    return {"held_out/total": total, "held_out/attention": 0.75 * total, "held_out/hidden": 0.25 * total} | {
        "held_out/probe": probe
    }


def training(total: float) -> Row:
    return {"loss/total": total, "loss/attention": 0.75 * total, "loss/hidden": 0.25 * total}


ROWS: list[Row] = [
    {"step": 0, **held_out(32.0, 0.25)},
    {"step": 1, **training(31.0)},
    {"step": 2, **training(20.0), **held_out(16.0, 0.5)},
    {"step": 4, **training(5.0), **held_out(4.0, 0.75)},
]
