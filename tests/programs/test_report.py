"""The report of a run: its numbers are those of the metrics, and an unfinished run gets none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.image
import pytest
import yaml
from transformers import BertConfig, BertForMaskedLM, BertModel
from transformers.utils import logging

from megatinybert.programs import report
from megatinybert.programs.search import teacher_of
from megatinybert.report import main
from megatinybert.runtime.files import file_sha256
from megatinybert.runtime.waiting import Waiting
from megatinybert.training.solve.record import SolvingRecord, write_record
from tests.helpers.metric_rows import ROWS, training
from tests.helpers.toys import REPOSITORY


def _save_bert(folder: Path, layers: int, hidden_size: int) -> int:
    """Save a random encoder to `folder` and give its number of parameters."""
    config = BertConfig(
        vocab_size=50,
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * hidden_size,
        max_position_embeddings=16,
    )
    model = BertModel(config)
    model.save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())


def _write_metrics(folder: Path, rows: Sequence[Mapping[str, float | None]]) -> None:
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The output folder of a finished run of 4 steps."""
    folder = tmp_path / "run"
    _save_bert(tmp_path / "teacher", layers=4, hidden_size=32)
    _save_bert(folder / "student", layers=2, hidden_size=16)
    config = {
        "teacher": {"model": str(tmp_path / "teacher")},
        "data": {"sequence_length": 10},
        "run": {"max_steps": 4, "global_batch": 8},
        "environment": {"torch": "2.13.0"},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    _write_metrics(folder, ROWS)
    return folder


def test_the_numbers_are_those_of_the_metrics_and_the_models(run: Path, tmp_path: Path) -> None:
    found = report.make_report(*report.read_run(run), run)
    assert found.held_out == {"total": (32.0, 4.0), "attention": (24.0, 3.0), "hidden": (8.0, 1.0)}
    assert found.probe == (0.25, 0.75)
    assert (found.steps, found.tokens) == (4, 4 * 8 * 10)
    assert (found.teacher.layers, found.teacher.hidden_size) == (4, 32)
    assert (found.student.layers, found.student.hidden_size) == (2, 16)
    assert found.student.parameters == _save_bert(tmp_path / "again", layers=2, hidden_size=16)
    assert found.student.megabytes == 4 * found.student.parameters / 1e6
    assert found.speed_up == found.teacher.milliseconds / found.student.milliseconds > 0
    assert found.speed_length == 16  # the models have no position beyond it


def test_command_line_writes_the_table_the_json_and_the_picture(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["layers", "x", "width", "4", "x", "32", "2", "x", "16"] in lines
    assert ["loss:", "total", "32.00", "4.000", "0.125", "of", "the", "start"] in lines
    assert ["probe", "0.250", "0.750", "+0.500"] in lines
    assert lines[-2][0] == "TensorBoard:" and lines[-2][-2:] == ["--logdir", str(run / "tensorboard")]
    assert lines[-1] == ["then", "open", report.FIRST_PAGE]

    numbers = json.loads((run / "report.json").read_text())
    assert numbers["held_out"]["total"] == [32.0, 4.0] and numbers["student"]["layers"] == 2
    height, width, _ = matplotlib.image.imread(run / "loss.png").shape
    assert width > height > 500
    assert not list(run.glob(".*"))  # no temporary file is left


@pytest.mark.parametrize("waited", [0.05, 0.4])
def test_times_of_a_busy_machine_are_told_to_be_such(
    run: Path, waited: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Waiting, "share", lambda _: waited)
    assert main([str(run)]) == 0
    sentence = "The cores were busy, and these runs waited for one 40 % of the time: "
    assert (sentence in capsys.readouterr().out) == (waited == 0.4)
    assert json.loads((run / "report.json").read_text())["student"]["waited"] == waited


def test_a_student_larger_than_its_teacher_is_called_so(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parameters = _save_bert(run / "student", layers=4, hidden_size=64)
    teacher = report.make_report(*report.read_run(run), run).teacher
    assert main([str(run)]) == 0
    assert f"{parameters / teacher.parameters:.1f} x larger" in capsys.readouterr().out


def test_heads_that_are_dropped_are_not_told(run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The teacher is a masked-LM, which has no pooler."""
    BertForMaskedLM(BertConfig.from_pretrained(tmp_path / "teacher")).save_pretrained(tmp_path / "teacher")
    logging.set_verbosity_warning()
    try:
        report.measure_models(str(tmp_path / "teacher"), run / "student")
    finally:
        logging.set_verbosity_error()
    assert "LOAD REPORT" not in caplog.text


def test_the_page_that_the_command_opens_is_the_one_that_the_docs_show() -> None:
    assert f"<{report.FIRST_PAGE}>" in (REPOSITORY / "docs" / "monitor.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("layer_map", "searchable"), [("uniform", True), ([0, 1], False)])
def test_the_probe_through_the_projection_and_which_vectors_to_use_are_told(
    run: Path, capsys: pytest.CaptureFixture[str], layer_map: object, searchable: bool
) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(config | {"objective": {"layer_map": layer_map}}))
    projected = {"held_out/probe_through_projection": 0.5}, {"held_out/probe_through_projection": 0.875}
    _write_metrics(run, [ROWS[0] | projected[0], *ROWS[1:-1], ROWS[-1] | projected[1]])
    assert main([str(run)]) == 0
    printed = capsys.readouterr().out
    lines = [line.split() for line in printed.splitlines()]
    assert ["probe", "through", "projection", "0.500", "0.875", "+0.375"] in lines
    assert ["probe", "0.250", "0.750", "+0.500"] in lines and "loss: probe" not in printed
    assert "those through the projection are better (probe 0.875 through the projection, 0.750 without)" in printed
    assert ("An index of the teacher's vectors" in printed) == searchable
    numbers = json.loads((run / "report.json").read_text())
    assert numbers["projected_probe"] == [0.5, 0.875] and numbers["advice"] in printed


def test_no_probe_of_two_windows_is_told(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["environment"]["held_out_windows"] = 2
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    _write_metrics(run, [{tag: value for tag, value in row.items() if tag != "held_out/probe"} for row in ROWS])
    assert main([str(run)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert "No probe is measured on 2 held-out windows: it needs 3 or more." in printed
    assert not any(line.startswith("probe") for line in printed)
    assert json.loads((run / "report.json").read_text())["probe"] is None


def _solve(run: Path) -> None:
    """Make it a run from solved weights."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(config | {"student": {"init": "solved"}}))
    speed = {"speed/tokens_per_second": 80.0}  # a second a step
    _write_metrics(run, [ROWS[0], *(row | speed for row in ROWS[1:])])
    write_record(run, SolvingRecord(tokens=2048, seconds=39.2, kept=0.95, errors=[0.1, 0.2]))


def _ask(run: Path, shared: float) -> None:
    """Write as much of questions.json as the report reads."""
    weights = file_sha256(run / "student" / "model.safetensors")
    record = {"student_sha256": weights, "shared": shared, "questions": [{}], "passages": 60, "by_chance": 10 / 60}
    (run / "questions.json").write_text(json.dumps(record))


def test_solved_trained_and_teacher_stand_side_by_side(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _solve(run)
    _ask(run, 0.435)
    assert main([str(run)]) == 0
    printed = capsys.readouterr().out.splitlines()
    lines = [line.split() for line in printed]
    assert lines[0] == ["solved", "trained", "teacher"]
    assert ["layers", "x", "width", "2", "x", "16", "2", "x", "16", "4", "x", "32"] in lines
    assert ["loss:", "total", "32.00", "4.000", "-", "0.125", "of", "solved"] in lines
    assert ["probe", "0.250", "0.750", "1.000", "+0.500"] in lines
    assert ["top", "10", "shared", "with", "teacher", "-", "0.435", "1.000"] in lines
    mean = "Top 10 shared with teacher: the mean over 1 question about 60 passages; by chance 17 %."
    assert mean.split() in lines
    assert (
        "Solving alone, on 2,048 tokens in 39.2 s, gave a held-out total of 32.00 and a probe of 0.250.\n"
        "Training, 4 steps on 320 tokens in 4 s, brought these to 4.000 and 0.750.\n"
        "Losses in training begin below held-out ones: the student was solved on the text of the first steps.\n"
    ) in "\n".join(printed)
    numbers = json.loads((run / "report.json").read_text())
    assert numbers["solving"] == {"tokens": 2048, "seconds": 39.2, "kept": 0.95, "errors": [0.1, 0.2]}
    assert (numbers["is_solved"], numbers["shared_top"], numbers["training_seconds"]) == (True, 0.435, 4.0)
    assert numbers["held_out"]["total"] == [32.0, 4.0] and numbers["probe"] == [0.25, 0.75]


def test_what_training_left_worse_is_told(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def told(last: Mapping[str, float], rate: float) -> str:
        config = yaml.safe_load((run / "config.yaml").read_text())
        more = {"student": {"init": "random"}, "optimizer": {"name": "adamw", "learning_rate": rate}}
        (run / "config.yaml").write_text(yaml.safe_dump(config | more))
        _write_metrics(run, [*ROWS[:-1], ROWS[-1] | last])
        assert main([str(run)]) == 0
        return next((line for line in capsys.readouterr().out.splitlines() if line.startswith("Worse")), "")

    assert told({}, 0.001) == ""
    terms = " Terms may rise while their weighted sum, the total, falls."
    assert told({"held_out/hidden": 9.0}, 1.0) == f"Worse after training than before: hidden loss.{terms}"
    everything = {"held_out/total": 33.0, "held_out/hidden": 9.0, "held_out/probe": 0.2}
    assert told(everything, 1.0) == "Worse after training than before: total, hidden loss, probe."
    few = " So few steps at such a learning rate teach little: train for longer."
    assert told(everything, 0.001) == f"Worse after training than before: total, hidden loss, probe.{few}"


def test_a_solved_run_without_a_record_is_reported_without_its_cost(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _solve(run)
    (run / "solved.json").unlink()
    assert main([str(run)]) == 0
    printed = capsys.readouterr().out
    assert "Solving alone gave a held-out total of 32.00" in printed and "top 10" not in printed


def test_what_was_asked_of_an_earlier_student_does_not_count(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _ask(run, 0.435)
    assert main([str(run)]) == 0
    assert ["top", "10", "shared", "with", "teacher", "0.435"] in map(str.split, capsys.readouterr().out.splitlines())
    _save_bert(run / "student", layers=2, hidden_size=16)  # other random weights
    assert main([str(run)]) == 0
    assert "top 10" not in capsys.readouterr().out
    (run / "questions.json").write_text("{}")
    assert main([str(run)]) == 2
    assert "questions.json is damaged" in capsys.readouterr().err


def test_report_json_is_json_also_where_the_probe_is_not_a_number(run: Path) -> None:
    _write_metrics(run, [ROWS[0] | {"held_out/probe": None}, *ROWS[1:]])  # as the log has it
    assert main([str(run)]) == 0

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    numbers = json.loads((run / "report.json").read_text(), parse_constant=refuse)
    assert numbers["probe"] == [None, 0.75]


def _no_student(run: Path) -> None:
    (run / "student" / "config.json").unlink()


def _no_metrics(run: Path) -> None:
    (run / "metrics.jsonl").unlink()


def _of_a_task(run: Path) -> None:
    (run / "metrics.jsonl").unlink()
    (run / "results.json").write_text("{}")


def _task_begun(run: Path) -> None:
    (run / "metrics.jsonl").unlink()
    (run / "stages").mkdir()


def _empty_metrics(run: Path) -> None:
    _write_metrics(run, [])


def _stopped_early(run: Path) -> None:
    _write_metrics(run, ROWS[:3])


def _line_cut_short(run: Path) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "loss/to')


def _nothing_held_out(run: Path) -> None:
    rows = [{tag: value for tag, value in row.items() if not tag.startswith("held_out/")} for row in ROWS]
    _write_metrics(run, rows)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_no_student, "is unfinished: it holds no student/"),
        (_no_metrics, "is of a run that has not made its first step: it holds no metrics.jsonl"),
        (_task_begun, "is of a task that has not reached its end"),
        (_of_a_task, "is of a task: `launch/task.sh eval` prints its table"),
        (_empty_metrics, "is unfinished: 0 of 4 steps"),
        (_stopped_early, "is unfinished: 2 of 4 steps are done"),
        (_line_cut_short, "line 5 is cut short"),
        (_nothing_held_out, r"no held-out values at its first and last step \(it has them at: none;"),
    ],
)
def test_an_unfinished_run_is_refused(
    run: Path, damage: object, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(damage)
    damage(run)
    with pytest.raises(ValueError, match=message):
        report.read_run(run)
    assert main([str(run)]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert not (run / "report.json").exists() and not (run / "loss.png").exists()


def test_what_the_same_command_does_next_depends_on_whether_there_is_a_checkpoint(run: Path, tmp_path: Path) -> None:
    _stopped_early(run)
    shutil.rmtree(run / "student")
    for look in (report.read_run, teacher_of):
        with pytest.raises(ValueError, match="no checkpoint to continue from: the same training command starts anew"):
            look(run)
    (run / "checkpoints" / "step-00000002").mkdir(parents=True)
    with pytest.raises(ValueError, match="starts anew"):  # one that was not written to its end
        teacher_of(run)
    (run / "checkpoints" / "step-00000002" / "state.json").write_text("{}")
    for look in (report.read_run, teacher_of):
        with pytest.raises(ValueError, match="again: it continues from the newest checkpoint"):
            look(run)


def test_steps_that_epochs_decide_need_held_out_values_at_the_end(run: Path) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["run"]["max_steps"] = None
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    report.read_run(run)
    _write_metrics(run, [*ROWS, {"step": 5, **training(4.0)}])
    with pytest.raises(ValueError, match="the last step is 5"):
        report.read_run(run)
