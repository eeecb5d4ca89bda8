"""Runs that are killed and started again end as if nothing had happened; what does not fit is refused."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from megatinybert.config.deepspeed import load_ds_config
from megatinybert.config.load import load_config
from megatinybert.config.schema import RunConfig
from megatinybert.corpus.shards import bin_path
from megatinybert.programs.distil import distil
from megatinybert.runtime.dist import World
from megatinybert.training.checkpoints import checkpoint
from megatinybert.training.checkpoints.files import CheckpointFiles
from megatinybert.training.checkpoints.which import find_checkpoint, newest_of
from megatinybert.training.finite import NonFiniteLoss
from megatinybert.training.other_text import NAMED
from megatinybert.training.placement import PLACEMENT, Placement
from megatinybert.training.resume import Start, starting_point, take_over
from megatinybert.training.same_run import check_facts
from megatinybert.training.step import StepResult, train_step
from megatinybert.training.stop import Stopped
from tests.helpers.collectives import all_say_the_same
from tests.helpers.golden_scalars import assert_scalars_are_whole
from tests.helpers.processes import GENERAL, exit_codes, kill_at_step, left_behind, start, start_ranks
from tests.helpers.toys import metrics, recipe, run_general, write_dataset
from tests.helpers.warm_python import warm_python
from tests.scripts.golden import STEPS, golden_options

LAST = f"checkpoints/step-{STEPS:08d}"


def assert_same_end(found: Path, expected: Path) -> None:
    """Bit-equal students, last checkpoints and metrics, apart from speed, time and memory."""
    students = [load_file(folder / "student" / "model.safetensors") for folder in (found, expected)]
    assert students[0].keys() == students[1].keys()
    for name, weight in students[1].items():
        assert torch.equal(students[0][name], weight), name
    names = sorted(path.name for path in (expected / LAST / "student").iterdir())
    assert sorted(path.name for path in (found / LAST / "student").iterdir()) == names
    assert names
    for name in names:
        a, b = (torch.load(folder / LAST / "student" / name, weights_only=False) for folder in (found, expected))
        assert_equal(a, b, name)
    rows = [
        [
            {tag: value for tag, value in row.items() if not tag.startswith(("speed/", "time/", "memory/"))}
            for row in metrics(folder)
        ]
        for folder in (found, expected)
    ]
    assert rows[0] == rows[1]
    assert [row["step"] for row in rows[0]] == list(range(STEPS + 1))


def assert_equal(a: Any, b: Any, path: str) -> None:
    """Compare nested state bit for bit; of objects that are no plain data, the type."""
    assert type(a) is type(b), path
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), path
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a:
            assert_equal(a[key], b[key], f"{path}/{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), path
        for number, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_equal(x, y, f"{path}/{number}")
    elif isinstance(a, np.ndarray):
        assert np.array_equal(a, b), path
    elif isinstance(a, (int, float, str, bool, type(None))):
        assert a == b, path


class Kill(NamedTuple):
    """A run that was killed and resumed."""

    folder: Path
    logged: int  # the last step in the metrics when it was killed
    saved: Path | None  # the newest whole checkpoint then


def killed_and_resumed(inputs: Path, folder: Path, **overrides: object) -> Kill:
    """Start a run in a process, kill -9 it soon after its first checkpoint, and run the same command to the end."""
    options = golden_options(inputs, folder, **overrides)
    process = start([sys.executable, *GENERAL, *options], folder.parent / f"{folder.name}.log")
    logged = kill_at_step(process, folder, 7)
    saved, _ = checkpoint.newest(folder / "checkpoints")
    assert not (folder / "student").exists()  # it was killed before its end
    done = run_general(options, python=warm_python())
    assert done.returncode == 0, done.stderr
    return Kill(folder, logged, saved)


@pytest.fixture(scope="module")
def zero1_kill(toy_inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Kill:
    return killed_and_resumed(toy_inputs, tmp_path_factory.mktemp("killed") / "run")


def test_a_killed_run_ends_as_an_uninterrupted_one(zero1_kill: Kill, golden_run: Path) -> None:
    assert zero1_kill.saved is not None and zero1_kill.saved.name in ("step-00000005", "step-00000010", "step-00000015")
    # Steps beyond the checkpoint had been logged, so they are logged a second time, in place of the first.
    assert int(zero1_kill.saved.name[-8:]) < zero1_kill.logged < STEPS
    assert_same_end(zero1_kill.folder, golden_run)


def test_tensorboard_holds_each_step_once_after_a_kill(zero1_kill: Kill) -> None:
    for run in (zero1_kill.folder / "tensorboard").iterdir():
        assert len(list(run.iterdir())) == 2  # a file of each of the two processes
    assert_scalars_are_whole(zero1_kill.folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    "ds_config",
    ["zero0", "zero2-bf16", "zero3", "zero1-autocast"],
)
def test_a_killed_run_ends_as_an_uninterrupted_one_in_other_modes(
    toy_inputs: Path, tmp_path: Path, ds_config: str
) -> None:
    whole = tmp_path / "whole"
    options = golden_options(toy_inputs, whole, deepspeed=ds_config)
    process = start([sys.executable, *GENERAL, *options], tmp_path / "whole.log")
    kill = killed_and_resumed(toy_inputs, tmp_path / "killed", deepspeed=ds_config)
    assert exit_codes([process]) == [0], (tmp_path / "whole.log").read_text()
    assert kill.saved is not None
    assert_same_end(kill.folder, whole)


@pytest.mark.slow
def test_a_save_interrupted_between_two_ranks_leaves_the_previous_checkpoint_in_charge(
    toy_inputs: Path, tmp_path: Path
) -> None:
    """Rank 1 is killed in its save of step 10, before its file; then again, after it. ZeRO 2, by two ranks."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    small: dict[str, object] = {"run.global_batch": 8, "deepspeed": "zero2"}
    reference = start_ranks(2, GENERAL, golden_options(toy_inputs, whole, **small), tmp_path / "whole-logs")
    options = golden_options(toy_inputs, broken, **small)
    for moment in ("before", "after"):
        logs = tmp_path / moment
        ranks = start_ranks(2, ["tests/scripts/die_in_save.py", "10", moment], options, logs)
        codes = exit_codes(ranks)
        log = [(logs / f"rank-{rank}.log").read_text() for rank in (0, 1)]
        assert codes[1] == -signal.SIGKILL and codes[0] not in (0, None), log
        assert ("rank 1 wrote ['" in log[1]) == (moment == "after"), log[1]
        assert ("steps: 5 done of 20" in log[0]) == (moment == "after"), log[0]  # the second run resumed from step 5
        assert [path.name for path in (broken / "checkpoints").glob("step-*") if path.suffix != ".tmp"] == [
            "step-00000005"
        ]
        assert (broken / "checkpoints" / "step-00000010.tmp").exists()
        start_from, passed_over = checkpoint.newest(broken / "checkpoints")
        assert start_from == broken / "checkpoints" / "step-00000005" and not passed_over
    assert exit_codes(reference) == [0, 0]
    assert exit_codes(start_ranks(2, GENERAL, options, tmp_path / "resumed")) == [0, 0]
    assert "steps: 5 done of 20" in (tmp_path / "resumed" / "rank-0.log").read_text()
    assert not list((broken / "checkpoints").glob("*.tmp"))
    assert_same_end(broken, whole)
    assert not left_behind(tmp_path)


def test_a_damaged_checkpoint_is_passed_over_with_a_warning(
    world: World, toy_inputs: Path, golden_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(golden_run, folder)
    shutil.rmtree(folder / "student")
    damaged = next((folder / LAST / "student").glob("*optim_states.pt"))
    damaged.write_bytes(damaged.read_bytes()[:-4096] + bytes(4096))  # of the same size
    distil(load_config(golden_options(toy_inputs, folder)), world)
    said = capfd.readouterr().err
    warning = next(line for line in said.splitlines() if line.startswith("warning:") and LAST in line)
    assert damaged.name in warning and "other content than was written" in warning
    assert f"steps: 15 done of {STEPS}" in said
    aside = folder / "set-aside-1"  # what is above the step that the run continues from
    assert f"its later checkpoints (step-{STEPS:08d}) and metrics are set aside in {aside}" in said
    assert [row["step"] for row in metrics(aside)] == list(range(STEPS + 1))
    assert checkpoint.newest(aside / "checkpoints")[0] is None
    assert_same_end(folder, golden_run)


def test_a_run_whose_checkpoints_are_all_damaged_is_not_begun_anew(
    toy_inputs: Path, golden_run: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(golden_run, tmp_path / "run")
    for file in (folder / "checkpoints").rglob("*optim_states.pt"):
        file.write_bytes(file.read_bytes()[:-100])
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="holds checkpoints, but no whole one") as caught:
        distil(load_config(golden_options(toy_inputs, folder)), World(0, 1, torch.device("cpu")))
    assert "step-00000015 is not whole" in str(caught.value) and "step-00000020 is not whole" in str(caught.value)
    assert f"to start anew, remove {folder / 'checkpoints'} or choose another --run.output_dir" in str(caught.value)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_branch_sets_aside_what_another_wrote_there_and_notices_one_that_writes_meanwhile(
    golden_run: Path, tmp_path: Path
) -> None:
    folder, copy = tmp_path / "run", tmp_path / "copy"
    shutil.copytree(golden_run / "checkpoints", folder / "checkpoints")
    (folder / "checkpoints" / "step-00000015").rename(copy)
    run = RunConfig(output_dir=str(folder), resume=str(copy))
    start = Start(copy, [], 15, {}, newest_of(run))
    with pytest.raises(ValueError, match="another run has just written there"):
        take_over(dataclasses.replace(start, newest=None), run)
    assert "set-aside-1" in str(take_over(start, run))
    assert list((folder / "checkpoints").iterdir()) == []


def test_a_run_that_is_stopped_continues_to_the_same_end(
    world: World, toy_inputs: Path, golden_run: Path, tmp_path: Path
) -> None:
    """By the file STOP after its first step, and by SIGTERM in its eighth."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "STOP").touch()
    config = load_config(golden_options(toy_inputs, folder))
    with pytest.raises(Stopped, match=r"^stopped at step 1; the same command continues from step 1$"):
        distil(config, world)
    assert not (folder / "STOP").exists() and not (folder / "student").exists()

    def train_and_ask(*arguments: Any) -> dict[str, StepResult]:
        if arguments[3] == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        return train_step(*arguments)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped, match="stopped at step 8; .* from step 8$"):
        patch.setattr("megatinybert.training.loop.train_step", train_and_ask)
        distil(config, world)
    distil(config, world)
    assert_same_end(folder, golden_run)


def test_a_run_goes_on_when_a_save_fails(
    world: World, toy_inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write = CheckpointFiles.save

    def save(files: CheckpointFiles, state_dict: Any, path: str) -> None:
        if "step-00000002" in path:
            files.problems.append(f"{path} cannot be written: No space left on device")
        else:
            write(files, state_dict, path)

    monkeypatch.setattr(CheckpointFiles, "save", save)
    distil(load_config(recipe(toy_inputs, **{"run.output_dir": tmp_path, "run.save_interval": 1})), world)
    warning = next(line for line in capfd.readouterr().err.splitlines() if line.startswith("warning: the checkpoint"))
    for text in ("of step 2 is not saved", "No space left on device", "It takes about", "are free on the disk of"):
        assert text in warning
    assert warning.endswith("the newest checkpoint is of step 1")
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-00000003", "step-00000004"]


def test_a_run_whose_gradient_is_not_finite_stops(world: World, toy_inputs: Path, tmp_path: Path) -> None:
    """DeepSpeed would skip its steps, each of them, from ZeRO stage 1 on."""
    diverging = {
        **{"optimizer.learning_rate": 1.0, "optimizer.weight_decay": 1e9},
        **{"schedule.warmup_steps": 0, "run.max_steps": 12},
    }
    more = {"run.output_dir": tmp_path, "run.save_interval": 6, "run.log_interval": 3, "run.held_out_interval": 12}
    with pytest.raises(NonFiniteLoss, match=r"^step 2: the gradient is not finite. There is no checkpoint yet"):
        distil(load_config(recipe(toy_inputs, **diverging, **more)), world)
    report = json.loads((tmp_path / "non_finite.json").read_text())
    assert report["step"] == 2 and report["not finite"] == ["gradient"]
    assert report["positions"] == list(range(8, 16)) and len(set(report["samples"])) == 8
    assert [len(row) for row in report["input_ids"]] == [16] * 8
    assert not (tmp_path / "student").exists() and not list((tmp_path / "checkpoints").glob("step-*"))


def test_a_finished_run_started_again_does_no_step(
    world: World, toy_inputs: Path, golden_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(golden_run, folder)
    before = {name: (folder / name).read_bytes() for name in ("metrics.jsonl", "student/model.safetensors")}
    checkpoints = {path: path.stat().st_mtime_ns for path in (folder / "checkpoints").rglob("*")}
    distil(load_config(golden_options(toy_inputs, folder)), world)
    assert f"steps: {STEPS} done of {STEPS}" in capfd.readouterr().err
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert {path: path.stat().st_mtime_ns for path in (folder / "checkpoints").rglob("*")} == checkpoints
    assert_scalars_are_whole(folder)


def test_a_run_that_is_continued_by_other_threads_says_so(
    world: World, toy_inputs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    threads = torch.get_num_threads()
    try:
        for steps, now, told in ((1, 1, ""), (2, 1, ""), (3, 2, "1 thread of a rank before, 2 now: "), (3, 1, "")):
            torch.set_num_threads(now)
            distil(load_config(recipe(toy_inputs, **{"run.output_dir": tmp_path, "run.max_steps": steps})), world)
            said = capfd.readouterr().err
            assert told in said and ("of a rank before" in said) == bool(told)
    finally:
        torch.set_num_threads(threads)


def test_a_checkpoint_continues_in_a_new_folder(
    world: World, toy_inputs: Path, golden_run: Path, tmp_path: Path
) -> None:
    start_from = golden_run / "checkpoints" / "step-00000015"
    distil(load_config(golden_options(toy_inputs, tmp_path / "more", **{"run.resume": start_from})), world)
    assert [row["step"] for row in metrics(tmp_path / "more")] == list(range(16, STEPS + 1))
    # Of a finished run nothing is left to do, nor to log, but to export its student.
    distil(load_config(golden_options(toy_inputs, tmp_path / "none", **{"run.resume": golden_run / LAST})), world)
    assert metrics(tmp_path / "none") == []
    expected = load_file(golden_run / "student" / "model.safetensors")
    for folder in ("more", "none"):
        found = load_file(tmp_path / folder / "student" / "model.safetensors")
        assert all(torch.equal(found[name], weight) for name, weight in expected.items())


@pytest.mark.parametrize(
    ("overrides", "ranks", "expected"),
    [
        ({"run.seed": 3}, 1, ["run.seed: 0 there, 3 now"]),
        ({"run.global_batch": 24}, 1, ["run.global_batch: 48 there, 24 now"]),
        ({"run.compile": "always"}, 1, ["run.compile: never there, always now"]),
        ({"deepspeed": "zero2-bf16", "run.seed": 3}, 2, ["run.seed: 0 there, 3 now"]),
        (
            {"data.sequence_length": 20, "run.seed": 3},
            1,
            ["data.sequence_length: 16 there, 20 now", "run.seed: 0 there"],
        ),
    ],
)
def test_another_kind_of_run_is_not_continued(
    toy_inputs: Path,
    golden_run: Path,
    overrides: dict[str, object],
    ranks: int,
    expected: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.distributed.all_gather_object", all_say_the_same)
    monkeypatch.setattr(World, "first", lambda world, work: work())
    config = load_config(golden_options(toy_inputs, golden_run, **overrides))
    with pytest.raises(ValueError, match="written by another kind of run") as caught:
        distil(config, World(0, ranks, torch.device("cpu")))
    for text in expected:
        assert text in str(caught.value)
    assert not [name for name in PLACEMENT if name in str(caught.value)]


@pytest.mark.parametrize(
    ("overrides", "ranks", "converts"),
    [
        ({}, 1, False),
        ({}, 2, True),
        ({"deepspeed": "zero0"}, 1, True),
        ({"deepspeed": "zero3", "run.compile": "always"}, 1, True),
        ({"deepspeed": "zero1-autocast"}, 1, True),
    ],
)
def test_where_a_run_computes_may_change(
    overrides: dict[str, object],
    ranks: int,
    converts: bool,
    toy_inputs: Path,
    golden_run: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And with it what only changes the rounding, which could not go with the new place."""
    monkeypatch.setattr(World, "first", lambda world, work: work())
    config = load_config(golden_options(toy_inputs, golden_run, **overrides))
    _, recorded = checkpoint.read_state(golden_run / LAST)
    settings = load_ds_config(config.deepspeed, config, ranks)
    facts = recorded | {"world size": ranks, "ZeRO stage": settings.stage, "precision": settings.precision}
    start = starting_point(config, facts, World(0, ranks, torch.device("cpu")))
    assert start.converts == converts
    assert start.there == Placement(1, 1, "fp32")
    assert start.here == Placement(ranks, settings.stage, settings.precision)


def test_a_checkpoint_that_recorded_an_option_since_removed_is_continued_where_it_had_its_fixed_value(
    world: World, toy_inputs: Path, golden_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(golden_run, folder)
    state = folder / LAST / "state.json"
    content = json.loads(state.read_text())
    assert "data.shuffle_group" not in content["facts"]
    del content["crc32"]  # which earlier versions did not record either
    for value in (64, 32):
        state.write_text(json.dumps(content | {"facts": content["facts"] | {"data.shuffle_group": value}}))
        if value == 64:
            distil(load_config(golden_options(toy_inputs, folder)), world)
            assert f"steps: {STEPS} done of {STEPS}" in capfd.readouterr().err
        else:
            with pytest.raises(ValueError, match="another kind of run:\n  data.shuffle_group: 32 there, 64 now\n"):
                distil(load_config(golden_options(toy_inputs, folder)), World(0, 1, torch.device("cpu")))


def test_a_run_is_not_continued_with_another_teacher(toy_inputs: Path, golden_run: Path, tmp_path: Path) -> None:
    """Its name may change, its weights may not."""
    teacher = tmp_path / "teacher"
    shutil.copytree(toy_inputs / "teacher", teacher)
    weights = load_file(teacher / "model.safetensors")
    name = "encoder.layer.2.output.dense.weight"
    options = golden_options(toy_inputs, golden_run, **{"teacher.model": teacher})
    for changed, fact in ((weights[name] * 1.5, "teacher"), (weights[name].clone(), "teacher checksum")):
        changed[-1, -1] += 1  # which is beyond the first 256 values
        save_file({**weights, name: changed}, teacher / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ValueError, match=rf"written by another kind of run:\n  {fact} \(by --teacher.model\): "):
            distil(load_config(options), World(0, 1, torch.device("cpu")))


def test_a_run_is_not_continued_on_other_shards_of_equal_sizes(
    toy_inputs: Path, golden_run: Path, tmp_path: Path
) -> None:
    other = write_dataset(tmp_path / "corpus", seed=1)
    sizes = [path.stat().st_size for path in (bin_path(other), bin_path(toy_inputs / "corpus"))]
    assert sizes[0] == sizes[1]
    options = golden_options(toy_inputs, golden_run, **{"data.shards": other})
    with pytest.raises(ValueError, match="written by another kind of run:\n  corpus checksum ") as caught:
        distil(load_config(options), World(0, 1, torch.device("cpu")))
    message = str(caught.value)
    assert "corpus checksum (by --data.text, --data.shards or --data.mixture): " in message
    there, here = (f"--data.shards {path}" for path in (toy_inputs / "corpus", other))
    assert f"\n  text: {there} there, {here} now\n" in message and "(the same text, models and options)" in message


def test_a_text_may_be_called_otherwise(toy_inputs: Path, golden_run: Path, tmp_path: Path) -> None:
    newest, _ = find_checkpoint(load_config(golden_options(toy_inputs, golden_run)).run)
    assert newest
    _, facts = checkpoint.read_state(newest)
    check_facts(newest, facts, {**facts, NAMED: "--data.text elsewhere.txt"})


def test_resume_never_refuses_a_used_folder(toy_inputs: Path, golden_run: Path) -> None:
    options = golden_options(toy_inputs, golden_run, **{"run.resume": "never"})
    with pytest.raises(ValueError, match=r"--run.resume never, but .* already holds a run"):
        distil(load_config(options), World(0, 1, torch.device("cpu")))


def test_a_folder_that_is_no_checkpoint_is_refused(toy_inputs: Path, tmp_path: Path) -> None:
    options = golden_options(toy_inputs, tmp_path / "run", **{"run.resume": tmp_path / "nowhere"})
    with pytest.raises(ValueError, match=r"nowhere is not a whole checkpoint: state.json cannot be read"):
        distil(load_config(options), World(0, 1, torch.device("cpu")))


@pytest.mark.slow
def test_a_run_killed_before_its_first_checkpoint_begins_anew(
    toy_inputs: Path, golden_run: Path, tmp_path: Path
) -> None:
    """What it had logged is dropped, the measurements of step 0 too."""
    folder = tmp_path / "run"
    options = golden_options(toy_inputs, folder, **{"run.save_interval": STEPS})
    process = start([sys.executable, *GENERAL, *options], tmp_path / "log")
    assert kill_at_step(process, folder, 2) < STEPS
    done = run_general(golden_options(toy_inputs, folder))
    assert done.returncode == 0, done.stderr
    assert f"steps: 0 done of {STEPS}" in done.stderr
    assert_scalars_are_whole(folder)
    assert_same_end(folder, golden_run)


@pytest.mark.slow
def test_a_signal_to_one_rank_stops_both(toy_inputs: Path, golden_run: Path, tmp_path: Path) -> None:
    """Rank 1 gets Slurm's early warning; then the same command continues to the end."""
    options = golden_options(toy_inputs, tmp_path / "run", **{"deepspeed": "zero0", "run.max_steps": 60})
    ranks = start_ranks(2, GENERAL, options, tmp_path / "stopped")
    while not (tmp_path / "run" / "checkpoints" / "step-00000005").exists():
        assert ranks[0].poll() is None, (tmp_path / "stopped" / "rank-0.log").read_text()
        time.sleep(0.05)
    ranks[1].send_signal(signal.SIGUSR1)
    assert exit_codes(ranks) == [75, 75]
    first, second = ((tmp_path / "stopped" / f"rank-{rank}.log").read_text() for rank in (0, 1))
    said = re.search(r"^stopped at step (\d+); the same command continues from step \1$", first, re.MULTILINE)
    assert said and "stopped at" not in second and "Traceback" not in first + second
    found, _ = checkpoint.newest(tmp_path / "run" / "checkpoints")
    assert found and found.name == f"step-{int(said[1]):08d}"
    assert exit_codes(start_ranks(2, GENERAL, options, tmp_path / "resumed")) == [0, 0]
    assert f"steps: {int(said[1])} done of 60" in (tmp_path / "resumed" / "rank-0.log").read_text()


@pytest.mark.slow
def test_a_full_disk(
    world: World, toy_inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A small file system is too full for a checkpoint before the second save, and has room again before the third."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a file system here")

    def train(*arguments: Any) -> dict[str, StepResult]:
        ballast = disk / "ballast"
        if arguments[3] == 1:
            ballast.write_bytes(bytes(shutil.disk_usage(disk).free - 60_000))
        elif arguments[3] == 2:
            ballast.unlink()
        return train_step(*arguments)

    monkeypatch.setattr("megatinybert.training.loop.train_step", train)
    more = {"run.output_dir": disk / "run", "run.save_interval": 1, "run.held_out_interval": 4}
    try:
        distil(load_config(recipe(toy_inputs, **more)), world)
        said = capfd.readouterr().err
        assert "the checkpoint of step 2 is not saved" in said and said.count("is not saved") == 1
        assert "the newest checkpoint is of step 1" in said and " are free on the disk of " in said
        kept = sorted((disk / "run" / "checkpoints").iterdir())
        assert [path.name for path in kept] == ["step-00000003", "step-00000004"]
        assert not [path for path in kept if checkpoint.damage(path)]
        assert (disk / "run" / "student" / "model.safetensors").exists()
    finally:
        subprocess.run(["umount", str(disk)], check=True)
