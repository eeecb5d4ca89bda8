"""A task from beginning to end: what every action leaves, and that it says what it should."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertForSequenceClassification

from megatinybert import __version__
from megatinybert.corpus.tokenizer import special_ids
from megatinybert.models.capture import run_captured
from megatinybert.programs import evaluate
from megatinybert.runtime.dist import World
from megatinybert.runtime.findings import Findings
from megatinybert.task import read_arguments
from megatinybert.tasks.classifiers import load_fine_tuned
from megatinybert.tasks.inputs import open_inputs
from megatinybert.tasks.logits import logits_of
from megatinybert.tasks.reading.read import open_task, read_rows
from megatinybert.tasks.rows import encode_rows
from megatinybert.training.saving import Saver
from megatinybert.training.stop import Stopped
from tests.helpers.processes import exit_codes, start
from tests.helpers.task_toys import (
    CHINESE,
    CHINESE_LABELS,
    LABELS,
    options,
    reorder,
    results,
    run,
    write_chinese,
    write_shape,
    write_teacher,
)
from tests.helpers.toys import bert_config, free_port, metrics

CPU = torch.device("cpu")
QUICK: dict[str, object] = {"finetune.max_steps": 12, "mlm.max_steps": 2, "one.max_steps": 12, "two.max_steps": 12}


def assert_plain_transformers_agrees(folder: Path, data: Path) -> None:
    """The exported model and its tokenizer give our logits of the development rows, one row at a time."""
    plain = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    files = open_task("custom", str(data))
    rows = list(read_rows(files.task, files.dev["dev"]))
    ours = load_fine_tuned(str(folder), "predict", files.task)
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    regression = files.task.labels is None
    found = logits_of(ours, encode_rows(iter(rows), backend, special_ids(backend), 32, regression), CPU)
    for row, logits in zip(rows, found, strict=True):
        inputs = tokenizer(row.text_a, row.text_b, return_tensors="pt", truncation=True, max_length=32)
        expected = plain(**inputs).logits[0].detach().numpy()
        np.testing.assert_allclose(logits, expected, atol=1e-5)


def copy(done: Path, folder: Path) -> Path:
    """Of an output folder, to go on there. Files keep their times."""
    return shutil.copytree(done, folder / "task")


def test_all_leaves_models_results_and_the_stages_metrics(done_task: Path, task_inputs: Path) -> None:
    said = results(done_task)
    teacher, student = said["teacher"]["dev"], said["student"]["dev"]
    assert teacher["accuracy"] > 0.8 and student["accuracy"] > 0.6  # one answer to all has 0.33
    assert said["retention"] == pytest.approx(student["score"] / teacher["score"])
    assert said["teacher"]["parameters"] > said["student"]["parameters"]
    assert said["constant"]["dev"]["accuracy"] == pytest.approx(1 / 3)
    assert len(said["remarks"]) == 1  # of 30 steps in each stage
    assert said["remarks"][0].startswith("Stages of few steps (teacher 30, one 30, two 30;")
    gains = [model["score"] - said["constant"]["dev"]["score"] for model in (student, teacher)]
    assert said["retention_over_constant"] == pytest.approx(gains[0] / gains[1])
    assert (done_task / "confusion.png").read_bytes().startswith(b"\x89PNG")
    for stage, tag in {
        "teacher": "dev/score",
        "mlm": "held_out/total",
        "one": "held_out/total",
        "two": "dev/score",
    }.items():
        rows = metrics(done_task / "stages" / stage)
        assert [row["step"] for row in rows] == list(range(31))
        assert [row["step"] for row in rows if tag in row] == [*range(0, 31, 3)]
        assert rows[-1]["held_out/total"] < rows[0]["held_out/total"]
        assert list((done_task / "stages" / stage / "tensorboard").rglob("events*"))
    for name, stage in {"teacher": "teacher", "student": "two"}.items():
        best = json.loads((done_task / name / "best.json").read_text())
        measured = [row for row in metrics(done_task / "stages" / stage)[1:] if "dev/score" in row]
        first = max(measured, key=lambda row: (row["dev/score"], -row["held_out/total"]))
        assert best["step"] == first["step"] and best["loss"] == first["held_out/total"]
        assert best["value"] == first["dev/score"] == said[name]["dev"]["score"]


def test_the_student_is_a_plain_model_that_names_its_outputs(done_task: Path, task_inputs: Path) -> None:
    for name in ("teacher", "student"):
        config = json.loads((done_task / name / "config.json").read_text())
        assert config["id2label"] == {str(index): label for index, label in enumerate(LABELS)}
        assert config["architectures"] == ["BertForSequenceClassification"]
        assert_plain_transformers_agrees(done_task / name, task_inputs / "singles")


def test_the_students_card_has_its_scores_and_no_folder_of_this_machine(done_task: Path, task_inputs: Path) -> None:
    card = (done_task / "student" / "README.md").read_text(encoding="utf-8")
    front, text = card.removeprefix("---\n").split("\n---\n", 1)
    assert yaml.safe_load(front) == {
        "library_name": "transformers",
        "pipeline_tag": "text-classification",
        "metrics": ["accuracy"],
        "tags": ["distillation", "bert", "tinybert", "megatinybert"],
    }
    measured = [results(done_task)[name]["dev"]["accuracy"] for name in ("teacher", "student", "constant")]
    assert f"| dev: accuracy | {' | '.join(f'{value:.4f}' for value in measured)} |" in text
    assert "classes of texts: bad, fair, good" in text and "train.txt and eval.txt" in text
    assert f"{results(done_task)['retention']:.1%} of the teacher's score" in text
    assert "| training | optimizer steps: 30 in stage teacher, 30 in stage one, 30 in stage two; seed 0 |" in text
    assert f"| software | megatinybert {__version__}" in text and "| hardware | 1 rank on " in text
    assert "/teacher" not in card
    for path in (path for path in (done_task / "student").rglob("*") if path.is_file()):
        assert not [
            folder for folder in (task_inputs, done_task, Path.cwd()) if str(folder).encode() in path.read_bytes()
        ]
    code = compile(text.split("```python\n")[1].split("```")[0].replace("path/to", str(done_task)), "card", "exec")
    exec(code)


@pytest.mark.parametrize("by", ["signal", "file"])
def test_a_request_to_stop_in_the_last_save_of_a_stage_ends_the_command_after_it(
    by: str, task_inputs: Path, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = {"finetune.max_steps": 3, "one.max_steps": 3, "task.force": "true", "augment.copies": "0"}
    given = options(task_inputs, "singles", tmp_path, **quick)
    stop, save = tmp_path / "STOP", Saver.save

    def asked_in(saver: Saver, done: int, *arguments: Any, **settings: Any) -> None:
        save(saver, done, *arguments, **settings)
        if done == 3:
            stop.touch() if by == "file" else os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Saver, "save", asked_in)
    with pytest.raises(Stopped, match=r"^stopped after stage teacher, which is done; the same command continues"):
        run("all", given, world)
    assert (tmp_path / "teacher" / "stage.json").is_file()
    assert not stop.exists() and not (tmp_path / "stages" / "one").exists()


def test_all_once_more_trains_and_changes_nothing(
    done_task: Path, task_inputs: Path, world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = copy(done_task, tmp_path)

    def times() -> dict[Path, int]:
        files = [path for path in output.rglob("*") if path.is_file() and path.name not in ("config.yaml", ".lock")]
        return {path: path.stat().st_mtime_ns for path in files}

    before = times()
    run("all", options(task_inputs, "singles", output), world)
    assert times() == before and len(before) > 40
    table, said = capfd.readouterr()
    assert "latency, median" in table and "timing them" not in said
    for stage in ("teacher", "mlm", "one", "two"):
        assert f"stage {stage}: done already" in said
    for number, stage in enumerate(("teacher", "mlm", "augment", "one", "two", "eval"), 1):
        assert f"stage {number} of 6 ({stage}): " in said
    assert "augment: 96 rows out of 48 (done already)" in said
    assert "steps: " not in said


@pytest.mark.parametrize("changed", ["weights", "rows", "options", "picture"])
def test_results_are_measured_again_of_anything_else(
    done_task: Path, task_inputs: Path, world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str], changed: str
) -> None:
    output, inputs = copy(done_task, tmp_path), shutil.copytree(task_inputs, tmp_path / "inputs")
    more: dict[str, object] = {}
    if changed == "weights":
        model = BertForSequenceClassification.from_pretrained(output / "student")
        with torch.no_grad():
            model.bert.embeddings.word_embeddings.weight[-1, -1] += 1  # of 24 values the last
        model.save_pretrained(output / "student")
    elif changed == "rows":
        file = inputs / "singles" / "eval.txt"
        file.write_text(file.read_text(encoding="utf-8").split("\n", 1)[1], encoding="utf-8")
    elif changed == "options":
        more["task.max_length"] = 8
    else:
        (output / "confusion.png").unlink()
    run("eval", options(inputs, "singles", output, **more), world)
    assert "timing them" in capfd.readouterr().err
    run("eval", options(inputs, "singles", output, **more), world)
    assert "timing them" not in capfd.readouterr().err


def test_padding_in_a_batch_changes_no_logits(done_task: Path, task_inputs: Path, world: World) -> None:
    config = read_arguments(["eval", *options(task_inputs, "singles", done_task)])[1]
    inputs = open_inputs(config, world, Findings())
    assert inputs is not None
    rows = inputs.dev["dev"]
    assert rows.lengths.max() > 1.8 * rows.lengths.min()
    batch = {name: torch.from_numpy(array) for name, array in rows.batch(np.arange(len(rows))).items()}
    assert not batch["attention_mask"].bool().all()
    for name in ("teacher", "student"):
        model = load_fine_tuned(str(done_task / name), "predict", inputs.task).eval()
        with torch.no_grad():
            together = run_captured(model, batch).logits
            for row in range(len(rows)):
                one = {key: torch.from_numpy(array) for key, array in rows.batch(np.array([row])).items()}
                assert "attention_mask" not in one
                alone = run_captured(model, one).logits
                assert together is not None and alone is not None
                torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=0)


def test_chinese_files_need_no_option_but_paths_and_sizes(tmp_path: Path) -> None:
    """By the shell, with the defaults of every stage: attention maps, several workers of the augmentation."""
    data, output = write_chinese(tmp_path / "data"), tmp_path / "run"
    teacher = write_teacher(tmp_path / "teacher", CHINESE, "")
    given = {
        "task.name": "custom",
        "task.data_dir": data,
        "teacher.model": teacher,
        "student.config": write_shape(tmp_path / "shape", teacher),
        "run.output_dir": output,
        "augment.copies": 2,
    }
    words = [part for name, value in given.items() for part in (f"--{name}", str(value))]
    arguments = f"--num_accelerators 1 --master_port {free_port()}"
    process = start(["sh", "launch/task.sh", "all", *words], tmp_path / "log", DEEPSPEED_ARGS=arguments)
    codes, log = exit_codes([process], seconds=900), (tmp_path / "log").read_text(encoding="utf-8")
    assert codes == [0], log
    said = results(output)
    assert said["task"] == "custom" and said["teacher"]["dev"]["accuracy"] > 0.6
    assert 0 <= said["student"]["dev"]["accuracy"] <= 1
    assert "dev: accuracy" in log and "of the teacher's score." in log
    config = json.loads((output / "student" / "config.json").read_text(encoding="utf-8"))
    assert config["id2label"] == {str(i): label for i, label in enumerate(sorted(CHINESE_LABELS))}
    assert "\nlanguage: zh\n" in (output / "student" / "README.md").read_text(encoding="utf-8")
    assert_plain_transformers_agrees(output / "student", data)
    assert (output / "confusion.png").is_file()
    train = [line.split("\t") for line in (data / "train.txt").read_text(encoding="utf-8").splitlines()]
    augmented = [
        json.loads(line) for line in (output / "augmented" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert len(train) == 64 and len(augmented) > 2 * 64
    known = {(text, label) for text, label in train}
    new = [(row["text_a"], row["label"]) for row in augmented if (row["text_a"], row["label"]) not in known]
    assert len(augmented) - len(new) >= 64 and {label for _, label in new} == set(CHINESE_LABELS)
    characters = {character for own in CHINESE for character in own}
    assert all(text and set(text) <= characters for text, _ in new)


def test_a_pair_task(task_inputs: Path, world: World, tmp_path: Path) -> None:
    output = tmp_path / "pairs"
    run("all", options(task_inputs, "pairs", output, **QUICK | {"finetune.max_steps": 30}), world)
    assert set(results(output)["student"]["dev"]) == {"accuracy", "score"}
    assert json.loads((output / "student" / "config.json").read_text())["id2label"] == {"0": "no", "1": "yes"}
    rows = [json.loads(line) for line in (output / "augmented" / "train.jsonl").read_text().splitlines()]
    assert len(rows) > 48 and all(set(row) == {"text_a", "text_b", "label"} and row["text_b"] for row in rows)
    assert {row["label"] for row in rows} == {"no", "yes"}
    assert_plain_transformers_agrees(output / "student", task_inputs / "pairs")


def test_a_regression(task_inputs: Path, world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "sts"
    given = options(task_inputs, "STS-B", output, **QUICK | {"task.name": "sts-b", "finetune.max_steps": 30})
    run("all", given, world)
    assert set(results(output)["teacher"]["dev"]) == {"pearson", "spearman", "score"}
    assert results(output)["teacher"]["dev"]["pearson"] > 0
    config = json.loads((output / "student" / "config.json").read_text())
    assert config["problem_type"] == "regression" and len(config["id2label"]) == 1
    rows = [json.loads(line) for line in (output / "augmented" / "train.jsonl").read_text().splitlines()]
    assert all(0 <= float(row["label"]) <= 5 for row in rows)
    said = capfd.readouterr()
    assert "sts-b" in said.out and results(output)["constant"] == {"dev": {"pearson": 0, "spearman": 0, "score": 0}}
    assert "stage teacher: about " in said.err and ", without augmentation" in said.err
    assert "stage two: about " in said.err and ", eval " in said.err
    assert (
        f"student: {output / 'student'}\nnext: sh launch/task.sh predict --config {output / 'config.yaml'}" in said.out
    )
    assert said.err.startswith("opening the task's files, models and tokenizer\n")
    assert said.err.count("\nteacher: pearson and spearman on dev ") == 1  # which three stages look at
    assert "models run without torch.compile (rows of a task differ in length)" in said.err
    for learner, times in (("teacher", 1), ("masked-LM", 1), ("student", 2)):  # of four stages
        assert said.err.count(f"measuring the {learner} before its first step") == times
        assert said.err.count(f"\n{learner}: ") >= times
    run("predict", given, world)
    submission = (output / "predictions" / "STS-B.tsv").read_text().splitlines()
    assert submission[0] == "index\tprediction" and len(submission) == 7
    assert all(0 <= float(line.split("\t")[1]) <= 5 for line in submission[1:])


def test_mnli_selects_on_matched_rows_and_reports_both(
    task_inputs: Path, world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "mnli"
    alone: dict[str, object] = {"augment.copies": 0, "one.max_steps": None, "one.epochs": 0, "task.force": True}
    given = options(task_inputs, "MNLI", output, **QUICK | alone | {"task.name": "mnli"})
    run("all", given, world)
    warned = capfd.readouterr().err
    assert (
        "\nwarning: --augment.candidates, --mlm.max_steps" in warned
        and ": no effect without --augment.copies" in warned
    )
    assert ": no effect without stage one (--one.epochs 0)" in warned
    splits = ["dev_matched", "dev_mismatched"]
    for name, stage in {"teacher": "teacher", "student": "two"}.items():
        said = results(output)[name]
        assert [split for split in said if split.startswith("dev")] == splits
        rows = [row for row in metrics(output / "stages" / stage) if "dev_matched/score" in row]
        assert all(f"{split}/accuracy" in row for split in splits for row in rows)
        best = json.loads((output / name / "best.json").read_text())
        assert best["measured"] == "dev_matched/score"
        first = f" (before the first step {rows[0]['dev_matched/score']:.4f}"
        assert f"\nkept: step {best['step']} of 12, dev_matched score {best['value']:.4f}{first}" in warned
        assert f", dev_matched score {rows[-1]['dev_matched/score']:.4f}, " in warned  # the bar
        assert best["value"] == max(row["dev_matched/score"] for row in rows[1:])
        at_best = next(row for row in rows if row["step"] == best["step"])
        assert [said[split]["accuracy"] for split in splits] == [at_best[f"{split}/accuracy"] for split in splits]
    run("predict", given, world)
    for file in ("MNLI-m.tsv", "MNLI-mm.tsv"):
        lines = (output / "predictions" / file).read_text().splitlines()
        assert len(lines) == 7
        assert {line.split("\t")[1] for line in lines[1:]} <= {"contradiction", "entailment", "neutral"}


def two_alone(inputs: Path, output: Path, teacher: Path, **more: object) -> list[str]:
    """Options of a short stage two on the rows as they are, without a stage one."""
    short: dict[str, object] = {"one.max_steps": None, "one.epochs": 0, "two.max_steps": 6, "augment.copies": 0}
    return options(inputs, "singles", output, **short | {"teacher.model": teacher} | more)


def test_the_order_of_the_teachers_outputs_makes_no_difference(
    done_task: Path, task_inputs: Path, world: World, tmp_path: Path
) -> None:
    """By the names in its config.json; where there are none, by --teacher.labels."""
    order = [2, 0, 1]
    names = [LABELS[index] for index in order]
    shuffled = reorder(done_task / "teacher", tmp_path / "shuffled", order, names)
    nameless = reorder(done_task / "teacher", tmp_path / "nameless", order, None)
    cases: Mapping[str, tuple[Path, dict[str, object]]] = {
        "as it was": (done_task / "teacher", {}),
        "shuffled": (shuffled, {}),
        "nameless": (nameless, {"teacher.labels": names}),
    }
    students, measured = {}, {}
    for name, (teacher, more) in cases.items():
        output = tmp_path / name
        given = two_alone(task_inputs, output, teacher, **more)
        run("two", given, world)
        run("eval", given, world)
        students[name] = (output / "student" / "model.safetensors").read_bytes()
        measured[name] = (results(output)["teacher"]["dev"], results(output)["student"]["dev"])
        assert measured[name][0] == results(done_task)["teacher"]["dev"]
    assert students["shuffled"] == students["nameless"] == students["as it was"]
    assert measured["shuffled"] == measured["nameless"] == measured["as it was"]
    with pytest.raises(ValueError, match=r"LABEL_0 LABEL_1 LABEL_2.*--teacher.labels bad fair good"):
        run("two", two_alone(task_inputs, tmp_path / "refused", nameless), world)


def test_a_teacher_answers_once_where_there_are_several_passes(
    done_task: Path, task_inputs: Path, world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """And the student is the same to the bit as with a teacher that answers in each pass."""
    students, said = {}, {}
    for wanted, steps in (("always", 12), ("never", 12), ("auto", 12), ("auto", 3)):  # 48 rows are 3 steps
        output = tmp_path / f"{wanted} {steps}"
        more = {"two.max_steps": steps, "two.teacher_cache": wanted, "student.hidden_dropout": 0.0}
        run("two", two_alone(task_inputs, output, done_task / "teacher", **more), world)
        students[wanted, steps] = load_file(output / "student" / "model.safetensors")
        said[wanted, steps] = capfd.readouterr().err
        kept = (output / "stages" / "two" / "teacher-answers" / "rows" / "00000.safetensors").is_file()
        assert kept == (wanted != "never" and steps == 12)
    assert "its answers to 78 rows (936 B) are computed once, for 4 passes over them" in said["auto", 12]
    assert "its answers" not in said["auto", 3] + said["never", 12]
    always, never, auto = (students[wanted, 12] for wanted in ("always", "never", "auto"))
    assert all(torch.equal(always[name], auto[name]) for name in always)
    assert always.keys() == never.keys() and all(torch.equal(always[name], never[name]) for name in always)
    before = load_file(done_task / "student" / "model.safetensors")  # of other steps
    assert any(not torch.equal(before[name], never[name]) for name in never)


def test_predictions_of_the_test_file_and_of_any_file(
    done_task: Path, task_inputs: Path, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = copy(done_task, tmp_path)
    given = options(task_inputs, "singles", output)
    recipe = (output / "config.yaml").read_text()
    run("predict", given, world)
    with (output / "predictions" / "test.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    columns = [f"probability_{label}" for label in LABELS]
    assert list(rows[0]) == ["text_a", "prediction", *columns]
    assert [row["text_a"] for row in rows] == (task_inputs / "singles" / "test.txt").read_text().splitlines()
    for row in rows:
        probabilities = [float(row[column]) for column in columns]
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
        assert LABELS[int(np.argmax(probabilities))] == row["prediction"]
    right = sum(row["prediction"] == LABELS[i % 3] for i, row in enumerate(rows))
    assert right > 3  # of 9; one answer to all has 3

    mine = tmp_path / "mine.csv"
    mine.write_text('text\n"so, ""bamo"""\n' + "".join(f"{row['text_a']}\n" for row in rows), encoding="utf-8")
    answers = tmp_path / "answers.jsonl"
    run("predict", [*given, "--predict.input", str(mine), "--predict.output", str(answers)], world)
    objects = [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines()]
    assert objects[0]["text"] == 'so, "bamo"' and set(objects[0]["probabilities"]) == set(LABELS)
    assert [row["prediction"] for row in objects[1:]] == [row["prediction"] for row in rows]

    assert "field after" not in capsys.readouterr().err
    two = tmp_path / "two.txt"
    two.write_text("bamo\tdull\n")
    run("predict", [*given, "--predict.input", str(two)], world)
    assert f"warning: {two}: 1 of 1 line has a field after the text" in capsys.readouterr().err
    assert (output / "predictions" / "two.txt.tsv").is_file()
    two.with_suffix(".csv").write_text("ID,text\n7,bamo\n8\n9,dull\n")
    for replaced in (False, True):
        skip = ["--predict.input", str(two.with_suffix(".csv")), "--task.skip_bad_rows", "true"]
        run("predict", [*given, *skip], world)
        assert ("in place of earlier ones" in capsys.readouterr().out) == replaced
    lines = (output / "predictions" / "two.csv.tsv").read_text().splitlines()
    assert [line.split("\t")[:3] for line in lines] == [
        ["line", "text", "ID"],
        ["2", "bamo", "7"],
        ["4", "dull", "9"],
    ]
    assert (output / "config.yaml").read_text() == recipe  # the rows that are skipped here are not those of a stage


def test_what_training_alone_can_heed_is_not_told_where_nothing_is_trained(
    done_task: Path,
    task_inputs: Path,
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("megatinybert.training.checks.computes_bfloat16", lambda device: True)
    given = options(task_inputs, "singles", copy(done_task, tmp_path))
    for action, trains in (("teacher", True), ("eval", False), ("predict", False)):
        run(action, given, world)
        assert ("this CPU has instructions for bfloat16" in capsys.readouterr().err) == trains


def test_a_submission_writes_classes_as_the_task_does(
    task_inputs: Path, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a model whose outputs are in another order than the task's."""
    torch.manual_seed(3)
    names = {0: "positive", 1: "negative"}
    config = bert_config(
        1, vocab_size=53, initializer_range=0.5, id2label=names, label2id={n: i for i, n in names.items()}
    )
    model = BertForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path / "model")
    given = options(
        task_inputs, "SST-2", tmp_path / "run", **{"task.name": "sst-2", "predict.model": tmp_path / "model"}
    )
    run("predict", given, world)
    tokenizer = AutoTokenizer.from_pretrained(task_inputs / "teacher")
    sentences = [line.split("\t")[1] for line in (task_inputs / "SST-2" / "test.tsv").read_text().splitlines()[1:]]
    expected = [int(model(**tokenizer(text, return_tensors="pt")).logits[0].argmax()) for text in sentences]
    found = (tmp_path / "run" / "predictions" / "SST-2.tsv").read_text().splitlines()
    assert found == ["index\tprediction", *(f"{i}\t{1 - output}" for i, output in enumerate(expected))]
    assert set(expected) == {0, 1}
    capsys.readouterr()
    for count in (20, 21):
        (tmp_path / "alike.txt").write_text(f"{sentences[0]}\n" * count)
        run("predict", [*given, "--predict.input", str(tmp_path / "alike.txt")], world)
        told = f"all 21 rows of {tmp_path / 'alike.txt'} are answered '{names[expected[0]]}': look"
        assert (told in capsys.readouterr().err) == (count > 20)


def test_numbers_in_the_picture_of_a_comparison_are_explained_beside_it(tmp_path: Path) -> None:
    image = np.zeros((4, 4, 3), dtype=np.uint8)
    for name, legend in (("numbered", "- (0) 中"), ("plain", "")):
        evaluate._write_events(tmp_path / name, {}, "a table", image, legend)
        events = EventAccumulator(str(tmp_path / name / "stages" / "eval" / "tensorboard"))
        assert ("labels of the matrices/text_summary" in events.Reload().Tags()["tensors"]) == bool(legend)
