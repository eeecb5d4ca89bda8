"""What several files of tests look at: the inputs of tiny tasks, and one of them done from beginning to end."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatinybert.dist import World
from tests.tasks import task_toys


@pytest.fixture(scope="session")
def task_inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with teacher/, shape/, and the tasks singles/, pairs/, STS-B/, SST-2/ and MNLI/. Do not write there."""
    folder = tmp_path_factory.mktemp("task-inputs")
    task_toys.write_shape(folder / "shape", task_toys.write_teacher(folder / "teacher"))
    task_toys.write_singles(folder / "singles")
    task_toys.write_pairs(folder / "pairs")
    task_toys.write_sts_b(folder / "STS-B")
    task_toys.write_sst_2(folder / "SST-2")
    task_toys.write_mnli(folder / "MNLI")
    return folder


@pytest.fixture(scope="session")
def done_task(task_inputs: Path, world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of `all` on singles/ by `task_toys.options`. Do not write there."""
    output = tmp_path_factory.mktemp("done") / "task"
    task_toys.run("all", task_toys.options(task_inputs, "singles", output), world)
    return output
