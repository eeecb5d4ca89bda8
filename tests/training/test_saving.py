"""Checkpoints that are written beside training are those that are written at once, and lose nothing."""

from __future__ import annotations

import json
import signal
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from megatinybert.config.load import load_config
from megatinybert.programs.distil import distil
from megatinybert.runtime.dist import World
from megatinybert.training.checkpoints import checkpoint
from megatinybert.training.checkpoints.files import CheckpointFiles
from megatinybert.training.checkpoints.snapshot import snapshot
from megatinybert.training.finite import NonFiniteLoss
from megatinybert.training.saving import Saver
from tests.helpers.processes import GENERAL, exit_codes, start_ranks
from tests.helpers.toys import metrics, recipe

ALONE = World(0, 1, torch.device("cpu"))


def test_a_snapshot_is_what_was_there_and_no_larger(tmp_path: Path) -> None:
    flat = torch.arange(1000.0)
    weights = OrderedDict(a=flat[:400].view(20, 20), b=flat[400:], c=nn.Parameter(flat[1::2]))
    weights._metadata = {"version": 1}  # type: ignore[attr-defined]
    state = {"weights": weights, "sizes": [torch.Size((2, 3)), (1, "x")], "none": None, "empty": torch.empty(0)}
    torch.save(state, tmp_path / "before.pt")
    copied = snapshot(state)
    flat.zero_()
    torch.save(copied, tmp_path / "after.pt")
    before, after = (torch.load(tmp_path / name, weights_only=False) for name in ("before.pt", "after.pt"))
    assert list(after["weights"]) == ["a", "b", "c"] and after["weights"]._metadata == {"version": 1}
    for name, weight in before["weights"].items():
        assert torch.equal(after["weights"][name], weight) and type(after["weights"][name]) is type(weight)
    assert after["sizes"] == state["sizes"] and type(after["sizes"][0]) is torch.Size and after["none"] is None
    sizes = [(tmp_path / name).stat().st_size for name in ("before.pt", "after.pt")]
    assert abs(sizes[0] - sizes[1]) < 100  # the shared memory is there once


class Counting:
    """In place of an engine: its state is a tensor of the step that it is at."""

    def __init__(self) -> None:
        self.state = torch.zeros(2048)

    def save_checkpoint(self, folder: str, tag: str, save_latest: bool) -> None:
        files: CheckpointFiles = self.__dict__["checkpoint_engine"]
        files.makedirs(f"{folder}/{tag}")
        files.save({"step": self.state}, f"{folder}/{tag}/state.pt")


class Run:
    """Members "a" and "b" of a run, which save in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.engines = folder, {"a": Counting(), "b": Counting()}
        run = SimpleNamespace(keep_checkpoints=2, keep_every=None)
        members = {
            name: SimpleNamespace(checkpoints=folder / name, config=SimpleNamespace(run=run)) for name in self.engines
        }
        family: Any = SimpleNamespace(
            members=members, first=members["a"], output=folder, checkpoint_bytes=8192 * len(members)
        )
        trainees: Any = self.engines
        self.saver = Saver(family, trainees, ALONE, 0)

    def train_and_save(self, step: int, at_once: bool = False) -> None:
        for engine in self.engines.values():
            engine.state.fill_(step)
        self.saver.save(step, {name: {"name": name} for name in self.engines}, at_once)
        for engine in self.engines.values():
            engine.state.fill_(-1)  # training goes on

    def published(self) -> list[tuple[str, int]]:
        return sorted((path.parent.name, int(path.name[5:])) for path in self.folder.glob("*/step-*[0-9]"))


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """The second file of a save is written once this is set."""
    opened, write = threading.Event(), CheckpointFiles._write

    def wait_and_write(files: CheckpointFiles, state_dict: Any, path: str) -> None:
        if "/b/" in path:
            assert opened.wait(60)
        write(files, state_dict, path)

    monkeypatch.setattr(CheckpointFiles, "_write", wait_and_write)
    return opened


def test_training_goes_on_and_nothing_is_published_until_all_is_written(gate: threading.Event, tmp_path: Path) -> None:
    run = Run(tmp_path)
    with run.saver as saver:
        run.train_and_save(1)
        saver.look()
        assert run.published() == [] and saver.last == 0 and saver.seconds > 0
        gate.set()
        run.train_and_save(2)  # waits for the first
        assert saver.last == 1 and run.published()[0] == ("a", 1)
        saver.finish()
        run.train_and_save(3, at_once=True)
        assert saver.last == 3
    assert run.published() == [("a", 2), ("a", 3), ("b", 2), ("b", 3)]
    for name, step in run.published():
        path = tmp_path / name / checkpoint.name_of(step)
        assert checkpoint.damage(path) is None and checkpoint.read_state(path) == (step, {"name": name})
        content = torch.load(path / "student" / "state.pt")["step"]
        assert content.shape == (2048,) and content.eq(step).all()
    assert not list(tmp_path.glob("*/*.tmp"))


def test_what_is_under_way_is_finished_when_the_run_stops(gate: threading.Event, tmp_path: Path) -> None:
    run = Run(tmp_path)
    threading.Timer(0.2, gate.set).start()
    with pytest.raises(NonFiniteLoss), run.saver:
        run.train_and_save(4)
        raise NonFiniteLoss
    assert run.published() == [("a", 4), ("b", 4)] and run.saver.last == 4


@pytest.mark.parametrize("failure", ["write", "copy", "publish"])
def test_a_save_that_fails_is_told_and_costs_nothing(
    failure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run = Run(tmp_path)

    def fails(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    def no_memory(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    broken: dict[str, tuple[str, Callable[..., None]]] = {
        "write": ("torch.save", fails),
        "copy": ("megatinybert.training.checkpoints.files.snapshot", no_memory),
        "publish": ("megatinybert.training.checkpoints.checkpoint.publish_folder", fails),
    }
    with run.saver as saver:
        run.train_and_save(1)
        saver.finish()
        with monkeypatch.context() as patch:
            patch.setattr(*broken[failure])
            run.train_and_save(2)
            saver.finish()
        assert run.published() == [("a", 1), ("b", 1)] and not list(tmp_path.glob("*/*.tmp"))
        run.train_and_save(3)
    said = capfd.readouterr().err
    assert said.count("warning") == 1 and "the checkpoint of step 2 is not saved: " in said
    assert ("can't allocate memory" if failure == "copy" else "No space left on device") in said
    assert "the newest checkpoint is of step 1" in said
    assert run.published() == [("a", 1), ("a", 3), ("b", 1), ("b", 3)]


def test_the_files_of_a_run_are_the_same(world: World, toy_inputs: Path, tmp_path: Path) -> None:
    for name in ("false", "true"):
        more = {"run.output_dir": tmp_path / name, "run.save_interval": 2, "run.async_save": name}
        distil(load_config(recipe(toy_inputs, **more)), world)
    for step in (2, 4):
        states = [tmp_path / name / "checkpoints" / checkpoint.name_of(step) for name in ("false", "true")]
        assert not any(map(checkpoint.damage, states))
        files = [json.loads((path / "state.json").read_text())["files"] for path in states]
        assert files[0] == files[1] and len(files[0]) >= 2  # with their checksums
    losses = [[row["loss/total"] for row in metrics(tmp_path / name)[1:]] for name in ("false", "true")]
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_a_rank_killed_while_it_writes_leaves_the_previous_checkpoint_in_charge(
    toy_inputs: Path, tmp_path: Path
) -> None:
    """Two ranks: both had their states copied, and one had written its file."""
    more = {"run.output_dir": tmp_path / "run", "run.save_interval": 2, "run.max_steps": 40, "run.async_save": "true"}
    options = recipe(toy_inputs, **more)
    codes = exit_codes(start_ranks(2, ["tests/scripts/die_in_save.py", "10", "beside"], options, tmp_path / "killed"))
    assert codes[1] == -signal.SIGKILL and codes[0] not in (0, None)
    log = (tmp_path / "killed" / "rank-0.log").read_text()
    assert "rank 1" in log, log
    found, passed_over = checkpoint.newest(tmp_path / "run" / "checkpoints")
    assert found and found.name == checkpoint.name_of(8) and not passed_over
    assert not (tmp_path / "run" / "checkpoints" / checkpoint.name_of(10)).exists()
    assert exit_codes(start_ranks(2, GENERAL, options, tmp_path / "resumed")) == [0, 0]
    assert "steps: 8 done of 40" in (tmp_path / "resumed" / "rank-0.log").read_text()
    kept = sorted((tmp_path / "run" / "checkpoints").iterdir())
    assert [path.name for path in kept] == [checkpoint.name_of(38), checkpoint.name_of(40)]
    assert not any(map(checkpoint.damage, kept))
