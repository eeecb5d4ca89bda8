"""A run whose teacher is partitioned over two ranks ends as one whose ranks have it whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.helpers.messages import assert_says
from tests.helpers.processes import GENERAL, exit_codes, start_ranks
from tests.helpers.toys import REPOSITORY, environment, metrics, recipe, run_general

pytestmark = pytest.mark.slow


def test_the_student_is_the_same_to_the_bit(tmp_path: Path) -> None:
    """With attention maps and measurements, which run the teacher too."""
    more: dict[str, object] = {"monitor.attention_interval": 2, "run.global_batch": 16}
    for name, own in (("whole", {}), ("parts", {"teacher.deepspeed": "teacher-zero3"})):
        given = recipe(tmp_path, **{**more, **own, "run.output_dir": tmp_path / name})
        done = run_general(given, ranks=2)
        assert done.returncode == 0, done.stderr
        assert ("teacher: in parts of " in done.stderr) == (name == "parts")
    whole, parts = (load_file(tmp_path / name / "student" / "model.safetensors") for name in ("whole", "parts"))
    assert whole.keys() == parts.keys() and all(torch.equal(whole[name], parts[name]) for name in whole)
    tags = ("loss/total", "held_out/total", "held_out/probe")
    rows = [[row.get(tag) for row in metrics(tmp_path / name) for tag in tags] for name in ("whole", "parts")]
    assert rows[0] == rows[1] and len(rows[0]) > 10


def test_the_doctor_looks_for_two_ranks_alone(tmp_path: Path) -> None:
    """It is one process, which has all of the teacher's parts."""
    given = recipe(tmp_path, **{"teacher.deepspeed": "teacher-zero3", "run.output_dir": tmp_path / "run"})
    command = [sys.executable, "-m", "megatinybert.doctor", *given, "--ranks", "2"]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "first batch" in done.stdout and "speed" in done.stdout


def test_what_one_rank_alone_finds_is_told_and_keeps_none_waiting(tmp_path: Path) -> None:
    """The teacher is loaded by all ranks or by none."""
    given = recipe(tmp_path, **{"teacher.deepspeed": "teacher-zero3"})
    (tmp_path / "other.json").write_text("{}")
    others = [str(tmp_path / "other.json") if word == "teacher-zero3" else word for word in given]
    ranks = start_ranks(2, GENERAL, given, tmp_path / "logs", others)
    assert exit_codes(ranks) == [2, 2]
    said = (tmp_path / "logs" / "rank-0.log").read_text()
    assert_says(said, "the ranks do not run the same", "teacher.deepspeed")
    (tmp_path / "teacher" / "model.safetensors").write_bytes(b"no weights")
    ranks = start_ranks(2, GENERAL, given, tmp_path / "logs")
    assert exit_codes(ranks) == [2, 2]
    assert_says((tmp_path / "logs" / "rank-0.log").read_text(), "--teacher.model", "its weights cannot be read")
