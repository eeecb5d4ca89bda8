"""Checkpoints are whole or not taken, hold the student alone, and say what kind of run wrote them; and the best weights
of a run: which of several measurements count, and that a continued run chooses the same.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from megatinybert.runtime.dist import World
from megatinybert.training.checkpoints import checkpoint
from megatinybert.training.checkpoints.checkpoint import Best
from megatinybert.training.checkpoints.files import CheckpointFiles
from megatinybert.training.same_run import SHAPE, check_facts
from tests.scripts.golden import STEPS


def write_checkpoint(folder: Path, step: int) -> Path:
    """A published checkpoint of two small files."""
    path = folder / f"step-{step:08d}"
    (path / "student").mkdir(parents=True)
    for rank in (0, 1):
        (path / "student" / f"rank_{rank}.pt").write_bytes(bytes(100 + rank))
    files = {f"student/rank_{rank}.pt": 100 + rank for rank in (0, 1)}
    (path / "state.json").write_text(json.dumps({"step": step, "facts": {"run.seed": 0}, "files": files}))
    return path


def test_the_newest_whole_checkpoint_is_taken(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path) == (None, [])
    for step in (5, 10, 100):
        write_checkpoint(tmp_path, step)
    (tmp_path / "step-00000200.tmp").mkdir()  # a save that was interrupted
    assert checkpoint.newest(tmp_path) == (tmp_path / "step-00000100", [])
    (tmp_path / "step-00000100" / "student" / "rank_1.pt").write_bytes(bytes(7))
    (tmp_path / "step-00000010" / "student" / "rank_0.pt").unlink()
    found, passed_over = checkpoint.newest(tmp_path)
    assert found == tmp_path / "step-00000005"
    assert "step-00000100 is not whole (student/rank_1.pt has 7 bytes, not 101)" in passed_over[0]
    assert "step-00000010 is not whole (student/rank_0.pt is missing)" in passed_over[1]


@pytest.mark.parametrize("state", [None, "", '{"step": 5', '{"step": 5}'])
def test_a_checkpoint_without_its_state_is_damaged(tmp_path: Path, state: str | None) -> None:
    path = write_checkpoint(tmp_path, 5)
    (path / "state.json").unlink()
    if state is not None:
        (path / "state.json").write_text(state)
    assert "state.json cannot be read" in (checkpoint.damage(path) or "")


def test_every_difference_of_two_runs_is_listed(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, 5)
    _, recorded = checkpoint.read_state(path)
    check_facts(path, recorded, {"run.seed": 0})
    with pytest.raises(ValueError) as caught:
        check_facts(path, recorded, {"run.seed": 1, "world size": 4})
    assert "run.seed: 0 there, 1 now" in str(caught.value)
    assert "world size: none there, 4 now" in str(caught.value)


@pytest.mark.parametrize(("name", "others"), [(SHAPE, [2, 32, 2, 64]), ("run.seed", 1)])
def test_first_weights_are_not_told_beside_what_decides_them(tmp_path: Path, name: str, others: object) -> None:
    path = write_checkpoint(tmp_path, 5)
    recorded = {"run.seed": 0, SHAPE: [1, 32, 2, 64], "first weights": "a", "first weights checksum": "b"}
    now = recorded | {"first weights": "c", "first weights checksum": "d"}
    with pytest.raises(ValueError, match=r":\n  first weights: a there, c now\n  first weights checksum: b "):
        check_facts(path, recorded, now)
    with pytest.raises(ValueError) as caught:
        check_facts(path, recorded, now | {name: others})
    _, line, _ = str(caught.value).splitlines()
    assert line == f"  {name}: {recorded[name]} there, {others} now"


def test_a_run_keeps_the_newest_two_and_their_files_are_listed(golden_run: Path) -> None:
    folder = golden_run / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == [f"step-{step:08d}" for step in (STEPS - 5, STEPS)]
    last = folder / f"step-{STEPS:08d}"
    assert checkpoint.read_state(last)[0] == STEPS
    listed = json.loads((last / "state.json").read_text())["files"]
    there = {str(path.relative_to(last)) for path in last.rglob("*") if path.is_file()} - {"state.json"}
    assert listed.keys() == there


def names_and_sizes(state: Any, path: str = "") -> Iterator[tuple[str, int]]:
    """(path, elements) of every tensor in nested state."""
    if isinstance(state, torch.Tensor):
        yield path, state.numel()
    elif isinstance(state, dict):
        for key, value in state.items():
            yield from names_and_sizes(value, f"{path}/{key}")
    elif isinstance(state, (list, tuple)):
        for number, value in enumerate(state):
            yield from names_and_sizes(value, f"{path}/{number}")


def test_the_teacher_is_in_no_checkpoint(golden_run: Path) -> None:
    found: dict[str, int] = {}
    for path in (golden_run / "checkpoints" / f"step-{STEPS:08d}" / "student").glob("*.pt"):
        found |= {f"{path.name}{name}": size for name, size in names_and_sizes(torch.load(path, weights_only=False))}
    assert any("/module/student.encoder" in name for name in found)
    assert any("/module/objective.projections" in name for name in found)
    assert not [name for name in found if "teacher" in name]
    # The student's embedding alone is as large as this; the teacher's is twice as wide.
    words = max(size for name, size in found.items() if "/module/" in name)
    assert words == 100 * 12
    student = sum(size for name, size in found.items() if "/module/" in name)
    assert sum(found.values()) <= 4 * student + 100  # weights, master weights and two moments, some padding


class Weights:
    """In place of a model: its weights are the step that it is at."""

    def __init__(self, folder: Path) -> None:
        self.step = 0
        self.exports: list[int] = []
        self.best = Best(folder, "dev/score", self.export, World(0, 1, torch.device("cpu")))

    def export(self, folder: Path, beside: Mapping[str, str]) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "weights").write_text(str(self.step))
        for name, text in beside.items():
            (folder / name).write_text(text)
        self.exports.append(self.step)

    def run(self, scores: Sequence[float], losses: Sequence[float] | None = None, first_step: int = 0) -> Weights:
        """Measure after each step from `first_step` on. losses: where they are not given, all are the same."""
        for self.step in range(first_step + 1, len(scores) + 1):
            loss = losses[self.step - 1] if losses else 1.0
            self.best.consider(self.step, {"dev/score": scores[self.step - 1], "held_out/total": loss})
        return self


@pytest.mark.parametrize(
    ("scores", "step", "exports"),
    [
        ([0.5, 0.7, 0.6], 2, [1, 2]),
        ([0.5, 0.7, 0.7, 0.7], 2, [1, 2]),  # the earlier where the losses are the same, too
        ([-0.3, -0.1, -0.2], 2, [1, 2]),
        ([math.nan, math.nan, -0.9, math.nan], 3, [1, 3]),  # undefined is below everything
        ([math.nan, math.nan], 1, [1]),
        ([0.0, math.nan], 1, [1]),
    ],
)
def test_the_first_of_the_highest_is_kept(scores: list[float], step: int, exports: list[int], tmp_path: Path) -> None:
    weights = Weights(tmp_path / "best").run(scores)
    value = scores[step - 1]
    assert weights.best.state() == (step, None if math.isnan(value) else value, 1.0)
    assert (tmp_path / "best" / "weights").read_text() == str(step)
    assert weights.exports == exports


@pytest.mark.parametrize(
    ("scores", "losses", "exports"),
    [
        ([0.7, 0.7, 0.7, 0.7], [0.5, 0.3, 0.4, 0.2], [1, 2, 4]),
        ([0.7, 0.8, 0.7], [0.5, 0.6, 0.1], [1, 2]),  # the score comes first
        ([0.7, 0.7], [0.5, math.nan], [1]),
        ([0.7, 0.7], [math.nan, 9.0], [1, 2]),
        ([math.nan, math.nan], [0.5, 0.4], [1, 2]),  # a correlation of answers that are all alike is undefined
    ],
)
def test_of_equal_scores_the_lowest_loss_is_kept(
    scores: list[float], losses: list[float], exports: list[int], tmp_path: Path
) -> None:
    weights = Weights(tmp_path / "best").run(scores, losses)
    assert weights.exports == exports
    kept = weights.best.state()
    assert kept and (kept[0], kept[2]) == (exports[-1], losses[exports[-1] - 1])


def test_weights_of_an_earlier_version_give_way_to_equals(tmp_path: Path) -> None:
    """It noted no loss."""
    weights = Weights(tmp_path / "best").run([0.7])
    old = {"step": 1, "measured": "dev/score", "value": 0.7}
    (tmp_path / "best" / "best.json").write_text(json.dumps(old))
    weights.run([0.7, 0.7], first_step=1)
    assert weights.best.state() == (2, 0.7, 1.0)


def test_the_file_is_json_that_says_what_was_measured(tmp_path: Path) -> None:
    assert Weights(tmp_path / "none").best.state() is None
    Weights(tmp_path / "best").run([math.nan])
    said = json.loads((tmp_path / "best" / "best.json").read_text(), parse_constant=pytest.fail)
    assert said == {"step": 1, "measured": "dev/score", "value": None, "loss": 1.0}


@pytest.mark.parametrize("killed_after", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("saved_at", [0, 2])
def test_a_continued_run_chooses_the_same(killed_after: int, saved_at: int, tmp_path: Path) -> None:
    """It measures once more what came after its checkpoint."""
    scores, losses = [0.4, 0.6, math.nan, 0.6, 0.6], [0.5, 0.4, 0.1, 1 / 3, 1 / 3]
    whole = Weights(tmp_path / "whole").run(scores, losses)
    Weights(tmp_path / "killed").run(scores[:killed_after], losses)
    continued = Weights(tmp_path / "killed").run(scores, losses, min(saved_at, killed_after))
    assert continued.best.state() == whole.best.state() == (4, 0.6, 1 / 3)
    for name in ("weights", "best.json"):
        assert (tmp_path / "killed" / name).read_text() == (tmp_path / "whole" / name).read_text()


def test_what_is_forgotten_counts_no_more(tmp_path: Path) -> None:
    weights = Weights(tmp_path / "best").run([0.9])
    weights.best.forget()
    assert weights.best.state() is None and not (tmp_path / "best").exists()
    assert Weights(tmp_path / "best").run([0.2]).best.state() == (1, 0.2, 1.0)
    Weights(tmp_path / "nothing").best.forget()


class Saved:
    """In place of an engine: a checkpoint of it is one file of its step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def save_checkpoint(self, folder: str, tag: str, save_latest: bool) -> None:
        files: CheckpointFiles = self.__dict__["checkpoint_engine"]  # which `checkpoint.save` gives it
        files.makedirs(f"{folder}/{tag}")
        files.save({"step": torch.full((2048,), self.step)}, f"{folder}/{tag}/state.pt")


ALONE = World(0, 1, torch.device("cpu"))


def save(folder: Path, step: int, keep: int = 2, every: int | None = None) -> Path:
    trainees: Any = {"student": Saved(step)}
    checkpoint.save(folder, trainees, step, {"run.seed": 0}, ALONE, keep, every)
    return folder / f"step-{step:08d}"


def steps_in(folder: Path) -> list[int]:
    return sorted(int(path.name[5:]) for path in folder.glob("step-*"))


@pytest.mark.parametrize("keep", [1, 2])
def test_damaged_checkpoints_of_higher_steps_never_cost_a_new_one(keep: int, tmp_path: Path) -> None:
    for step in (8, 10):
        file = save(tmp_path, step, keep=2) / "student" / "state.pt"
        file.write_bytes(file.read_bytes()[:-100])
    for step in (2, 4, 6):
        assert save(tmp_path, step, keep).exists()
    assert steps_in(tmp_path) == [*(2, 4, 6)[-keep:], 8, 10]
    assert checkpoint.newest(tmp_path)[0] == tmp_path / "step-00000006"


def test_zeros_of_the_same_size_are_damage(tmp_path: Path) -> None:
    older, newer = save(tmp_path, 1), save(tmp_path, 2)
    with (newer / "student" / "state.pt").open("r+b") as file:
        file.seek(2048)
        file.write(bytes(4096))
    found, passed_over = checkpoint.newest(tmp_path)
    assert found == older
    assert (
        "step-00000002 is not whole (student/state.pt has other content than was written: its CRC-32" in passed_over[0]
    )
    assert checkpoint.newest(tmp_path, checksums=False)[0] == newer  # the quick look, which runs do not continue by


def test_a_changed_record_is_damage(tmp_path: Path) -> None:
    path = save(tmp_path, 2)
    assert checkpoint.damage(path) is None and checkpoint.read_state(path) == (2, {"run.seed": 0})
    record = path / "state.json"
    record.write_text(record.read_text().replace('"step": 2', '"step": 3'))
    assert checkpoint.damage(path) == "state.json cannot be read: it has other content than was written"


def test_later_checkpoints_are_set_aside_with_the_metrics(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    for step in (4, 8, 12):
        save(folder, step, keep=3)
    (tmp_path / "metrics.jsonl").write_text('{"step": 12}\n')
    assert checkpoint.set_aside(tmp_path, 12) is None and steps_in(folder) == [4, 8, 12]
    said = checkpoint.set_aside(tmp_path, 4)
    assert said and "step-00000008, step-00000012" in said and str(tmp_path / "set-aside-1") in said
    assert steps_in(folder) == [4] and steps_in(tmp_path / "set-aside-1" / "checkpoints") == [8, 12]
    assert (tmp_path / "set-aside-1" / "metrics.jsonl").read_text() == '{"step": 12}\n'
    assert checkpoint.damage(tmp_path / "set-aside-1" / "checkpoints" / "step-00000012") is None
    save(folder, 8)
    assert "set-aside-2" in str(checkpoint.set_aside(tmp_path, 4))


def test_a_save_that_fails_loses_no_earlier_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = [save(tmp_path, step) for step in (1, 2)]

    def full(state: object, path: str, **_: object) -> None:
        Path(path).write_bytes(bytes(100))
        raise RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0")

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("torch.save", full)
        with pytest.raises(checkpoint.NotSaved, match=r"state.pt cannot be written: .*unexpected pos"):
            save(tmp_path, 3)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "publish_folder", no_space)
        with pytest.raises(checkpoint.NotSaved, match="No space left"):
            save(tmp_path, 3)
    assert steps_in(tmp_path) == [1, 2] and not [path for path in earlier if checkpoint.damage(path)]
    assert save(tmp_path, 4).exists() and steps_in(tmp_path) == [2, 4]


def test_multiples_of_keep_every_stay(tmp_path: Path) -> None:
    for step in range(0, 15, 2):
        save(tmp_path, step, keep=2, every=6)
    assert steps_in(tmp_path) == [6, 12, 14]
