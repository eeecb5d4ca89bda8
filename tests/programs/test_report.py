"""The report of a run: its numbers are those of the metrics, and an unfinished run gets none."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.image
import pytest
import yaml
from transformers import BertConfig, BertModel

from megatinybert.programs import report
from megatinybert.report import main
from tests.helpers.metric_rows import ROWS, training


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
    assert lines[-1][0] == "TensorBoard:" and lines[-1][-2:] == ["--logdir", str(run / "tensorboard")]

    numbers = json.loads((run / "report.json").read_text())
    assert numbers["held_out"]["total"] == [32.0, 4.0] and numbers["student"]["layers"] == 2
    height, width, _ = matplotlib.image.imread(run / "loss.png").shape
    assert width > height > 500
    assert not list(run.glob(".*"))  # no temporary file is left


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
        (_no_metrics, "is not the output folder of a run: it holds no metrics.jsonl"),
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
    assert main([str(run)]) == 1
    assert capsys.readouterr().err.startswith("error: ")
    assert not (run / "report.json").exists() and not (run / "loss.png").exists()


def test_steps_that_epochs_decide_need_held_out_values_at_the_end(run: Path) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["run"]["max_steps"] = None
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    report.read_run(run)
    _write_metrics(run, [*ROWS, {"step": 5, **training(4.0)}])
    with pytest.raises(ValueError, match="the last step is 5"):
        report.read_run(run)
