"""Two ranks of a task are refused together, by the checks of every run, and are told what one of them lacks."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.helpers.messages import assert_says
from tests.helpers.processes import exit_codes, start
from tests.helpers.task_toys import TASK, options
from tests.helpers.toys import free_port
from tests.helpers.warm_python import warm_python


def refusal(
    folders: Sequence[Path], given: Sequence[str], logs: Path, program: Sequence[str] = TASK, **variables: str
) -> str:
    """What the ranks print, each in a folder of its own: rank 0 the mistakes of all, the others nothing of theirs."""
    port, python = str(free_port()), warm_python()
    ranks = [
        start(
            [*python, *program, "all", *given],
            logs / f"rank-{rank}.log",
            cwd=folder,
            DS_ACCELERATOR="cpu",
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=port,
            WORLD_SIZE=str(len(folders)),
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            **variables,
        )
        for rank, folder in enumerate(folders)
    ]
    assert exit_codes(ranks) == [2] * len(folders)
    first, *others = ((logs / f"rank-{rank}.log").read_text() for rank in range(len(folders)))
    assert "Traceback" not in first and first.count("error: ") == 1
    assert all("error" not in text and "Traceback" not in text for text in others)
    return first[first.index("error: ") :]


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    folders = [tmp_path / "node-0", tmp_path / "node-1"]
    for folder in folders:
        folder.mkdir()
    return folders


def test_a_full_disk(task_inputs: Path, folders: list[Path], tmp_path: Path) -> None:
    given = options(task_inputs, "singles", tmp_path / "run")
    message = refusal(folders, given, tmp_path, ("-m", "tests.scripts.full_disk"))
    assert_says(message, f"--run.output_dir {tmp_path / 'run'}", "1 kB are free", "not enough for one")
    assert not (tmp_path / "run" / "stages" / "teacher" / "checkpoints").exists()


def test_a_precision_that_the_device_has_not_and_an_output_folder_that_is_a_file(
    task_inputs: Path, folders: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "run").touch()
    given = options(task_inputs, "singles", tmp_path / "run", deepspeed="zero2-fp16")
    # Some processors compute in it
    message = refusal(folders, given, tmp_path, ONEDNN_MAX_CPU_ISA="AVX512_CORE_BF16")
    assert_says(message, "2 problems:", "zero2-fp16.json asks for fp16", "does not run on this device", "zero2-bf16")
    assert_says(message, f"--run.output_dir {tmp_path / 'run'}", "is a file, not a folder")
    assert message.count("asks for fp16") == 1  # for all four stages


def test_a_rank_without_the_teachers_folder(task_inputs: Path, folders: list[Path], tmp_path: Path) -> None:
    shutil.copytree(task_inputs / "teacher", folders[0] / "teacher")
    given = options(task_inputs, "singles", tmp_path / "run", **{"teacher.model": "./teacher"})
    message = refusal(folders, given, tmp_path)
    assert_says(message, "on rank 1: --teacher.model ./teacher: cannot read a model configuration there")
    assert not (tmp_path / "run").exists()


def test_a_rank_whose_teacher_has_lost_its_weights(task_inputs: Path, folders: list[Path], tmp_path: Path) -> None:
    """Which is found only when the stage is put together."""
    for folder in folders:
        shutil.copytree(task_inputs / "teacher", folder / "teacher")
    (folders[1] / "teacher" / "model.safetensors").unlink()
    given = options(task_inputs, "singles", tmp_path / "run", **{"teacher.model": "./teacher"})
    message = refusal(folders, given, tmp_path)
    assert_says(message, "on rank 1: ./teacher: neither model.safetensors nor pytorch_model.bin is there")
    assert not (tmp_path / "run" / "stages").exists()
