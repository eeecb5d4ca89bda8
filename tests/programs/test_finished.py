"""A finished general run that is started again says so at once, and only where nothing is left to do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from megatinybert.config.family import members_of
from megatinybert.config.load import dump_yaml, load_config
from megatinybert.programs.finished import end_again
from megatinybert.programs.general_options import decided_by_options
from tests.helpers.metric_rows import held_out
from tests.helpers.toys import environment, run_general
from tests.scripts.golden import STEPS, golden_options

SETTLED = ["--run.epochs=3", "--run.global_batch=16", "--optimizer.learning_rate=0.001"]
WITHOUT_TORCH = (
    "import sys; from megatinybert.general import main\n"
    "main()\n"
    "assert not {'torch', 'transformers', 'deepspeed'} & sys.modules.keys()"
)


def finish(command: list[str]) -> None:
    """Leave what a run of 9 steps leaves, as far as it is looked at."""
    config = load_config([*command, *SETTLED])
    output = Path(config.run.output_dir)
    for member in (members_of(config) or {"": config}).values():
        folder = Path(member.run.output_dir)
        checkpoint = folder / "checkpoints" / "step-00000009"
        for made in (checkpoint, folder / "student"):
            made.mkdir(parents=True)
        facts = {**decided_by_options(member), "learning rates": {"steps in all": 9}}
        (checkpoint / "state.json").write_text(json.dumps({"step": 9, "facts": facts, "files": {}}))
        rows = [{"step": step, **held_out(loss, 0.1)} for step, loss in ((0, 4.0), (9, 2.0))]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        for name in ("objective.safetensors", "student/model.safetensors", "student/README.md"):
            (folder / name).touch()
    (output / "config.yaml").write_text(dump_yaml(config) + yaml.safe_dump({"environment": {}}))


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """That of a run which is finished, with batch, passes and learning rate left open."""
    monkeypatch.chdir(tmp_path)
    Path("teacher").mkdir()
    Path("teacher", "config.json").write_text("{}")
    Path("a.txt").write_text("one text\n")
    found = ["--teacher.model=./teacher", "--data.text", "a.txt", "--run.output_dir=run"]
    finish(found)
    return found


def again(command: list[str]) -> str | None:
    return end_again(load_config(command))


def test_it_says_so_and_what_it_said_at_its_end(command: list[str]) -> None:
    line, _, *end = (again(command) or "").splitlines()
    assert line == "run is finished: step 9 of 9"
    assert ["loss:", "total", "4", "2"] in [each.split() for each in end]
    assert end[-2] == "student: run/student" and "megatinybert.report run" in end[-1]
    assert again([*command, *SETTLED])


@pytest.mark.parametrize(
    "other",
    [
        ["--run.max_steps=20"],
        ["--run.epochs=4"],
        ["--teacher.model=another/one"],
        ["--run.resume=run/checkpoints/step-00000009"],
        ["--data.cache=elsewhere"],
        ["--run.output_dir=new"],
    ],
)
def test_other_options_are_for_the_run_to_judge(command: list[str], other: list[str]) -> None:
    assert again([*command, *other]) is None


CHECKPOINT, CARD = Path("run/checkpoints/step-00000009"), Path("run/student/README.md")


@pytest.mark.parametrize(
    "change",
    [
        CARD.unlink,
        lambda: os.utime(CARD, (1, 1)),
        lambda: CHECKPOINT.rename(CHECKPOINT.with_name("step-00000010.tmp")),
        (CHECKPOINT / "state.json").unlink,
        lambda: CHECKPOINT.with_name("step-00000012").mkdir(),
        lambda: shutil.rmtree("run/student"),
        lambda: Path("teacher", "model.safetensors").touch(),
        lambda: Path("a.txt").write_text("two texts\n"),
        Path("a.txt").unlink,
        lambda: Path("run/config.yaml").write_text("- no recipe"),
    ],
)
def test_a_folder_in_which_anything_may_be_left_to_do(command: list[str], change: Callable[[], object]) -> None:
    assert again(command)
    change()
    assert again(command) is None


def test_a_run_that_was_to_have_more_steps(command: list[str]) -> None:
    state = json.loads((CHECKPOINT / "state.json").read_text())
    state["facts"]["learning rates"]["steps in all"] = 10
    (CHECKPOINT / "state.json").write_text(json.dumps(state))
    for file in (Path("run/objective.safetensors"), *Path("run/student").iterdir()):
        file.touch()
    assert again(command) is None


def test_several_students_are_finished_together(command: list[str]) -> None:
    Path("students.yaml").write_text("[{name: a}, {name: b, student: {config: 3L-312}}]")
    command = [*command[:3], "--students=students.yaml", "--run.output_dir=both"]
    finish(command)
    line, _, *end = (again(command) or "").splitlines()
    assert line == "both is finished: step 9 of 9" and "a: both/a/student" in end and "b: both/b/student" in end
    Path("both/b/student/README.md").unlink()
    assert again(command) is None


def test_a_real_run_is_not_started_again(toy_inputs: Path, golden_run: Path) -> None:
    options = golden_options(toy_inputs, golden_run)
    before = {path: path.stat().st_mtime_ns for path in golden_run.rglob("*")}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *options], capture_output=True, text=True, env=environment(), check=False
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert done.stdout.startswith(f"{golden_run} is finished: step {STEPS} of {STEPS}\n\non held-out text ")
    by_launcher = run_general(options, ranks=2)
    assert by_launcher.returncode == 0 and by_launcher.stdout.count("is finished") == 1, by_launcher.stderr
    assert "loading PyTorch" not in by_launcher.stderr
    assert {path: path.stat().st_mtime_ns for path in golden_run.rglob("*")} == before
