"""A fine-tuned model's logits, and files of predictions."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor
from transformers import PreTrainedModel

from megatinybert.config.task import OF_PREDICTIONS
from megatinybert.models.capture import MODEL_INPUTS
from megatinybert.models.head_logits import head_logits
from megatinybert.runtime.files import publish_file
from megatinybert.runtime.progress_bar import progress_bar
from megatinybert.tasks.read import Row
from megatinybert.tasks.rows import EncodedRows
from megatinybert.tasks.table import Task


@torch.no_grad()
def forward(model: PreTrainedModel, batch: dict[str, np.ndarray], device: torch.device) -> Tensor:
    """The logits of a classifier for a batch of `EncodedRows`: (B, C) on `device`, in the model's dtype."""
    inputs = {name: torch.from_numpy(batch[name]).to(device) for name in MODEL_INPUTS if name in batch}
    logits = head_logits(model, model.base_model(**inputs).last_hidden_state, inputs)
    assert logits is not None
    return logits


def logits_of(model: PreTrainedModel, rows: EncodedRows, device: torch.device, batch_tokens: int = 8192) -> np.ndarray:
    """The logits of every row, in the rows' order and that of the model's outputs: float32 (N, C).

    Rows run in eval mode in batches of like length, the longest first, of up to `batch_tokens` tokens with padding (a
    longer row is a batch of its own). The model is on `device`, and is left in the mode it was in.
    Raises ValueError where a logit is not finite.
    """
    outputs = model.config.num_labels
    assert outputs is not None
    result = np.empty((len(rows), outputs), dtype=np.float32)
    mode = model.training
    model.eval()
    try:
        with progress_bar(len(rows), "row", desc="answering", delay=3, leave=False) as bar:
            for ids in rows.by_length(batch_tokens):
                result[ids] = forward(model, rows.batch(ids), device).float().cpu().numpy()
                bar.update(len(ids))
    finally:
        model.train(mode)
    bad = np.flatnonzero(~np.isfinite(result).all(axis=1))
    if len(bad):
        raise ValueError(
            f"the model's outputs are not finite for {len(bad):,} of {len(rows):,} rows, the first of them row "
            f"{bad[0] + 1:,}: its weights are damaged, or too large for {model.dtype}"
        )
    return result


def check_table(rows: Iterable[Row], file: Path) -> None:
    """Raise ValueError for the first text of `file` that a .tsv cannot hold, before time is spent on the answers."""
    for number, row in enumerate(rows, 1):
        if any(mark in text for text in (row.text_a, row.text_b or "") for mark in "\t\r\n"):
            raise ValueError(
                f"{file}: row {number:,} holds a tab or a line end, which a .tsv of predictions cannot: name a .jsonl "
                "with --predict.output"
            )


def write_predictions(task: Task, rows: Iterable[Row], logits: np.ndarray, path: Path) -> None:
    """Write the rows' texts with the predicted class and the probability of each class, or with the predicted score.

    rows: N of them, of a .tsv such as `check_table` lets pass. logits: (N, C), C in the order of `task.labels`. path: a
    .tsv with a header, or a .jsonl; it is written atomically.
    """
    assert path.suffix in OF_PREDICTIONS
    lines = (_table if path.suffix == ".tsv" else _objects)(task, rows, logits)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(line + "\n" for line in lines)
        publish_file(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _objects(task: Task, rows: Iterable[Row], logits: np.ndarray) -> Iterator[str]:
    for texts, prediction, probabilities in _predictions(task, rows, logits):
        record: dict[str, object] = {**texts, "prediction": prediction}
        if task.labels is not None:
            record["probabilities"] = {
                name: round(value, 6) for name, value in zip(task.labels, probabilities, strict=True)
            }
        yield json.dumps(record, ensure_ascii=False)


def _table(task: Task, rows: Iterable[Row], logits: np.ndarray) -> Iterator[str]:
    texts = ["text_a", *(["text_b"] if task.pair else [])]
    header = [*texts, "prediction", *(f"probability_{name}" for name in task.labels or ())]
    yield "\t".join(header)
    for texts_there, prediction, probabilities in _predictions(task, rows, logits):
        yield "\t".join([*texts_there.values(), str(prediction), *(f"{value:.6f}" for value in probabilities)])


def _predictions(
    task: Task, rows: Iterable[Row], logits: np.ndarray
) -> Iterator[tuple[dict[str, str], str | float, list[float]]]:
    """Of each row: texts by column, name of the class or the score, probability of each class ([] in a regression)."""
    probabilities_NC = softmax(logits.astype(np.float64), axis=1)
    for row, logits_C, probabilities_C in zip(rows, logits, probabilities_NC, strict=True):
        texts = {"text_a": row.text_a} | ({} if row.text_b is None else {"text_b": row.text_b})
        if task.labels is None:
            yield texts, round(float(logits_C[0]), 6), []
        else:
            yield texts, task.labels[int(logits_C.argmax())], probabilities_C.tolist()
