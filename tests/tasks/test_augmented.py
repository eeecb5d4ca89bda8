"""Copies of the training rows that were made by other options are told before anything is loaded."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from megatinybert.config.task import TaskConfig
from megatinybert.task import read_arguments
from megatinybert.tasks.augmented import augmented_file, check_copies
from tests.helpers.task_toys import options
from tests.helpers.toys import REPOSITORY, TASK_WITHOUT_TORCH, environment

STAGES = ("teacher", "augment", "one", "two")


def read(inputs: Path, output: Path, **changes: object) -> TaskConfig:
    return read_arguments(["all", *options(inputs, "singles", output, **changes)])[1]


def test_the_copies_of_a_done_task_are_the_same(task_inputs: Path, done_task: Path, tmp_path: Path) -> None:
    check_copies(read(task_inputs, done_task, **{"task.labels": ["bad", "fair", "good"]}), STAGES)
    check_copies(read(task_inputs, done_task, **{"augment.copies": 3}), ("teacher", "eval"))  # which read none
    check_copies(read(task_inputs, done_task, **{"augment.copies": 0, "run.seed": 1}), STAGES)
    check_copies(read(task_inputs, tmp_path / "new", **{"augment.copies": 3}), STAGES)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"run.seed": 1}, "--run.seed: 0 there, 1 now"),
        ({"augment.copies": "published"}, "--augment.copies: 1 there, 20 now"),
        ({"augment.vectors": "glove.txt"}, "--augment.vectors: none there, glove.txt now"),
        ({"task.labels": ["good", "fair", "bad"]}, "--task.labels: bad fair good there, good fair bad now"),
    ],
)
def test_other_options_are_told_with_all_that_was_made_of_the_copies(
    task_inputs: Path, done_task: Path, changes: dict[str, object], line: str
) -> None:
    file = done_task / "augmented" / "train.jsonl"
    *folders, last = [done_task / name for name in ("student-one", "stages/one", "student", "stages/two")]
    with pytest.raises(ValueError) as caught:
        check_copies(read(task_inputs, done_task, **changes), ("one",))
    assert str(caught.value).splitlines() == [
        f"{file} is there already, made otherwise:",
        f"  {line}",
        f"use the same options and files, remove {file}, {', '.join(map(str, folders))} and {last} to rebuild it and "
        "what was made from it, or choose another --run.output_dir",
    ]


def test_other_rows_are_told(
    task_inputs: Path, done_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = shutil.copytree(task_inputs, tmp_path / "inputs")
    with (inputs / "singles" / "train.txt").open("a") as file:
        file.write("bamo\tbad\n")
    with pytest.raises(ValueError, match="made otherwise:\n  --task.data_dir: train.txt .* there, train.txt .* now\n"):
        check_copies(read(inputs, done_task), STAGES)
    monkeypatch.setattr("megatinybert.tasks.augmented.READ_WHOLE", 50)
    check_copies(read(inputs, done_task), STAGES)  # large files are left to the run


def test_copies_that_were_begun_otherwise_are_told(task_inputs: Path, done_task: Path, tmp_path: Path) -> None:
    config = read(task_inputs, tmp_path, **{"run.seed": 1})
    there, file = done_task / "augmented" / "train.jsonl", augmented_file(config)
    parts = file.with_name("train.jsonl.parts")
    parts.mkdir(parents=True)
    meta = there.with_name("train.jsonl.meta.json").read_text()
    (parts / "plan.json").write_text(meta[meta.index("{", 1) : meta.rindex(' "totals"')].rstrip().rstrip(","))
    check_copies(config, STAGES)  # nothing is written yet
    (parts / "000000.jsonl").write_text("1 1 0 0\n")
    with pytest.raises(ValueError, match=f"{file} was begun otherwise:\n  --run.seed: 0 there, 1 now\n.*{parts} to"):
        check_copies(config, STAGES)


def test_they_are_told_without_torch_beside_the_teacher(task_inputs: Path, done_task: Path) -> None:
    given = options(task_inputs, "singles", done_task, **{"run.seed": 1})
    command = [sys.executable, "-c", TASK_WITHOUT_TORCH, "all", *given]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "AssertionError" not in done.stderr and "loading PyTorch" not in done.stderr
    for name in ("teacher", "mlm"):
        assert f"{done_task / name} was made otherwise:\n  " in done.stderr
    assert f"{done_task / 'stages/mlm'}, {done_task / 'augmented'}, {done_task / 'student-one'}, " in done.stderr
