"""Time per row at real lengths."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor
from transformers import PreTrainedModel

from megatinybert.runtime.stopwatch import seconds_in_turn
from megatinybert.runtime.waiting import Waiting
from megatinybert.tasks.logits import forward
from megatinybert.tasks.rows import EncodedRows

_SAMPLE, _WARM_UP, _ROUNDS = 32, 4, 3  # rows; rows of each model that are not timed; times that each row is


@dataclass(frozen=True)
class Latency:
    """Of one sequence at a time, from token ids in the machine's memory to logits there.

    waited: what part of the time in which all models were timed they waited for a core.
    """

    median_ms: float
    p90_ms: float
    sequences_per_second: float
    waited: float = 0.0


def compare_latency(models: Mapping[str, PreTrainedModel], rows: EncodedRows) -> dict[str, Latency]:
    """The latency of each model on the device it is on, in eval mode, by its name.

    The rows are a fixed sample, evenly spaced. The models run each of them in turn, so that whatever else the machine
    does meanwhile falls on all of them.
    """
    sample = np.linspace(0, len(rows) - 1, min(_SAMPLE, len(rows))).round().astype(np.int64)
    batches = [rows.batch(sample[i : i + 1]) for i in range(len(sample))]
    modes = {name: model.training for name, model in models.items()}
    # Each model has its own turn through the rows, again and again.
    functions = {
        name: functools.partial(_answer_next, model.eval(), itertools.cycle(batches)) for name, model in models.items()
    }
    device = next(iter(models.values())).device
    waiting = Waiting()
    seconds = seconds_in_turn(functions, device, _ROUNDS * len(batches), _WARM_UP)
    waited = waiting.share()
    for name, model in models.items():
        model.train(modes[name])
    return {name: _latency(np.array(times), waited) for name, times in seconds.items()}


def _answer_next(model: PreTrainedModel, batches: Iterator[dict[str, np.ndarray]]) -> Tensor:
    return forward(model, next(batches), model.device).cpu()


def _latency(seconds: np.ndarray, waited: float = 0.0) -> Latency:
    median, p90 = np.percentile(1000 * seconds, [50, 90])
    return Latency(float(median), float(p90), float(1 / seconds.mean()), waited)
