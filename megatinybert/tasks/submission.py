"""Predictions in the form of GLUE's server."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from megatinybert.runtime.files import write_atomically
from megatinybert.tasks.table import Task


def write_submission(task: Task, split: str, predictions: np.ndarray, folder: Path) -> Path:
    """Write `folder`/SST-2.tsv, or as the task's file is called: a header, then index and prediction of every row.

    split: of `task.test`. predictions: of all rows in the file's order; class indices, int (N,), or scores, float
    (N,), which are brought into the task's scale and have three decimals. Returns the file's path.

    Raises ValueError where the task has no such file, or where a score is not finite.
    """
    if split not in task.submission:
        known = f"it has {', '.join(task.submission)}" if task.submission else "only GLUE's tasks have one"
        raise ValueError(f"{task.name}: no submission format for the split {split}; {known}")
    if task.labels is None:
        broken = np.flatnonzero(~np.isfinite(predictions))
        if len(broken):
            raise ValueError(
                f"{task.name}, {split}: the score of row {broken[0]} is {predictions[broken[0]]}, which is no number"
            )
        assert task.scale is not None
        written = [f"{score:.3f}" for score in np.clip(predictions, *task.scale)]
    else:
        names = task.values or task.labels
        assert predictions.min() >= 0
        written = [names[index] for index in predictions]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / task.submission[split]
    lines = ("index\tprediction", *(f"{index}\t{prediction}" for index, prediction in enumerate(written)))
    write_atomically(path, "\n".join(lines) + "\n")
    return path
