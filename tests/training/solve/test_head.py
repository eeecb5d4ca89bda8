"""A solved classifier answers as its teacher does, and a task begins with one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertForSequenceClassification

from megatinybert.models.capture import ATTENTION_NAME
from megatinybert.runtime.dist import World
from megatinybert.training.solve import calibration, head
from megatinybert.training.solve.calibration import Calibration
from megatinybert.training.solve.head import solve_head
from tests.helpers.task_toys import options, results, run
from tests.helpers.toys import bert_config, metrics
from tests.training.solve.test_student import ALONE, LENGTH, Windows


def classifier(seed: int, hidden: int = 24) -> BertForSequenceClassification:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = bert_config(2, hidden, 4, initializer_range=0.2, num_labels=3)
        config._attn_implementation = ATTENTION_NAME
        return BertForSequenceClassification(config).eval()


def test_on_the_teachers_own_states_it_gives_the_teachers_logits() -> None:
    teacher, student = classifier(1), classifier(2)
    student.bert.embeddings.load_state_dict(teacher.bert.embeddings.state_dict())
    student.bert.encoder.load_state_dict(teacher.bert.encoder.state_dict())
    error = solve_head(student, teacher, Calibration(Windows(), 20_000, LENGTH, 8, ALONE), ALONE)
    assert error < 1e-6
    batch = {name: torch.from_numpy(array) for name, array in Windows().batch(np.arange(350, 390)).items()}
    with torch.no_grad():
        torch.testing.assert_close(student(**batch).logits, teacher(**batch).logits, rtol=1e-2, atol=1e-3)


def test_a_narrower_one_is_nearer_than_a_constant() -> None:
    teacher, student = classifier(1), classifier(2, hidden=12)
    error = solve_head(student, teacher, Calibration(Windows(), 20_000, LENGTH, 8, ALONE), ALONE)
    assert 0 < error < 1 and all(weight.isfinite().all() for weight in student.state_dict().values())


def test_each_model_runs_once_on_a_batch_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without room for states it runs again in the second pass, to the same weights."""
    runs, weights = [], []
    run_captured = head.run_captured
    monkeypatch.setattr(head, "run_captured", lambda *given: runs.append(given) or run_captured(*given))
    for passes, room in ((1, calibration._CACHED_BYTES), (2, 0)):
        monkeypatch.setattr(calibration, "_CACHED_BYTES", room)
        student, rows = classifier(2, hidden=12), Calibration(Windows(), 20_000, LENGTH, 8, ALONE)
        runs.clear()
        solve_head(student, classifier(1), rows, ALONE)
        assert len(runs) == 2 * passes * rows.count and rows.count > 1
        weights.append(student.state_dict())
    for name, weight in weights[0].items():
        assert torch.equal(weight, weights[1][name]), name


@pytest.mark.parametrize("stage_one", [True, False])
def test_a_task_from_solved_weights(
    stage_one: bool, done_task: Path, task_inputs: Path, world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Solved from the fine-tuned teacher on the rows; before the first step of stage two it is better than chance."""
    solved: dict[str, object] = {"student.init": "solved", "teacher.model": done_task / "teacher", "augment.copies": 0}
    if not stage_one:
        solved |= {"one.max_steps": None, "one.epochs": 0}
    run("all", options(task_inputs, "singles", tmp_path / "run", **solved), world)
    said = capfd.readouterr().err
    assert said.count("student: solved on ") == 1 and said.count("student: classifier solved") == 1
    assert said.count("solving the classifier on ") >= 1
    rows = metrics(tmp_path / "run" / "stages" / "two")
    assert rows[0]["dev/accuracy"] > 0.45  # three classes
    assert results(tmp_path / "run")["student"]["dev"]["accuracy"] > 0.45
    run("two", options(task_inputs, "singles", tmp_path / "run", **solved), world)  # skipped, made of the same
