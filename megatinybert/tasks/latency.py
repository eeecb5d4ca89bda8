"""How long models take for one sequence, at the real lengths of a task's rows."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedModel

from megatinybert.tasks.predict import forward
from megatinybert.tasks.rows import EncodedRows

_SAMPLE, _WARM_UP, _ROUNDS = 32, 4, 3  # rows; rows of each model that are not timed; times that each row is


@dataclass(frozen=True)
class Latency:
    """Of one sequence at a time, from token ids in the machine's memory to logits there."""

    median_ms: float
    p90_ms: float
    sequences_per_second: float


def compare_latency(models: Mapping[str, PreTrainedModel], rows: EncodedRows) -> dict[str, Latency]:
    """The latency of each model on the device it is on, in eval mode, by its name.

    The rows are a fixed sample, evenly spaced. The models run each of them in turn, so that whatever else the machine
    does meanwhile falls on all of them.
    """
    sample = np.linspace(0, len(rows) - 1, min(_SAMPLE, len(rows))).round().astype(np.int64)
    batches = [rows.batch(sample[i : i + 1]) for i in range(len(sample))]
    seconds: dict[str, list[float]] = {name: [] for name in models}
    modes = {name: model.training for name, model in models.items()}
    for model in models.values():
        model.eval()
        for batch in batches[:_WARM_UP]:
            _time(model, batch)
    for _ in range(_ROUNDS):
        for batch in batches:
            for name, model in models.items():
                seconds[name].append(_time(model, batch))
    for name, model in models.items():
        model.train(modes[name])
    return {name: _latency(np.array(times)) for name, times in seconds.items()}


def _time(model: PreTrainedModel, batch: dict[str, np.ndarray]) -> float:
    start = time.perf_counter()
    forward(model, batch, model.device).cpu()  # waits for the device
    return time.perf_counter() - start


def _latency(seconds: np.ndarray) -> Latency:
    median, p90 = np.percentile(1000 * seconds, [50, 90])
    return Latency(float(median), float(p90), float(1 / seconds.mean()))
