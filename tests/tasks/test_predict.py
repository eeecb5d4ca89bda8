"""Logits are those of one row at a time, in the rows' order; files of predictions hold texts and probabilities."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertForSequenceClassification

from megatinybert.models.capture import ATTENTION_NAME
from megatinybert.tasks.predict import check_table, logits_of, write_predictions
from megatinybert.tasks.read import Row
from megatinybert.tasks.rows import EncodedRows
from megatinybert.tasks.table import TASKS
from tests.helpers.encoded_rows import encoded_rows
from tests.helpers.toys import bert_config

CPU = torch.device("cpu")
LENGTHS = [7, 30, 5, 5, 61, 12, 30, 9, 18, 44, 6]
SST, MNLI, STS = TASKS["sst-2"], TASKS["mnli"], TASKS["sts-b"]


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
    monkeypatch.setattr("megatinybert.tasks.predict.progress_bar", lambda *given, **options: Silent())
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


def test_a_table_of_predictions(tmp_path: Path) -> None:
    rows = [Row("good", None, None), Row('a "bad" one', None, None)]
    logits = np.log(np.array([[0.2, 0.8], [0.7, 0.3]], dtype=np.float32))
    write_predictions(SST, iter(rows), logits, tmp_path / "new" / "out.tsv")
    assert (tmp_path / "new" / "out.tsv").read_text() == (
        "text_a\tprediction\tprobability_negative\tprobability_positive\n"
        "good\tpositive\t0.200000\t0.800000\n"
        'a "bad" one\tnegative\t0.700000\t0.300000\n'
    )
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out.tsv"]


def test_objects_of_predictions(tmp_path: Path) -> None:
    rows = [Row("一\t二", "三\nvier", 1)]
    logits = np.array([[1.0, 3.0, -2.0]], dtype=np.float32)
    write_predictions(MNLI, rows, logits, tmp_path / "out.jsonl")
    (line,) = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    assert "一" in line
    weights = np.exp(logits[0].astype(float))
    assert MNLI.labels is not None
    expected = dict(zip(MNLI.labels, weights / weights.sum(), strict=True))
    found = json.loads(line)
    assert found.pop("probabilities") == pytest.approx(expected, abs=1e-6)
    assert found == {"text_a": "一\t二", "text_b": "三\nvier", "prediction": MNLI.labels[1]}


def test_scores_have_no_probabilities(tmp_path: Path) -> None:
    rows, logits = [Row("a", "b", None)], np.array([[3.25]], dtype=np.float32)
    write_predictions(STS, rows, logits, tmp_path / "out.tsv")
    write_predictions(STS, rows, logits, tmp_path / "out.jsonl")
    assert (tmp_path / "out.tsv").read_text() == "text_a\ttext_b\tprediction\na\tb\t3.25\n"
    assert json.loads((tmp_path / "out.jsonl").read_text()) == {"text_a": "a", "text_b": "b", "prediction": 3.25}


@pytest.mark.parametrize("text", ["a\tb", "a\nb", "a\rb"])
def test_what_a_table_cannot_hold_is_refused(text: str) -> None:
    said = "new.jsonl: row 2 holds a tab or a line end.* name a .jsonl with --predict.output"
    fine = Row("fine", "fine", None)
    check_table([fine, fine], Path("new.jsonl"))
    for row in (Row(text, None, None), Row("fine", text, None)):
        with pytest.raises(ValueError, match=said):
            check_table([fine, row], Path("new.jsonl"))


def test_rows_and_logits_have_to_be_as_many(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_predictions(SST, [Row("one", None, None)], np.zeros((2, 2), dtype=np.float32), tmp_path / "out.tsv")
    assert list(tmp_path.iterdir()) == []
