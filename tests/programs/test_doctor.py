"""The doctor: its table and what it expects of a run. Its findings are in test_checks.py."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from megatinybert.config.load import load_config
from megatinybert.programs import estimate
from megatinybert.programs.distil import look
from megatinybert.programs.doctor import estimate_table, examine
from megatinybert.runtime.dist import World
from megatinybert.runtime.findings import Findings
from megatinybert.training.lock import run_lock
from megatinybert.training.ready import ReadyFamily
from tests.helpers.messages import assert_says
from tests.helpers.toys import REPOSITORY, environment, recipe
from tests.helpers.warm_python import warm_python
from tests.scripts.golden import STEPS, golden_options


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no text is broken into lines."""
    monkeypatch.setenv("COLUMNS", "1000")


def run_doctor(*options: str, python: Sequence[str] = (sys.executable,)) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*python, "-m", "megatinybert.doctor", *options],
        cwd=REPOSITORY,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def ready(options: list[str], ranks: int, world: World) -> ReadyFamily:
    findings = Findings()
    found = look(load_config(options), World(0, ranks, world.device), findings)
    assert found is not None, findings.all
    return found


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_run_that_will_work(toy_inputs: Path, tmp_path: Path) -> None:
    options = recipe(toy_inputs, **{"run.output_dir": tmp_path / "runs" / "run"})
    done = run_doctor(*options)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {
        line[6:].split("  ")[0]: line for line in done.stdout.splitlines() if line.startswith(("ok", "warn", "fail"))
    }
    assert {"accelerator", "apex", "versions", "threads", "models", "corpus", "precision"} <= rows.keys()
    assert {"schedule", "disk", "tokenizer", "DeepSpeed file", "layer map", "first batch"} <= rows.keys()
    assert "0 wrong, " in done.stdout
    first, *lines = done.stderr.splitlines()
    assert first == "loading PyTorch and DeepSpeed"
    assert {"measuring this machine's speed", "measuring ..."} <= set(lines)
    assert "opening teacher, student and data, and trying the first batch" in lines
    for expected in (
        "to do ",
        "4 steps, 512 tokens",
        "tokens/s",
        "3 x held-out measurement",
        "1 x checkpoint",
        "at the most",
    ):
        assert expected in done.stdout, done.stdout
    assert files(tmp_path) == set()


def test_a_run_that_would_be_refused(toy_inputs: Path, tmp_path: Path) -> None:
    options = recipe(toy_inputs, **{"run.output_dir": tmp_path / "run", "data.sequence_length": 65})
    done = run_doctor(*options, python=warm_python())
    assert done.returncode == 1, done.stderr
    assert "fail  positions" in done.stdout and "2 wrong" in done.stdout and "would refuse to start" in done.stdout
    assert "tokens/s" not in done.stdout and "Traceback" not in done.stderr


def test_what_is_missing_is_told_line_by_line_beside_all_that_is_there(toy_inputs: Path, tmp_path: Path) -> None:
    wrong = {"run.output_dir": tmp_path / "run", "run.resume": tmp_path / "gone", "data.shards": "null"}
    gone = "--data.shards", str(tmp_path / "a"), str(tmp_path / "b")
    done = run_doctor(*recipe(toy_inputs, **wrong), *gone, python=warm_python())
    assert done.returncode == 2, done.stderr
    lines = done.stdout.splitlines()
    failures = [line for line in lines if line.startswith("fail")]
    assert len(failures) == 3 and "3 wrong, " in done.stdout
    assert_says(failures[0], "shards", f"{tmp_path / 'a'} is neither a folder of shards")
    assert_says(failures[1], "shards", f"{tmp_path / 'b'} is neither a folder of shards")
    assert_says(failures[2], "options", f"--run.resume {tmp_path / 'gone'} is not a whole checkpoint")
    well = {line.split()[1] for line in lines if line.startswith("ok")}
    assert {"accelerator", "versions", "models", "layer", "tokenizer", "DeepSpeed"} <= well
    other = recipe(toy_inputs, **{"run.output_dir": tmp_path / "run", "teacher.model": tmp_path / "gone"})
    done = run_doctor(*other, python=warm_python())
    assert done.returncode == 2 and "1 wrong, " in done.stdout
    assert_says(
        done.stdout, f"--teacher.model {tmp_path / 'gone'}: cannot read", f"{toy_inputs / 'corpus'}: 4,000 tokens"
    )


def test_options_that_make_no_run_are_told_beside_what_they_name(toy_inputs: Path, tmp_path: Path) -> None:
    teacher, shards = str(toy_inputs / "teacher"), str(toy_inputs / "corpus")
    recipe(toy_inputs)
    doctor = functools.partial(run_doctor, "--run.output_dir", str(tmp_path / "run"), python=warm_python())
    done = doctor("--teacher.model", teacher, "--run.sed", "1")
    assert done.returncode == 2, done.stderr
    assert_says(done.stdout, "2 wrong, ", "did you mean --run.seed?", "--data.shards or --data.text: one of them")
    assert_says(done.stdout, f"--teacher.model {teacher}: 4 x 24, 100 embeddings", "ok    accelerator")
    done = doctor("--data.shards", shards, str(tmp_path / "gone"))
    assert done.returncode == 2 and done.stdout.count(f"{tmp_path / 'gone'} is neither") == 1
    assert_says(done.stdout, "2 wrong, ", "--teacher.model: required, and not given", f"{shards}: 4,000 tokens")
    assert files(tmp_path) == set()


def test_ranks_share_the_batch(
    world: World, toy_inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load_config(recipe(toy_inputs, **{"run.output_dir": tmp_path / "run", "run.global_batch": 24}))
    assert not examine(config, 3, False, world, time.perf_counter()).failed
    said = capsys.readouterr().out
    assert "2 micro batches of 4 on 3 ranks" in said and "tokens/s" not in said
    assert examine(config, 5, True, world, time.perf_counter()).failed
    said = capsys.readouterr().out
    assert "--run.global_batch 24 is not a multiple of" in said and "tokens/s" not in said


def test_what_is_expected_of_a_run(
    world: World, toy_inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of four micro batches of a rank are measured, and the update once."""

    class FakeStopwatch(estimate.Stopwatch):
        def read(self) -> dict[str, float]:
            super().read()
            return {"data": 0.25, "teacher": 0.75, "student": 1.5, "objective": 0.5, "optimizer": 4.0}

    monkeypatch.setattr(estimate, "Stopwatch", FakeStopwatch)
    monkeypatch.setattr(estimate, "seconds_of", lambda work, _: (work(), 2.0)[1])
    overrides = {
        "run.output_dir": tmp_path / "run",
        "run.global_batch": 32,
        "run.max_steps": 10,
        "run.held_out_interval": 4,
        "run.save_interval": 5,
        "monitor.attention_interval": 6,
    }
    options = recipe(toy_inputs, **overrides)
    found = estimate.estimate(ready(options, 2, world), 2, world, seconds=0.1)
    assert (found.steps, found.measured_steps, found.tokens_per_step) == (10, 4, 32 * 16)
    assert found.parts == {"data": 0.5, "teacher": 1.5, "student": 3.0, "objective": 1.0, "optimizer": 4.0}
    assert found.tokens_per_second == pytest.approx(512 / 10)
    occasions = {each.name: (each.times, each.seconds) for each in found.occasions}
    assert occasions == {
        "held-out measurement": (4, 1.0),  # at 0, 4, 8 and 10, by both ranks
        "set of attention maps": (3, 2.0),  # at 0, 6 and 10
        "checkpoint": (2, 2.0),  # at 5 and 10
    }
    assert found.seconds == pytest.approx(10 * 10 + 4 * 1 + 3 * 2 + 2 * 2)
    assert found.checkpoint_bytes > 10_000 and found.peak_bytes > 10_000_000
    assert files(tmp_path) == set()
    hint = "(--monitor.attention_interval 0 makes none)"
    long, short = (" ".join(estimate_table(replace(found, steps=steps), 0.0, 2).split()) for steps in (10, 0))
    assert hint not in long and hint in short


def test_a_run_in_the_middle_and_a_finished_one(
    world: World, toy_inputs: Path, golden_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(golden_run, folder)
    before = files(tmp_path)
    config = load_config(golden_options(toy_inputs, folder))
    assert not examine(config, 1, True, world, time.perf_counter()).failed
    said = capsys.readouterr().out
    finished = f"the run is finished: all of its {STEPS} steps are done, and it has left {folder / 'student'}\n"
    assert finished in said and "tokens/s" not in said
    (folder / "student" / "model.safetensors").unlink()
    assert not examine(config, 1, True, world, time.perf_counter()).failed
    assert "is the end of this run: nothing is left to do but to export" in capsys.readouterr().out
    shutil.rmtree(folder / "checkpoints" / f"step-{STEPS:08d}")
    before = files(tmp_path)
    assert not examine(config, 1, True, world, time.perf_counter()).failed
    said = capsys.readouterr().out
    assert f"15 of {STEPS} steps are done" in said and "5 steps, " in said and "converted" not in said
    assert files(tmp_path) == before


def test_a_checkpoint_of_other_ranks(world: World, toy_inputs: Path, golden_run: Path, tmp_path: Path) -> None:
    resume = golden_run / "checkpoints" / f"step-{STEPS - 5:08d}"
    config = load_config(golden_options(toy_inputs, tmp_path, **{"run.resume": resume, "deepspeed": "zero2-bf16"}))
    findings = examine(config, 2, False, world, time.perf_counter())
    assert not findings.failed
    said = next(text for text in findings.texts("ok") if f"15 of {STEPS} steps are done" in text)
    assert "continues at 2 ranks, ZeRO 2, bf16, from a checkpoint of 1 rank, ZeRO 1, fp32, which is converted" in said
    assert re.search(r"about [\d.e-]+ s and \d+(\.\d+)? kB of rank 0's memory, nothing on the disk$", said)
    warning = next(text for text in findings.texts("warn") if "continues in bf16" in text)
    assert warning.startswith("the checkpoint was trained in fp32, and the run continues in bf16")


def test_another_kind_of_run_in_the_folder(world: World, toy_inputs: Path, golden_run: Path) -> None:
    config = load_config(golden_options(toy_inputs, golden_run, **{"run.seed": 3}))
    findings = examine(config, 1, True, world, time.perf_counter())
    assert [finding.subject for finding in findings.all if finding.level == "fail"] == ["output folder"]
    assert "run.seed: 0 there, 3 now" in findings.texts("fail")[0]


def test_a_run_that_is_going_on_in_the_folder(
    world: World, toy_inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with run_lock(tmp_path, world):
        findings = examine(load_config(golden_options(toy_inputs, tmp_path)), 1, True, world, time.perf_counter())
    (told,) = findings.texts("fail")
    assert told.startswith(f"--run.output_dir {tmp_path} is in use by another run (process ")
    assert "measuring ..." not in capsys.readouterr().err


def test_the_options_of_a_task_are_no_run_of_it() -> None:
    found = run_doctor("--task.name", "sst-2", "--task.data_dir", "data", python=warm_python())
    assert found.returncode == 2 and found.stdout == ""
    assert found.stderr.startswith(
        "error: --task.name, --task.data_dir: of launch/task.sh, and this program takes the "
    )
    assert "launch/task.sh itself looks at all that a task needs" in found.stderr
