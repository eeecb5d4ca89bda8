"""Logits are those of one row at a time, in the rows' order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import BertForSequenceClassification

from megatinybert.models.capture import ATTENTION_NAME
from megatinybert.tasks.logits import logits_of
from megatinybert.tasks.rows import EncodedRows
from tests.helpers.encoded_rows import encoded_rows
from tests.helpers.toys import bert_config

CPU = torch.device("cpu")
LENGTHS = [7, 30, 5, 5, 61, 12, 30, 9, 18, 44, 6]


def classifier(**more: object) -> BertForSequenceClassification:
    torch.manual_seed(2)
    config = bert_config(layers=2, initializer_range=0.2, **({"num_labels": 3} | more))
    config._attn_implementation = ATTENTION_NAME
    return BertForSequenceClassification(config)


class Counted(EncodedRows):
    """Rows that note the shapes of their batches."""

    shapes: list[tuple[int, int]]

    def batch(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        batch = super().batch(ids)
        self.shapes.append(batch["input_ids"].shape)
        return batch


def test_logits_are_those_of_one_row_at_a_time_in_order() -> None:
    model, rows = classifier().eval(), encoded_rows(LENGTHS)
    found = logits_of(model, rows, CPU, batch_tokens=64)
    assert found.shape == (len(LENGTHS), 3) and found.dtype == np.float32
    for i in range(len(LENGTHS)):
        one = {name: torch.from_numpy(array) for name, array in rows.batch(np.array([i])).items()}
        np.testing.assert_allclose(found[i], model(**one).logits[0].detach().numpy(), atol=1e-6)


def test_batches_keep_to_their_tokens_and_hardly_pad() -> None:
    rows = Counted(**vars(encoded_rows(LENGTHS)))
    vars(rows)["shapes"] = []
    logits_of(classifier(), rows, CPU, batch_tokens=60)
    assert rows.shapes[0] == (1, 61)  # longer than a batch may be
    assert len(rows.shapes) > 2 and all(size * length <= 60 for size, length in rows.shapes[1:])
    assert sum(size for size, _ in rows.shapes) == len(LENGTHS)
    assert [length for _, length in rows.shapes] == sorted((length for _, length in rows.shapes), reverse=True)
    assert sum(size * length for size, length in rows.shapes) < 1.2 * sum(LENGTHS)


def test_dropout_is_off_and_the_mode_comes_back() -> None:
    model, rows = classifier(hidden_dropout_prob=0.5).train(), encoded_rows(LENGTHS)
    first = logits_of(model, rows, CPU)
    assert model.training and all(part.training for part in model.modules())
    np.testing.assert_array_equal(first, logits_of(model, rows, CPU))
    np.testing.assert_array_equal(first, logits_of(model.eval(), rows, CPU))
    assert not model.training


def test_a_progress_bar_that_is_switched_off_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = classifier(), encoded_rows(LENGTHS)
    expected = logits_of(model, rows, CPU)
    monkeypatch.setattr("megatinybert.tasks.logits.progress_bar", lambda *given, **options: Silent())
    np.testing.assert_array_equal(expected, logits_of(model, rows, CPU))


class Silent:
    """A progress bar that counts nothing, as tqdm's does where TQDM_DISABLE is set."""

    n = 0

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *error: object) -> None: ...

    def update(self, count: int) -> None: ...


def test_outputs_that_are_not_finite_are_an_error() -> None:
    model, rows = classifier(), encoded_rows(LENGTHS)
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight[rows.batch(np.array([3]))["input_ids"][0, 0]] = torch.nan
    with pytest.raises(ValueError, match=r"not finite for \d+ of 11 rows, the first of them row \d+: .*float32"):
        logits_of(model, rows, CPU)
