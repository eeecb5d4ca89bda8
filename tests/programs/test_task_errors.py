"""A user's mistake in a task gets a message that names the option, the file or the line, and what to do."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig

from megatinybert.programs import task_actions
from megatinybert.runtime.dist import World
from megatinybert.runtime.findings import Findings
from megatinybert.task import read_arguments
from megatinybert.tasks.inputs import open_inputs
from tests.helpers.messages import assert_says
from tests.helpers.task_toys import TASK, options, run
from tests.helpers.toys import REPOSITORY, environment, write_student_shape


def refusal(action: str, given: list[str], world: World) -> str:
    with pytest.raises(ValueError) as caught:
        run(action, given, world)
    return str(caught.value)


def constant_teacher(fine_tuned: Path, folder: Path) -> Path:
    """A classifier that gives every row the same answer."""
    shutil.copytree(fine_tuned, folder)
    weights = load_file(folder / "model.safetensors")
    weights["classifier.weight"] = torch.zeros_like(weights["classifier.weight"])
    weights["classifier.bias"] = torch.tensor([0.0, 1.0, 0.0])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_a_teacher_no_better_than_one_answer_is_refused_unless_forced(
    done_task: Path, task_inputs: Path, world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    teacher = constant_teacher(done_task / "teacher", tmp_path / "constant")
    alone = {"teacher.model": teacher, "augment.copies": 0, "one.max_steps": 2}
    given = options(task_inputs, "singles", tmp_path / "run", **alone)
    for action in ("teacher", "one", "two"):
        message = refusal(action, given, world)
        assert_says(message, teacher, "no better than chance on dev (0.3333; the best constant answer has 0.3333")
        assert_says(message, "which the action teacher then fine-tunes", "--task.force true continues anyway")
    assert not (tmp_path / "run" / "stages").exists()
    capfd.readouterr()
    run("one", [*given, "--task.force", "true"], world)
    assert f"warning: the teacher {teacher} is no better than chance" in capfd.readouterr().err
    assert (tmp_path / "run" / "student-one" / "model.safetensors").is_file()


def test_a_teacher_whose_lead_may_be_chance_is_warned_of(
    done_task: Path, task_inputs: Path, world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    alone = {"teacher.model": done_task / "teacher", "augment.copies": 0, "one.max_steps": 2}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("megatinybert.tasks.baseline.Baseline.chance", lambda self, score: 1.0)
        run("one", options(task_inputs, "singles", tmp_path / "run", **alone), world)
    assert f"warning: the teacher {done_task / 'teacher'} is no better than chance" in capfd.readouterr().err


def test_development_rows_of_one_class_are_refused_before_the_work(
    task_inputs: Path, world: World, tmp_path: Path
) -> None:
    data = tmp_path / "sorted"
    shutil.copytree(task_inputs / "singles", data)
    lines = (data / "eval.txt").read_text().splitlines()
    (data / "eval.txt").write_text("\n".join(line for line in lines if line.endswith("good")) + "\n")
    given = options(task_inputs, "singles", tmp_path / "run", **{"task.data_dir": data})
    assert_says(refusal("teacher", given, world), "10 rows of dev", "eval.txt", "the same label", "shuffle the rows")
    assert not (tmp_path / "run" / "stages").exists()


def test_a_model_of_another_tokenizer_is_not_asked(
    done_task: Path, task_inputs: Path, world: World, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(done_task / "student", other)
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    words = tokenizer["model"]["vocab"]
    words["bamo"], words["beru"] = words["beru"], words["bamo"]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    longer = {"predict.model": other, "task.max_length": 65}
    for action in ("predict", "eval"):
        message = refusal(action, options(task_inputs, "singles", done_task, **{"predict.model": other}), world)
        assert_says(
            message, f"--predict.model {other}", "its tokenizer is another one", "options of the run that made it"
        )
    assert "--task.max_length 65 is more than" in refusal(
        "predict", options(task_inputs, "singles", done_task, **longer), world
    )


def test_a_teacher_without_vocabulary_is_refused(task_inputs: Path, world: World, tmp_path: Path) -> None:
    """Transformers would make up a tokenizer of special tokens alone."""
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(task_inputs / "teacher" / name, bare)
    given = options(task_inputs, "singles", tmp_path / "run", **{"teacher.model": bare})
    assert_says(refusal("teacher", given, world), f"{bare} holds no vocabulary", "tokenizer.json or vocab.txt")


def test_a_stage_says_which_one_comes_before_it(
    done_task: Path, task_inputs: Path, world: World, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    untuned = options(task_inputs, "singles", output)
    for action in ("one", "two", "eval"):
        assert_says(refusal(action, untuned, world), output / "teacher", "is not fine-tuned: run stage teacher first")
    tuned = options(task_inputs, "singles", output, **{"teacher.model": done_task / "teacher"})
    for action in ("one", "two"):
        message = refusal(
            action, [*tuned, *(["--one.max_steps", "null", "--one.epochs", "0"] if action == "two" else [])], world
        )
        assert_says(message, output / "augmented" / "train.jsonl", "run augment first", "--augment.copies 0")
    message = refusal("two", [*tuned, "--augment.copies", "0"], world)
    assert_says(message, output / "student-one", "run stage one first", "--one.epochs 0")
    for action in ("eval", "predict"):
        assert_says(refusal(action, tuned, world), output / "student", "run stage two first", "--predict.model")


@pytest.mark.parametrize(
    ("action", "option", "expected"),
    [
        ("teacher", "finetune.learning_rate", ("--finetune.learning_rate: 0.003 there, 0.5 now",)),
        ("one", "one.max_steps", ("steps (by --one.max_steps or --one.epochs): 30 there, 2 now", "set these back")),
        ("two", "two.temperature", ("--two.temperature: 1.0 there, 2.0 now",)),
    ],
)
def test_a_finished_model_that_was_made_otherwise_is_not_taken_for_this_one(
    action: str,
    option: str,
    expected: tuple[str, ...],
    done_task: Path,
    task_inputs: Path,
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor is anything opened to find it out."""
    output = shutil.copytree(done_task, tmp_path / "task")
    monkeypatch.setattr(task_actions, "open_inputs", lambda *_, **__: pytest.fail("opened"))
    value = 0.5 if option.endswith("rate") else 2
    message = refusal(action, options(task_inputs, "singles", output, **{option: value}), world)
    assert_says(message, "was made otherwise:", *expected, "choose another --run.output_dir")


def test_rows_that_were_augmented_otherwise_are_not_taken_for_these(
    done_task: Path, task_inputs: Path, world: World, tmp_path: Path
) -> None:
    output = shutil.copytree(done_task, tmp_path / "task")
    shutil.rmtree(output / "mlm")  # which may be gone by now
    begun = shutil.copytree(output, tmp_path / "begun", ignore=shutil.ignore_patterns("stages", "student*"))
    path = begun / "augmented" / "train.jsonl"
    changed: dict[str, object] = {"augment.copies": 3, "augment.candidates": 4, "run.seed": 2}
    given = options(task_inputs, "singles", begun, **changed)
    for action in ("one", "two"):
        message = refusal(action, given, world)
        assert_says(
            message, f"{path} is there already, made otherwise", "--augment.copies: 1 there, 3 now", f"remove {path}"
        )
        assert_says(message, "--augment.candidates: ", " there, 4 now", "--run.seed: 0 there, 2 now")
        assert "--output" not in message
    same = options(task_inputs, "singles", output)
    run("two", same, world)  # passed over
    (output / "augmented" / "train.jsonl.meta.json").unlink()  # rows of the user's own making
    run("two", same, world)


def test_stage_two_needs_the_shape_of_stage_one(
    done_task: Path, task_inputs: Path, world: World, tmp_path: Path
) -> None:
    """Layers that the student of stage one does not have would stay random without a word."""
    deeper = write_student_shape(tmp_path / "deeper", 2, vocab_size=53)
    output = shutil.copytree(done_task, tmp_path / "task")
    for made in ("student", "stages/two"):
        shutil.rmtree(output / made)
    message = refusal("two", options(task_inputs, "singles", output, **{"student.config": deeper}), world)
    assert_says(message, output / "student-one", "  num_hidden_layers: 1 there, 2 now\n", "--student.config")
    assert "hidden_size" not in message


def test_other_rows_make_another_model(done_task: Path, task_inputs: Path, world: World, tmp_path: Path) -> None:
    shutil.copytree(task_inputs, tmp_path / "inputs")
    with (tmp_path / "inputs" / "singles" / "train.txt").open("a") as file:
        file.write("bamo\tbad\n")
    output = shutil.copytree(done_task, tmp_path / "task")
    message = refusal("teacher", options(tmp_path / "inputs", "singles", output), world)
    assert_says(message, output / "teacher", "was made otherwise:\n  rows (by --task.data_dir, ")


def test_a_row_that_cannot_be_parsed_is_an_error_or_is_counted(
    done_task: Path, task_inputs: Path, world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(task_inputs / "singles", tmp_path / "singles")
    train = tmp_path / "singles" / "train.txt"
    lines = train.read_text().splitlines(keepends=True)
    lines[2] = "no label here\n"
    lines[5] = lines[5].rstrip().rsplit("\t", 1)[0] + "\tgoood\n"
    train.write_text("".join(lines))
    own: dict[str, object] = {"task.data_dir": tmp_path / "singles", "task.labels": ["bad", "fair", "good"]}
    quick: dict[str, object] = {"augment.copies": 0, "finetune.max_steps": 2, "task.force": True}
    given = options(task_inputs, "singles", tmp_path / "run", **own | quick)
    assert_says(refusal("teacher", given, world), f"{train}:3: ")
    run("teacher", [*given, "--task.skip_bad_rows", "true"], world)
    said = capfd.readouterr().err
    assert_says(said, f"warning: left out of {train}: 2 rows", f"{train}:3: ", f"{train}:6: ", "goood", "46 rows of")
    assert "[UNK]" not in said and "capitals" not in said


def test_a_length_that_is_enough_is_told_of_rows_with_labels(
    task_inputs: Path, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {"task.max_length": 8}
    config = read_arguments(["all", *options(task_inputs, "pairs", tmp_path / "run", **own)])[1]
    opened = open_inputs(config, world, Findings())
    assert opened is not None
    enough = opened.rows(opened.files.train, "train").enough
    said = capsys.readouterr().err
    told = (
        f" of the rows are cut to 8 tokens, the rest of them unread: --task.max_length {enough} would cut 1 % or less\n"
    )
    assert " of them cut to 8 tokens\nwarning: train: " in said and said.count(told) == 1
    assert enough < min(opened.teacher.max_position_embeddings, opened.student.max_position_embeddings)
    opened.rows(opened.files.train, "answered", with_labels=False)
    opened.rows(opened.files.train, "train")
    said = capsys.readouterr().err
    assert said.count(" of them cut to 8 tokens\n") == 2 and "warning" not in said  # it was told


def test_rows_that_the_tokenizer_does_not_know_and_dropped_labels_are_told(
    task_inputs: Path, world: World, tmp_path: Path
) -> None:
    """Of augmented rows, too, which are in no other encoding than our own."""
    inputs = shutil.copytree(task_inputs, tmp_path / "inputs")
    folder = inputs / "singles"
    for name in ("train", "eval"):
        lines = (folder / f"{name}.txt").read_text()
        (folder / f"{name}.txt").write_text(lines + "ζ η θ\tbad\nbamo\t-\nbamo\t\n", encoding="cp1253")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (inputs / "teacher" / file).unlink()
    vocabulary = (inputs / "teacher" / "vocab.txt").read_text().split()
    vocabulary = [word.upper() if number % 9 == 8 else word for number, word in enumerate(vocabulary)]
    (inputs / "teacher" / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    own = {"task.encoding": "cp1253", "task.drop_labels": "-"}
    config = read_arguments(["all", *options(inputs, "singles", tmp_path / "run", **own)])[1]
    findings = Findings()
    opened = open_inputs(config, world, findings)
    assert opened is not None
    assert_says("\n".join(findings.warnings), "warning: tokenizer: ", "have capitals", "do_lower_case")
    answering = Findings()
    assert open_inputs(config, world, answering, trains=False)
    assert "capitals" not in "\n".join(answering.warnings)
    with pytest.MonkeyPatch.context() as patch:
        said = io.StringIO()
        patch.setattr("sys.stderr", said)
        assert len(opened.rows(opened.files.train, "training rows")) == 49
        assert len(opened.rows(opened.files.train, "the same again")) == 49
        opened.augmented.parent.mkdir(parents=True)
        opened.augmented.write_text('{"text_a": "bamo é", "label": "bad"}\n', encoding="utf-8")
        assert len(opened.rows(opened.augmented, "augmented rows")) == 1
        opened.told_unknown.clear()
        new = tmp_path / "new.txt"
        new.write_text("θ η\n", encoding="cp1253")
        assert len(opened.rows(new, "new", with_labels=False)) == 1
        opened.told_unknown.clear()
        new.write_text(f"{'bamo ' * 9}θ\n" * 2, encoding="cp1253")
        assert len(opened.rows(new, "few", with_labels=False)) == 2
    learnt, answered, few = re.split("new: 1 row of|few: 2 rows of", said.getvalue())
    assert (
        "few: 10.0 % of the tokens are [UNK]" in few and "lacks some characters of this text (in a sample θ). " in few
    )
    assert "so the answers are worth little" in answered and "be learnt" not in answered and "take a" not in answered
    assert "of which nothing can be learnt" in learnt
    assert_says(
        said.getvalue(), "training rows: left out by --task.drop_labels: '-' 1, no label 1", "warning: training rows: "
    )
    assert_says(said.getvalue(), " % of the tokens are [UNK]", "warning: augmented rows: 50.0 %")
    assert "the same again: 49 rows" in said.getvalue() and "warning: the same again" not in said.getvalue()


def test_rows_in_another_language_are_refused_before_the_teacher_is_trained(
    task_inputs: Path, world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    inputs = shutil.copytree(task_inputs, tmp_path / "inputs")
    for name in ("train", "eval"):
        (inputs / "singles" / f"{name}.txt").write_text("ζ bamo η\tbad\nη θ η\tgood\n" * 8)
    given = options(inputs, "singles", tmp_path / "run", **{"teacher.model": inputs / "teacher"})
    message = refusal("all", given, world)
    assert_says(message, "dev (", "83.3 % of the tokens are [UNK]", "--task.force true continues")
    assert "[UNK]" not in capfd.readouterr().err  # the refusal says it
    assert not (tmp_path / "run" / "stages").exists()


def test_a_batch_that_does_not_split_names_the_stages_option(task_inputs: Path, tmp_path: Path) -> None:
    config = read_arguments(["all", *options(task_inputs, "singles", tmp_path / "run", **{"one.global_batch": 48})])[1]
    findings = Findings()
    assert open_inputs(config, World(0, 3, torch.device("cpu")), findings) is None
    message = "\n".join(findings.texts("fail"))
    for stage in ("finetune", "mlm", "two"):
        assert_says(message, f"--{stage}.global_batch 16 is not a multiple of --{stage}.micro_batch 8 x 3 ranks")
    assert "--one." not in message and "--run." not in message  # 48 rows split
    assert not (tmp_path / "run").exists()


def test_heads_that_differ_are_told_at_the_start_of_what_compares_them(
    task_inputs: Path, world: World, tmp_path: Path
) -> None:
    words = BertConfig.from_pretrained(task_inputs / "teacher").vocab_size
    wrong: dict[str, object] = {"student.config": write_student_shape(tmp_path / "student", heads=2, vocab_size=words)}
    own = options(task_inputs, "singles", tmp_path / "run", **wrong)
    message = refusal("all", [*own, "--task.data_dir", str(tmp_path / "nowhere")], world)
    assert_says(message, "the student has 2 heads and the teacher 4", f"--task.data_dir {tmp_path / 'nowhere'}")
    assert "head by head" in refusal("one", own, world) and not (tmp_path / "run" / "stages").exists()
    left_out = options(task_inputs, "singles", tmp_path / "run", **wrong, **{"one.max_steps": None, "one.epochs": 0})
    quick = ["--finetune.max_steps", "2", "--task.force", "true"]
    run("teacher", [*own, *quick], world)
    assert "head by head" not in refusal("all", [*left_out, "--task.max_length", "99"], world)
    run("two", [*left_out, *quick, "--augment.copies", "0", "--two.max_steps", "2"], world)
    assert (tmp_path / "run" / "student").is_dir()


def test_all_that_is_wrong_is_told_at_once(task_inputs: Path, world: World, tmp_path: Path) -> None:
    missing = {"task.data_dir": tmp_path / "nowhere", "teacher.model": tmp_path / "nobody"}
    message = refusal("all", options(task_inputs, "singles", tmp_path / "run", **missing), world)
    assert_says(message, f"--task.data_dir {tmp_path / 'nowhere'}", f"--teacher.model {tmp_path / 'nobody'}")
    long = {"task.max_length": 65, "task.name": "custm"}
    assert_says(
        refusal("all", options(task_inputs, "singles", tmp_path / "run", **long), world), "Did you mean custom?"
    )
    message = refusal("all", options(task_inputs, "singles", tmp_path / "run", **{"task.max_length": 65}), world)
    for option in ("--teacher.model", "--student.config"):
        assert_says(message, f"--task.max_length 65 is more than the 64 positions of {option}")
    assert not (tmp_path / "run").exists()


def test_a_fine_tuned_model_of_another_task_is_refused(
    done_task: Path, task_inputs: Path, world: World, tmp_path: Path
) -> None:
    teacher = done_task / "teacher"
    message = refusal("teacher", options(task_inputs, "pairs", tmp_path / "run", **{"teacher.model": teacher}), world)
    assert_says(message, f"--teacher.model {teacher}", "a model of 3 classes (bad fair good) for a task of 2 (no yes)")
    score = {"teacher.model": teacher, "task.name": "sts-b"}
    message = refusal("teacher", options(task_inputs, "STS-B", tmp_path / "sts", **score), world)
    assert_says(message, f"--teacher.model {teacher} has 3 outputs, but sts-b is a regression")
    names: dict[str, object] = {"teacher.model": teacher, "teacher.labels": ["bad", "good"]}
    message = refusal("teacher", options(task_inputs, "singles", tmp_path / "names", **names), world)
    assert_says(message, "--teacher.labels names 2 outputs (bad good)", "has 3")


def test_there_is_nothing_to_predict(done_task: Path, task_inputs: Path, world: World, tmp_path: Path) -> None:
    model = {"predict.model": done_task / "student"}
    shutil.copytree(task_inputs / "singles", tmp_path / "data", ignore=shutil.ignore_patterns("test.txt"))
    given = options(task_inputs, "singles", tmp_path / "run", **model | {"task.data_dir": tmp_path / "data"})
    assert_says(refusal("predict", given, world), f"--task.data_dir {tmp_path / 'data'}", "--predict.input")


def test_texts_that_a_table_cannot_hold_are_refused_before_they_are_answered(
    done_task: Path, task_inputs: Path, world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows, out = tmp_path / "rows.jsonl", tmp_path / "out.tsv"
    rows.write_text('{"text": "bamo"}\n{"text": "bamo\\tbamo"}\n')
    out.write_text("as before")
    given = {"predict.model": done_task / "student", "predict.input": rows, "predict.output": out}
    message = refusal("predict", options(task_inputs, "singles", tmp_path / "run", **given), world)
    assert_says(message, f"{rows}: row 2 holds a tab", "name a .jsonl with --predict.output")
    assert "answering" not in capfd.readouterr().err and out.read_text() == "as before"


def test_a_mistake_ends_the_program_with_code_2_and_no_traceback(task_inputs: Path, tmp_path: Path) -> None:
    given = options(task_inputs, "singles", tmp_path / "run", **{"teacher.model": tmp_path / "nobody"})
    command = [sys.executable, *TASK, "all", *given]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and f"--teacher.model {tmp_path / 'nobody'}" in errors[0]


def test_results_of_another_task_are_not_mixed(
    done_task: Path, task_inputs: Path, world: World, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    output.mkdir()
    (output / "results.json").write_text(json.dumps({"task": "sst-2"}))
    models = {"teacher.model": done_task / "teacher", "predict.model": done_task / "student"}
    message = refusal("eval", options(task_inputs, "singles", output, **models), world)
    assert_says(message, "has results of sst-2, not of custom")
