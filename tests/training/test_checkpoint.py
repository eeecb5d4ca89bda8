"""Checkpoints are whole or not taken, hold the student alone, and say what kind of run wrote them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from megatinybert.training import checkpoint
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
    checkpoint.check_facts(path, {"run.seed": 0})
    with pytest.raises(ValueError) as caught:
        checkpoint.check_facts(path, {"run.seed": 1, "world size": 4})
    assert "run.seed: 0 there, 1 now" in str(caught.value)
    assert "world size: none there, 4 now" in str(caught.value)


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
