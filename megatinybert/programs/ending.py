"""What a general run says when it is done: what was gained, where the student is, and what to do next."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from megatinybert.models.initialize import STUDENT_FOLDER
from megatinybert.runtime.text_table import format_table
from megatinybert.tracking import curves
from megatinybert.tracking.measurements import ACCURACY, PROBE, PROJECTED

_BESIDE = {"probe": PROBE, "probe through projection": PROJECTED, "accuracy": ACCURACY}  # what is shown beside losses


def ending(folder: Path) -> str:
    """folder: of a finished run. Held-out values before and after it, as far as its metrics can be read."""
    try:
        rows = [row for row in curves.read_metrics(folder / "metrics.jsonl") if "held_out/total" in row]
    except (OSError, ValueError) as error:
        rows = []
        print(f"warning: the metrics cannot be read: {error}", file=sys.stderr)
    report = shlex.join(["python", "-m", "megatinybert.report", str(folder)])
    lines = [f"student: {folder / STUDENT_FOLDER}", f"next: {report}    (sizes, speed, loss curves)"]
    return "\n".join([*([_table(rows), ""] if rows else []), *lines])


def _table(rows: list[curves.Row]) -> str:
    first, last = rows[0], rows[-1]
    tags = {f"loss: {name}": f"held_out/{name}" for name in curves.loss_names(rows)}
    tags |= {name: tag for name, tag in _BESIDE.items() if tag in last}
    shown = [first, last] if first is not last else [last]
    head = ("on held-out text", *(f"step {int(row['step']):,}" for row in shown))
    body = [(name, *(f"{row[tag]:.4g}" if tag in row else "-" for row in shown)) for name, tag in tags.items()]
    return format_table([head, *body])
