"""The student's model card: true, valid for the hub, and there whatever the run went through."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from transformers import BertModel

from megatinybert.config.general import SettledConfig
from megatinybert.config.load import load_config
from megatinybert.tracking import curves
from megatinybert.tracking.curves import Row
from megatinybert.tracking.measurements import PROBE, PROJECTED
from megatinybert.training import model_card as card
from megatinybert.training.model_card import Provenance, logged_time, model_card, write_card
from megatinybert.training.solve.record import SolvingRecord
from tests.helpers.metric_rows import ROWS
from tests.helpers.toys import bert_config
from tests.scripts.golden import STEPS

ENVIRONMENT = {
    "megatinybert": "1.2",
    "torch": "2.13.0",
    "deepspeed": "0.19.8",
    "transformers": "5.23.0",
    "git": "0123abc",
    "world_size": 8,
    "hardware": "an accelerator",
}
SPEED = "speed/tokens_per_second"


def run_of(**overrides: object) -> Provenance:
    options = {
        "teacher.model": "google-bert/bert-base-uncased",
        "data.shards": "[data/wiki, data/books]",
        "data.sequence_length": 16,
        "run.epochs": 3,
        "run.global_batch": 8,
        "optimizer.learning_rate": 1e-4,
        **overrides,
    }
    given = load_config([part for name, value in options.items() for part in (f"--{name}", str(value))])
    config = SettledConfig.model_validate(given.model_dump())
    return Provenance(config, bert_config(4, 24), bert_config(2, 12), steps=40, windows=100)


def table(text: str) -> dict[str, str]:
    """The rows of two cells."""
    return dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", text, re.M))


def front(text: str) -> dict[str, Any]:
    return ModelCard(text).data.to_dict()


def test_a_finished_runs_card(golden_run: Path) -> None:
    text = (golden_run / "student" / "README.md").read_text()
    facts = table(text)
    config = yaml.safe_load((golden_run / "config.yaml").read_text())
    student = BertModel.from_pretrained(golden_run / "student")
    assert f"{sum(p.numel() for p in student.parameters()):,} parameters" in facts["student"]
    assert facts["teacher"].startswith(
        "the folder 'teacher': 4 layers, width 24, 4 heads"
    )  # the folder's name, not its path
    assert (facts["layer map"], facts["projection"]) == ("teacher layers 1, 3 of 0 to 3", "shared")
    assert facts["data"].startswith(f"{Path(config['data']['shards'][0]).name}: ")
    assert facts["training"].startswith(f"{STEPS} steps of 48 windows: {STEPS * 48 * 16:,} tokens seen")
    assert re.fullmatch(r"[\d.]+ (s|minutes) \(without start-up, .*\)", facts["training time"])
    assert f"torch {torch.__version__.partition('+')[0]}" in facts["software"]
    measured = [row for row in curves.read_metrics(golden_run / "metrics.jsonl") if "held_out/total" in row]
    first, last = (f"{row['held_out/total']:#.4g}" for row in (measured[0], measured[-1]))
    assert f"| loss: total | {first} | {last} |" in text
    assert f"| | step 0 | step {STEPS} |" in text and "licence" in text
    assert front(text)["library_name"] == "transformers" and "base_model" not in front(text)  # the teacher is a folder
    height, width, _ = matplotlib.image.imread(golden_run / "student" / "loss.png").shape
    assert "](loss.png)" in text and width > height > 500
    probe, projected = ([row[tag] for row in measured] for tag in (PROBE, PROJECTED))
    assert f"| probe through projection | {projected[0]:.3f} | {projected[-1]:.3f} |" in text
    assert f"probe {projected[-1]:.3f} through the projection, {probe[-1]:.3f} without" in text
    assert "sentence-transformers" in front(text)["tags"] and front(text)["pipeline_tag"] == "feature-extraction"
    for name in ("README.md", "loss.png"):
        assert (golden_run / "student" / name).stat().st_mode & 0o444 == 0o444


def test_no_file_of_an_exported_student_names_a_folder(golden_run: Path, toy_inputs: Path) -> None:
    files = [path for path in (golden_run / "student").rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        assert not [
            folder for folder in (golden_run, toy_inputs, Path.cwd()) if str(folder).encode() in path.read_bytes()
        ]
    many = [f"mine/deep/{name}.txt" for name in "abcdefghij"]
    text = model_card(run_of(**{"data.shards": "null", "data.text": many}), ROWS, ENVIRONMENT, picture=False)
    assert table(text)["data"].startswith("a.txt, b.txt, c.txt, ") and "mine" not in text and "deep/" not in text
    assert " and 2 more: 100 windows" in table(text)["data"]


def test_of_a_pattern_the_files_are_named_and_not_the_pattern(tmp_path: Path) -> None:
    for name in "cab":
        (tmp_path / f"{name}.txt").touch()
    (tmp_path / "other.jsonl").touch()
    text = [str(tmp_path / "*.txt"), str(tmp_path / "other.jsonl")]
    given = {"data.shards": "null", "data.text": json.dumps(text)}
    of_one, of_two = run_of(**given), run_of(**given, **{"data.mixture": "[7, 3]"})
    data = [table(model_card(run, [], {}, picture=False))["data"] for run in (of_one, of_two)]
    assert data[0].startswith("a.txt, b.txt, c.txt, other.jsonl: 100 windows")
    assert data[1].startswith("a.txt, b.txt, c.txt (weight 7), other.jsonl (weight 3): 100 windows")
    for each in tmp_path.iterdir():
        each.unlink()
    assert table(model_card(of_one, [], {}, picture=False))["data"].startswith("*.txt, other.jsonl: ")


def test_the_python_of_the_card_works(golden_run: Path) -> None:
    block, sentences = re.findall(r"```python\n(.*?)```", (golden_run / "student" / "README.md").read_text(), re.S)
    names: dict[str, Any] = {}
    exec(block.replace("path/to/student", str(golden_run / "student")), names)
    assert names["hidden_states"].shape[-1] == 12
    # tests/training/test_sentence_vectors.py runs it, where sentence-transformers is installed.
    assert sentences.startswith("from sentence_transformers import SentenceTransformer\n")


def test_steps_that_changed_nothing_are_not_counted_as_trained() -> None:
    """Those that fp16 skipped, and batches that were left out: of 40 steps of 8 windows of 16 tokens, 10."""
    rows = [
        {**row, "optimizer/overflow_count": count} for row, count in zip(ROWS, [3, *[10] * len(ROWS)], strict=False)
    ]
    training = table(model_card(run_of(), rows, ENVIRONMENT, picture=False))["training"]
    assert training == (
        "40 steps of 8 windows, 10 of which changed no weight, as loss or gradient was not finite: 3,840 tokens seen, "
        "2.40 passes over the data"
    )
    assert "40 steps of 8 windows: 5,120 tokens seen" in model_card(run_of(), ROWS, ENVIRONMENT, picture=False)


def test_an_objective_of_ones_own_is_named_alone() -> None:
    """What it reads of the options of TinyBERT's is not known."""
    run = run_of()
    own = run.config.objective.model_copy(update={"name": "cosine"})
    run = replace(run, config=run.config.model_copy(update={"objective": own}))
    facts = table(model_card(run, ROWS, ENVIRONMENT, picture=False))
    assert facts["objective"] == "cosine" and not {"layer map", "projection"} & facts.keys()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"name": "adamw"}, "adamw, learning rate up to 0.001"),
        (
            {"name": "muon", "muon_factor": 2},
            "muon, learning rate up to 0.001, that of the layers' matrices up to 0.002",
        ),
    ],
)
def test_both_rates_of_muon_are_told(options: dict[str, object], told: str) -> None:
    run = run_of(**{"optimizer.learning_rate": 1e-3, **{f"optimizer.{name}": value for name, value in options.items()}})
    assert table(model_card(run, ROWS, ENVIRONMENT, picture=False))["optimizer"] == told


def test_a_teacher_of_the_hub_is_the_base_model() -> None:
    text = model_card(run_of(), ROWS, ENVIRONMENT, picture=True)
    assert front(text) == {
        "library_name": "transformers",
        "pipeline_tag": "feature-extraction",
        "tags": ["distillation", "bert", "tinybert", "megatinybert"],
        "base_model": "google-bert/bert-base-uncased",
    }
    facts = table(text)
    assert (
        facts["data"]
        == "wiki, books: 100 windows of 16 tokens, 1,600 in all, [CLS], [SEP] and overlaps of windows included"
    )
    assert facts["training"] == "40 steps of 8 windows: 5,120 tokens seen, 3.20 passes over the data"
    assert facts["hardware"] == "8 ranks, each on an accelerator"
    assert facts["software"].startswith("megatinybert 1.2 (commit 0123abc), torch 2.13.0, deepspeed 0.19.8")
    assert "| loss: attention | 24.00 | 3.000 |" in text and "| probe | 0.250 | 0.750 |" in text


def test_the_probe_has_the_same_digits_wherever_it_is_told() -> None:
    rows: list[Row] = [{**row, PROBE: 0.9998} if row["step"] == 0 else row for row in ROWS]
    text = model_card(run_of(**{"student.init": "solved"}), rows, {}, picture=False)
    assert "a probe of 1.000: the column of step 0" in text and "| probe | 1.000 | 0.750 |" in text


@pytest.mark.parametrize(
    ("language", "example"),
    [("zh", 'tokenizer("一个句子。"'), (["zh"], 'encode(["一个句子。"])'), (["en", "zh"], 'tokenizer("A sentence."')],
)
def test_the_card_of_a_chinese_student_has_a_chinese_example(tmp_path: Path, language: object, example: str) -> None:
    (tmp_path / "README.md").write_text(f"---\n{yaml.safe_dump({'language': language})}---\n\n# A teacher\n")
    run = run_of(**{"teacher.model": tmp_path})
    assert example in model_card(run, ROWS, {}, picture=False, projected=True)
    of_chinese_text = model_card(replace(run, chinese=True), ROWS, {}, picture=False)
    assert front(of_chinese_text)["language"] == "zh" and "一个句子。" in of_chinese_text


def test_weights_of_a_mixture_and_first_weights_are_told() -> None:
    facts = table(model_card(run_of(**{"data.mixture": "[0.7, 0.3]", "student.init": "runs/1"}), [], {}, picture=False))
    assert facts["data"].startswith("wiki (weight 0.7), books (weight 0.3): ")
    assert facts["first weights"] == "runs/1"


def test_nothing_logged_is_nothing_said() -> None:
    """A finished run's checkpoint, resumed into an empty folder, does no step."""
    text = model_card(run_of(), [], {}, picture=False)
    assert "loss.png" not in text and "held-out" not in text
    assert table(text).keys() & {"training time", "hardware", "software"} == set()
    assert front(text)["library_name"] == "transformers" and "AutoModel.from_pretrained" in text


def test_the_time_of_all_sessions_is_counted() -> None:
    """By hand: 128 tokens a step. What an interruption undid is not in the log, and its gap in time is not counted."""
    rows: list[Row] = [
        {"step": 0},
        {"step": 1, SPEED: 64.0},  # 2 s
        {"step": 11, SPEED: 128.0},  # 10 s
        {"step": 20, SPEED: 1280.0},  # 0.9 s; another session, on faster hardware
    ]
    assert logged_time(rows, 128) == (pytest.approx(12.9), 20)
    continued_elsewhere: list[Row] = [{"step": 11, SPEED: 128.0}, {"step": 20, SPEED: 1280.0}]
    assert logged_time(continued_elsewhere, 128) == (pytest.approx(0.9), 9)  # nobody knows what led to step 11
    assert logged_time([], 128) == (0.0, 0)
    assert logged_time([{"step": 0}, {"step": 1, SPEED: math.nan}], 128) == (0.0, 0)
    facts = table(model_card(run_of(), continued_elsewhere, {}, picture=False))
    assert facts["training time"].startswith("0.9 s for 9 of the steps, the others were not logged here")


def test_what_solving_gave_is_told_of_solved_students_alone() -> None:
    record = SolvingRecord(tokens=34304, seconds=39.2, kept=0.95, errors=[0.015])
    sentence = "\nSolving alone, on 34,304 tokens in 39.2 s, gave a held-out total of 32.00 and a probe of 0.250: the"
    solved = run_of(**{"student.init": "solved"})
    assert sentence in model_card(solved, ROWS, {}, picture=False, solving=record)
    assert "Solving alone gave a held-out total of 32.00" in model_card(solved, ROWS, {}, picture=False)
    assert ": the column of step 0.\nLosses in training begin below" in model_card(solved, ROWS, {}, picture=False)
    random = run_of(**{"student.init": "random"})
    assert "begin below" not in model_card(random, ROWS, {}, picture=False)
    for run, rows in ((random, ROWS), (solved, ROWS[1:]), (solved, [])):  # the others begin after step 0
        assert "Solving" not in model_card(run, rows, {}, picture=False)


def test_what_got_worse_is_told() -> None:
    rows = [ROWS[0] | {PROBE: 0.9}, *ROWS[1:]]
    assert "\nWorse after training than before: probe. So few steps " in model_card(run_of(), rows, {}, picture=False)
    assert "Worse after" not in model_card(run_of(), ROWS, {}, picture=False)
    assert "Worse after" not in model_card(run_of(), ROWS[-1:], {}, picture=False)


def test_one_measurement_is_one_column() -> None:
    text = model_card(run_of(), ROWS[-1:], ENVIRONMENT, picture=False)
    assert "| | step 4 |\n| --- | ---: |\n| loss: total | 4.000 |" in text


def test_no_probe_of_two_windows_is_told() -> None:
    rows = [{tag: value for tag, value in row.items() if tag != PROBE} for row in ROWS]
    text = model_card(run_of(), rows, {**ENVIRONMENT, "held_out_windows": 2}, picture=False)
    assert "\nNo probe is measured on 2 held-out windows: it needs 3 or more.\n" in text and "| probe" not in text


def test_what_fails_is_said_and_the_rest_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The student is finished by then."""
    (tmp_path / "student").mkdir()
    write_card(tmp_path, run_of())  # neither metrics nor config.yaml
    said = capsys.readouterr().err.splitlines()
    assert [line.split(":")[:2] for line in said] == [
        ["warning", " the model card says nothing of the metrics"],
        ["warning", " the model card says nothing of the machine"],
    ]
    assert "8 windows" in (tmp_path / "student" / "README.md").read_text()

    (tmp_path / "metrics.jsonl").write_text('{"step": 0, "held_out/total": 1.0, "held_out/probe": null}\n')
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"environment": ENVIRONMENT}))
    monkeypatch.setattr(curves, "draw", lambda *_: 1 / 0)
    write_card(tmp_path, run_of())
    assert capsys.readouterr().err == "warning: the model card has no picture: division by zero\n"
    text = (tmp_path / "student" / "README.md").read_text()
    assert "loss.png" not in text and "| probe | nan |" in text and "an accelerator" in text

    monkeypatch.setattr(card, "model_card", lambda *_, **__: 1 / 0)
    write_card(tmp_path, run_of())
    assert "the student has no model card: division by zero" in capsys.readouterr().err
