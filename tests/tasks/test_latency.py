"""Latencies: models in turn, a fixed sample of rows one at a time, and the numbers of known times."""

from __future__ import annotations

import time

import numpy as np
import pytest
from torch import Tensor, nn
from transformers import BertForSequenceClassification

from megatinybert.tasks import latency
from megatinybert.tasks.latency import compare_latency
from tests.helpers.encoded_rows import encoded_rows
from tests.helpers.toys import bert_config


def classifier(layers: int) -> BertForSequenceClassification:
    return BertForSequenceClassification(bert_config(layers=layers, initializer_range=0.2))


def test_models_run_in_turn_on_single_rows_of_all_lengths() -> None:
    models = {"teacher": classifier(2).train(), "student": classifier(1).eval()}
    calls: list[tuple[str, tuple[int, ...], bool]] = []
    for name, model in models.items():

        def note(module: nn.Module, inputs: tuple[Tensor], output: Tensor, name: str = name) -> None:
            calls.append((name, tuple(output.shape), module.training))

        model.bert.embeddings.register_forward_hook(note)
    lengths = list(range(5, 55))
    found = compare_latency(models, encoded_rows(lengths))
    assert set(found) == {"teacher", "student"}
    timed = calls[2 * latency._WARM_UP :]
    assert [name for name, _, _ in timed[:4]] == ["teacher", "student"] * 2
    assert len(timed) == 2 * latency._SAMPLE * latency._ROUNDS
    assert all(shape[0] == 1 for _, shape, _ in calls) and not any(training for _, _, training in calls)
    assert {shape[1] for _, shape, _ in timed} >= {5, 54}
    assert len({shape[1] for _, shape, _ in timed}) == latency._SAMPLE
    assert models["teacher"].training and not models["student"].training


def test_a_slower_model_is_slower() -> None:
    models = {"slow": classifier(1), "fast": classifier(1)}
    models["slow"].bert.embeddings.register_forward_hook(lambda *_: time.sleep(0.02))
    found = compare_latency(models, encoded_rows([6, 9]))
    assert 20 <= found["slow"].median_ms <= found["slow"].p90_ms
    assert found["slow"].sequences_per_second <= 50
    assert found["fast"].median_ms < found["slow"].median_ms


def test_the_numbers_of_known_times() -> None:
    found = latency._latency(np.arange(1, 12) / 1000)
    assert (found.median_ms, found.p90_ms) == pytest.approx((6.0, 10.0))
    assert found.sequences_per_second == pytest.approx(1000 / 6)
