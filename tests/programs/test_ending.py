"""What a run says at its end."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from megatinybert.programs.ending import ending, ending_of_task
from megatinybert.tracking.measurements import PROJECTED
from tests.helpers.metric_rows import held_out, training


def test_held_out_values_the_student_and_a_command_that_can_be_pasted(tmp_path: Path) -> None:
    folder = tmp_path / "my run"
    folder.mkdir()
    projected = {PROJECTED: 0.75}
    first, last = {**held_out(4.0, 0.1), **projected}, {**held_out(2.0, 0.6), **projected}
    rows = [{"step": 0, **first}, {"step": 5, **training(3.0)}, {"step": 9, **last}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    *table, student, following = ending(folder).splitlines()
    assert table[0].split() == ["on", "held-out", "text", "step", "0", "step", "9"]
    assert ["loss:", "total", "4", "2"] in [line.split() for line in table] and table[-3].split()[-2:] == ["0.1", "0.6"]
    assert table[-2].split() == ["probe", "through", "projection", "0.75", "0.75"]
    assert student == f"student: {folder / 'student'}"
    command = following.removeprefix("next: ").split("    ")[0]
    program, *arguments = shlex.split(command)
    assert arguments == ["-m", "megatinybert.report", str(folder)]
    assert Path(shutil.which(program) or "").absolute() == Path(sys.prefix) / "bin" / "python"


def test_the_losses_of_several_students_are_not_to_be_compared_blindly(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        rows = [{"step": step, **held_out(loss, 0.1)} for step, loss in ((0, 4.0), (9, 2.0))]
        (tmp_path / name / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = ending(tmp_path, ["a", "b"])
    assert "\nlosses compare between students of one layer map and one set of weights\na: " in text


def test_metrics_that_cannot_be_read_do_not_hide_the_student(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending(tmp_path).startswith(f"student: {tmp_path / 'student'}")
    assert "warning: the metrics cannot be read" in capsys.readouterr().err


def test_a_task_says_where_its_student_is_and_what_to_do_with_it(tmp_path: Path) -> None:
    folder = tmp_path / "my task"
    student, predict, board = ending_of_task(folder).splitlines()
    assert student == f"student: {folder / 'student'}"
    command = shlex.split(predict.removeprefix("next: ").split("    ")[0])
    assert command[:5] == ["sh", "launch/task.sh", "predict", "--config", str(folder / "config.yaml")]
    assert command[5:] == ["--predict.input", "FILE"]
    assert f"tensorboard --logdir {folder / 'stages'}" in board


def test_elsewhere_than_in_the_repository_predictions_have_a_command_that_works_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = shlex.split(ending_of_task(Path("task")).splitlines()[1].removeprefix("next: ").split("    ")[0])
    assert command[1:6] == ["-m", "megatinybert.task", "predict", "--config", "task/config.yaml"]
    assert command[6:] == ["--predict.input", "FILE"]
