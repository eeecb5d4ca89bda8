"""Answers that are kept: those of the teacher, whole or computed again, by as many ranks as there are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import BertForSequenceClassification

from megatinybert.models.capture import ATTENTION_NAME, Features, Wanted, run_captured
from megatinybert.runtime.dist import World
from megatinybert.tasks import kept_answers
from megatinybert.tasks.answering import Answering
from megatinybert.tasks.kept_answers import KeptAnswers, answered
from megatinybert.tasks.rows import EncodedRows
from tests.helpers.encoded_rows import encoded_rows
from tests.helpers.toys import bert_config

ALONE = World(0, 1, torch.device("cpu"))
ROWS = encoded_rows([5, 9, 16, 7, 12, 30, 6, 8, 20, 11])


class Counting(Answering):
    """A teacher that says how many rows it was asked for."""

    asked = 0

    def features(self, batch: dict[str, Tensor], wanted: Wanted | None = None) -> Features:
        self.asked += len(batch["input_ids"])
        return super().features(batch, wanted)


def teacher(seed: int = 0) -> Counting:
    config = bert_config(2, num_labels=3)
    config._attn_implementation = ATTENTION_NAME
    torch.manual_seed(seed)
    return Counting(BertForSequenceClassification(config), checksum=f"of {seed}")


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of two batches, of a few rows each: four files of ROWS."""
    monkeypatch.setattr(kept_answers, "_BATCH_TOKENS", 32)
    monkeypatch.setattr(kept_answers, "_BATCHES_PER_FILE", 2)


def answers(folder: Path, model: Answering, rows: EncodedRows = ROWS) -> np.ndarray:
    kept = answered({"rows": rows}, model, folder, 3.0, ALONE)["rows"].answers
    assert kept is not None
    return kept


def test_they_are_the_teachers_in_the_rows_own_order(tmp_path: Path) -> None:
    model = teacher()
    kept = answers(tmp_path, model)
    assert kept.dtype == np.float32 and kept.shape == (len(ROWS), 3)
    for row in range(len(ROWS)):
        alone = {name: torch.from_numpy(array) for name, array in ROWS.batch(np.array([row])).items()}
        logits, plain = model.features(alone).logits, run_captured(model.model, alone).logits
        assert logits is not None and plain is not None
        assert np.array_equal(kept[row], logits[0].numpy())
        np.testing.assert_allclose(kept[row], plain[0].numpy(), rtol=1e-4, atol=1e-5)


def test_a_batch_that_holds_them_costs_no_pass(tmp_path: Path) -> None:
    model = teacher()
    rows = replace(ROWS, answers=answers(tmp_path, model))
    ids = np.array([4, 0, 7])
    batch = {name: torch.from_numpy(array) for name, array in rows.batch(ids).items()}
    found = Answering.features(model, batch)
    assert found.logits is not None and rows.answers is not None and not found.hidden_states
    assert np.array_equal(found.logits.numpy(), rows.answers[ids])
    assert rows.identity == ROWS.identity  # finished stages are those of the same rows


def test_they_are_read_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = answers(tmp_path, teacher())
    said = capsys.readouterr().err
    assert f"its answers to 10 rows (120 B) are computed once, for 3 passes over them, and kept in {tmp_path}" in said
    again = teacher()
    assert np.array_equal(answers(tmp_path, again), first) and again.asked == 0
    assert f"its answers to 10 rows are read from {tmp_path}" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["missing", "cut", "other values"])
def test_what_is_missing_or_damaged_alone_is_computed_again(tmp_path: Path, damage: str) -> None:
    first = answers(tmp_path, teacher())
    file = tmp_path / "rows" / "00001.safetensors"
    whole = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(whole[:-1] if damage == "cut" else whole[:-1] + bytes([whole[-1] ^ 1]))
    model = teacher()
    assert np.array_equal(answers(tmp_path, model), first)
    timed, lost = 1, KeptAnswers(tmp_path / "rows", model, ROWS).count([1])  # the first batch, of one row, is timed
    assert model.asked == timed + lost < len(ROWS)
    assert file.read_bytes() == whole


def test_those_of_another_teacher_rows_or_precision_are_not_read(tmp_path: Path) -> None:
    answers(tmp_path, teacher())
    other = teacher(1)
    kept = answers(tmp_path, other)
    assert other.asked > len(ROWS) and np.array_equal(kept, answers(tmp_path / "new", teacher(1)))
    assert json.loads((tmp_path / "rows" / "manifest.json").read_text())["teacher checksum"] == "of 1"
    model = teacher(1)
    answers(tmp_path, model, encoded_rows([9, 9, 9], seed=1))
    assert model.asked > 3
    halved = Counting(teacher(1).model.to(torch.bfloat16), checksum="of 1")
    answers(tmp_path, halved, encoded_rows([9, 9, 9], seed=1))
    assert halved.asked > 3


def test_any_number_of_ranks_computes_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each its own batches, which are added up."""
    expected = answers(tmp_path / "alone", teacher())
    parts = []
    for rank in range(2):
        world = World(rank, 2, torch.device("cpu"))
        monkeypatch.setattr(World, "sum", lambda _, tensor: tensor)
        monkeypatch.setattr(World, "first", lambda _, work: work())
        kept = KeptAnswers(tmp_path / str(rank), teacher(), ROWS)
        parts.append(kept.in_order({n: kept.compute(n, world) for n in range(len(kept.files))}))
    assert np.array_equal(parts[0] + parts[1], expected)
    assert not np.any(parts[0] * parts[1]) and parts[0].any() and parts[1].any()


def test_a_full_disk_costs_the_files_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    expected = answers(tmp_path / "whole", teacher())
    monkeypatch.setattr(kept_answers, "save_file", full)
    assert np.array_equal(answers(tmp_path / "full", teacher()), expected)
    assert "warning: the teacher's answers are not kept: No space left" in capsys.readouterr().err


def test_answers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    broken = teacher()
    with torch.no_grad():
        broken.model.classifier.bias[1] = torch.inf
    with pytest.raises(ValueError, match=r"the teacher's answers to \d rows are not finite.*its weights are damaged"):
        answers(tmp_path, broken)
