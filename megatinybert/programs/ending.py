"""What a run says when it is done: what was gained, where the student is, and what to do next."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from megatinybert.config.run_folder import STUDENT_FOLDER
from megatinybert.programs.commands import module_with, tensorboard_of
from megatinybert.runtime.text_table import format_table
from megatinybert.tracking import curves
from megatinybert.tracking.measurements import BESIDE_LOSSES, MASKED
from megatinybert.tracking.remarks import row_of


def ending(folder: Path, students: Sequence[str] = ()) -> str:
    """folder: of a finished general run. Held-out values before and after it, as far as its metrics can be read.

    students: their names, of a run of several.
    """
    rows = {name: _measured(folder / name) for name in students or [""]}
    report = module_with("report", str(folder))
    tables = [_table(rows), ""] if any(rows.values()) else []
    if not students:
        lines = [f"student: {folder / STUDENT_FOLDER}", f"next: {report}    (sizes, speed, loss curves)"]
        return "\n".join([*tables, *lines])
    lines = ["losses compare between students of one layer map and one set of weights"] if tables else []
    lines += [f"{name}: {folder / name / STUDENT_FOLDER}" for name in students]
    return "\n".join([*tables, *lines, f"next: {report}    (sizes, speed, trade-off of the students)"])


def ending_of_task(folder: Path) -> str:
    """folder: of a task whose student is compared with its teacher, which has told what was gained."""
    options = ["predict", "--config", str(folder / "config.yaml")]
    launch = Path("launch", "task.sh")
    predict = shlex.join(["sh", str(launch), *options]) if launch.is_file() else module_with("task", *options)
    lines = [f"student: {folder / STUDENT_FOLDER}", f"next: {predict} --predict.input FILE    (answers to a file)"]
    return "\n".join([*lines, f"      {tensorboard_of(folder / 'stages')}    (curves of all stages)"])


def _measured(folder: Path) -> list[curves.Row]:
    """The rows of metrics with held-out values; [] where they cannot be read, which is said."""
    try:
        return [row for row in curves.read_metrics(folder / "metrics.jsonl") if "held_out/total" in row]
    except (OSError, ValueError) as error:
        print(f"warning: the metrics cannot be read: {error}", file=sys.stderr)
        return []


def _table(rows: Mapping[str, list[curves.Row]]) -> str:
    """rows: with held-out values, by student; the name "" of the only one is not shown."""
    known = {name: own for name, own in rows.items() if own}
    names = dict.fromkeys(loss for own in known.values() for loss in curves.loss_names(own))
    last = [own[-1] for own in known.values()]
    tags = {f"loss: {name}": f"held_out/{name}" for name in names}
    tags |= {row_of(tag, last[0].get(MASKED)): tag for tag in BESIDE_LOSSES if any(tag in row for row in last)}
    shown = [(name, row) for name, own in known.items() for row in (own[:1] if len(own) > 1 else []) + own[-1:]]
    head = ("on held-out text", *(f"{name and name + ', '}step {int(row['step']):,}" for name, row in shown))
    body = [(name, *(f"{row[tag]:.4g}" if tag in row else "-" for _, row in shown)) for name, tag in tags.items()]
    return format_table([head, *body])
