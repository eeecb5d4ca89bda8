"""Stages that were begun by other options, or on other rows, are refused by a look at their records."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Container
from pathlib import Path
from typing import Any

import pytest
import torch

from megatinybert.config.help import show
from megatinybert.config.load import load_options
from megatinybert.config.task import TASK, TaskConfig
from megatinybert.runtime.dist import World
from megatinybert.runtime.trainees import Trainees
from megatinybert.task import read_arguments
from megatinybert.tasks import rows_now
from megatinybert.tasks.made_otherwise import check_augmentation, check_options_of_stages, check_stages_early
from megatinybert.tasks.rows_now import RowsNow
from megatinybert.tasks.stage_options import facts_of_options, stage_folder
from megatinybert.training.checkpoints.checkpoint import save
from tests.helpers.task_toys import options
from tests.helpers.toys import REPOSITORY, TASK_WITHOUT_TORCH, environment, write_student_shape

BEGUN = {"two.max_steps": "30", "two.temperature": "1.0", "schedule.warmup_fraction": "0.1"}


def configuration(output: Path, **overrides: str) -> TaskConfig:
    given = {"task.name": "rte", "task.data_dir": "none", "teacher.model": "none", "student.init": "none"}
    values = given | {"run.output_dir": str(output)} | BEGUN | overrides
    return load_options([part for name, value in values.items() for part in (f"--{name}", value)], TASK)


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """The output folder of a task whose stage two has a checkpoint and no model yet."""
    facts = {**facts_of_options(configuration(tmp_path), "two"), "rows": "of which options alone say nothing"}
    world = World(0, 1, torch.device("cpu"))
    save(stage_folder(tmp_path, "two") / "checkpoints", Trainees({}), 12, facts, world, keep=1)
    return tmp_path


@pytest.mark.parametrize(
    ("option", "value", "line"),
    [
        ("two.temperature", "2.0", "--two.temperature: 1.0 there, 2.0 now"),
        ("two.max_steps", "20", r"steps \(by --two.max_steps or --two.epochs\): 30 there, 20 now"),
        ("schedule.warmup_fraction", "0.2", "--schedule.warmup_fraction: 0.1 there, 0.2 now"),
    ],
)
def test_other_options_are_told_by_their_names(begun: Path, option: str, value: str, line: str) -> None:
    other = configuration(begun, **{option: value})
    with pytest.raises(ValueError, match=f"step-00000012 was written by another kind of run:\n  {line}\nset these"):
        check_options_of_stages(other, ("one", "two"))
    check_options_of_stages(other, ("one", "predict"))  # which do not go on with stage two


def test_the_same_options_and_those_that_decide_nothing_are_accepted(begun: Path, tmp_path: Path) -> None:
    check_options_of_stages(configuration(begun), ("one", "two"))
    check_options_of_stages(configuration(begun, **{"two.micro_batch": "1", "one.max_steps": "7"}), ("one", "two"))
    check_options_of_stages(configuration(tmp_path / "new", **{"two.temperature": "2.0"}), ("one", "two"))


STAGES = ("teacher", "one", "two")


def read(inputs: Path, name: str, output: Path, **changes: str | None) -> TaskConfig:
    return read_arguments(["all", *options(inputs, name, output, **changes)])[1]


def look(config: TaskConfig, stages: Container[str]) -> None:
    check_stages_early(RowsNow(config), stages)


@pytest.mark.parametrize("changes", [{}, {"task.max_length": "64"}, {"two.micro_batch": "1"}])
def test_the_rows_of_a_done_task_are_the_same(task_inputs: Path, done_task: Path, changes: dict[str, str]) -> None:
    for stage in STAGES:
        look(read(task_inputs, "singles", done_task, **changes), (stage,))


@pytest.fixture
def more_rows(task_inputs: Path, tmp_path: Path) -> Path:
    """The inputs with one row more to train on."""
    inputs = shutil.copytree(task_inputs, tmp_path / "inputs")
    with (inputs / "singles" / "train.txt").open("a") as file:
        file.write("bamo\tbad\n")
    return inputs


def test_other_rows_are_told_early_with_other_options(more_rows: Path, task_inputs: Path, done_task: Path) -> None:
    config = read(more_rows, "singles", done_task, **{"finetune.learning_rate": "0.5"})
    with pytest.raises(ValueError) as caught:
        look(config, STAGES)
    first, rate, rows, *_ = str(caught.value).splitlines()
    assert first == f"{done_task / 'teacher'} was made otherwise:"
    assert rate.startswith("  --finetune.learning_rate: 0.003 there, 0.5 now") and rows.startswith("  rows (by --task")
    folder = more_rows / "singles"
    moved = f"--task.data_dir {show(str(folder))}, before {show(str(task_inputs / 'singles'))}"
    assert rows.partition(" rows of ")[2] == f"{folder / 'train.txt'}; {moved}) now"
    cut = read(task_inputs, "singles", done_task, **{"task.max_length": 8})
    with pytest.raises(
        ValueError, match=r"development rows .*: \w+ there, \w+ \(.*; --task.max_length 8, before 32\) now"
    ):
        look(cut, STAGES)
    assert not any("development rows" in line for line in str(caught.value).splitlines())
    (dev,) = (more_rows / "singles").glob("eval.*")
    dev.write_text(dev.read_text() + "bamo\tbad\n")
    with pytest.raises(ValueError, match=r"student was made otherwise:\n  development rows .* now\nset these back"):
        look(read(more_rows, "singles", done_task), ("two",))  # which trains on augmented rows
    # A fine-tuned teacher is not trained, and of one on the hub nothing is known.
    tuned = {"teacher.model": str(done_task / "teacher")}
    look(read(more_rows, "singles", done_task, **tuned), ("teacher",))
    look(read(more_rows, "singles", done_task, **{"teacher.model": "organisation/model"}), STAGES)


@pytest.mark.parametrize(
    ("stage", "given", "steps"),
    [
        ("teacher", {"finetune.max_steps": None}, 60),  # 20 passes over 48 rows
        ("teacher", {"finetune.max_steps": None, "finetune.epochs": "2"}, 6),
        ("mlm", {"mlm.max_steps": None}, 60),
        ("two", {"two.max_steps": None, "two.epochs": "3", "augment.copies": "0"}, 9),
    ],
)
def test_other_steps_by_passes_are_told_early_with_how_long_the_teacher_was_trained(
    task_inputs: Path, done_task: Path, tmp_path: Path, stage: str, given: dict[str, str | None], steps: int
) -> None:
    output = shutil.copytree(done_task, tmp_path / "task")
    record = output / "student" / "stage.json"
    rows = json.loads((output / "teacher" / "stage.json").read_text())["rows"]  # without copies
    record.write_text(json.dumps({**json.loads(record.read_text()), "rows": rows}))
    config = read(task_inputs, "singles", output, **given)
    with pytest.raises(ValueError, match=rf"otherwise:\n  steps .*: 30 there, {steps} now\nset these back") as caught:
        if stage == "mlm":
            check_augmentation(config, ("augment",), RowsNow(config))
        else:
            look(config, (stage,))
    takes_teacher = f"(there, --teacher.model {output / 'teacher'} takes this teacher, which was trained for 30 steps, "
    assert (takes_teacher in str(caught.value)) == (stage == "teacher")


def test_files_and_tokenizer_are_read_once(task_inputs: Path, done_task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[Any, ...]] = []
    for name in ("load_tokenizer", "read_rows"):
        function = getattr(rows_now, name)
        monkeypatch.setattr(rows_now, name, lambda *given, function=function: opened.append(given) or function(*given))
    read_arguments(["all", *options(task_inputs, "singles", done_task)], look=True)
    assert [given[0] if len(given) == 1 else given[1].name for given in opened] == [
        task_inputs / "teacher",
        "train.txt",
        "eval.txt",
    ]


def test_large_files_are_left_to_the_run(more_rows: Path, done_task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("megatinybert.tasks.rows_now.READ_WHOLE", 50)
    look(read(more_rows, "singles", done_task), STAGES)


def test_rows_are_compared_without_torch(more_rows: Path, done_task: Path) -> None:
    command = [sys.executable, "-c", TASK_WITHOUT_TORCH, "all", *options(more_rows, "singles", done_task)]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "AssertionError" not in done.stderr and "loading PyTorch" not in done.stderr
    for name in ("teacher", "mlm"):
        assert re.search(f"  {done_task / name} was made otherwise:\n +rows .by --task.data_dir", done.stderr)


@pytest.mark.parametrize("option", ["student.config", "student.init"])
def test_another_student_is_told_early_with_all_that_is_made_of_it(
    task_inputs: Path, done_task: Path, tmp_path: Path, option: str
) -> None:
    output = shutil.copytree(done_task, tmp_path / "task")
    deeper = write_student_shape(tmp_path / "deeper", 2, vocab_size=53)
    config = read(task_inputs, "singles", output, **{"student.config": None, option: str(deeper)})
    look(config, ("teacher", "predict"))  # which have no such student
    with pytest.raises(ValueError) as caught:
        look(config, STAGES)
    shape = "  student layers, width, heads, intermediate (by --student.config): "
    assert str(caught.value).splitlines() == [
        f"{output / 'student-one'} was made otherwise:",
        f"{shape}[1, 12, 4, 24] there, [2, 12, 4, 24] now",
        f"set these back, remove {output / 'student-one'}, {output / 'stages/one'}, {output / 'student'} and "
        f"{output / 'stages/two'} to rebuild it and what was made from it, or choose another --run.output_dir",
    ]
    for gone in ("student-one", "stages/one"):
        shutil.rmtree(output / gone)
    remedy = f"remove {output / 'student'} and {output / 'stages/two'} to rebuild it, or"
    with pytest.raises(ValueError, match=remedy):  # before stage one is trained again
        look(config, STAGES)


@pytest.mark.parametrize(
    ("stage", "option", "value", "line"),
    [
        ("teacher", "run.seed", "1", "run.seed: 0 there, 1 now"),
        ("one", "objective.hidden_weight", "2.0", "objective.hidden_weight: 1.0 there, 2.0 now"),
        ("two", "student.hidden_dropout", "0.2", r"student dropout .*: \[0.1, 0.0\] there, \[0.2, 0.0\] now"),
    ],
)
def test_options_beside_those_of_a_stage_are_told_early(
    task_inputs: Path, done_task: Path, stage: str, option: str, value: str, line: str
) -> None:
    with pytest.raises(ValueError, match=f"was made otherwise:\n  {line}\nset these back"):
        look(read(task_inputs, "singles", done_task, **{option: value}), (stage,))


def test_a_student_of_rows_without_copies_is_told_before_they_are_made(
    task_inputs: Path, done_task: Path, tmp_path: Path
) -> None:
    output = shutil.copytree(done_task, tmp_path / "task")
    record = output / "student-one" / "stage.json"
    facts = json.loads(record.read_text())
    facts["rows"] = json.loads((output / "teacher" / "stage.json").read_text())["rows"]
    record.write_text(json.dumps(facts))
    train = task_inputs / "singles" / "train.txt"
    told = f"rows .*: {facts['rows']} there, those of {train} with copies .--augment.copies. now\nset these back"
    with pytest.raises(ValueError, match=f"student-one was made otherwise:\n  {told}"):
        look(read(task_inputs, "singles", output), STAGES)
    look(read(task_inputs, "singles", output, **{"augment.copies": "0"}), ("one",))


def test_another_masked_lm_is_told_early_with_all_that_is_made_of_it(task_inputs: Path, done_task: Path) -> None:
    config = read(task_inputs, "singles", done_task, **{"mlm.learning_rate": "0.5"})
    check_augmentation(config, ("teacher", "one", "two"))  # which do not train it
    with pytest.raises(ValueError) as caught:
        check_augmentation(config, ("augment",))
    made = [
        f"{done_task / name}" for name in ("mlm", "stages/mlm", "augmented", "student-one", "stages/one", "student")
    ]
    assert str(caught.value).splitlines() == [
        f"{done_task / 'mlm'} was made otherwise:",
        "  --mlm.learning_rate: 0.003 there, 0.5 now",
        f"set these back, remove {', '.join(made)} and {done_task / 'stages/two'} to rebuild it and what was made from "
        "it, or choose another --run.output_dir",
    ]
    check_augmentation(read(task_inputs, "singles", done_task, **{"augment.model": "other"}), ("augment",))
