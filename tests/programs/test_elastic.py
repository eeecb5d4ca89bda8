"""A checkpoint of any number of ranks and ZeRO stage continues at any other, under the real launcher.

make test-elastic prints the matrix: whether the same samples came in the same order, and how far losses and final
weights are from those of the run that wrote the checkpoint and went on undisturbed.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

from megatinybert.config.load import load_config
from megatinybert.programs.distil import distil
from megatinybert.programs.launcher import STOPPED
from megatinybert.runtime.counts import counted
from megatinybert.runtime.dist import World
from megatinybert.runtime.text_table import format_table
from megatinybert.training.stop import Stopped
from tests.helpers.processes import exit_codes, start
from tests.helpers.task_toys import options as task_options
from tests.helpers.task_toys import run
from tests.helpers.toys import free_port, metrics, recipe, run_general, write_student_shape
from tests.scripts.elastic import DRAWN

pytestmark = pytest.mark.slow

SAVED, STEPS, BATCH = 4, 8, 12
STAGES = ("zero0", "zero1", "zero2", "zero3")
STILL = "zero1, no dropout"  # whose losses do not depend on the micro batch
# DeepSpeed files by ranks.
WRITTEN = {1: STAGES, 2: (*STAGES, STILL, "zero1-autocast", "zero2-bf16", "zero2-fp16")}


class Case(NamedTuple):
    """A checkpoint of `ranks` ranks by the DeepSpeed file `ds`, continued elsewhere. overrides: options then."""

    ranks: int
    ds: str
    new_ranks: int
    new_ds: str
    overrides: tuple[tuple[str, object], ...] = ()

    @property
    def precise(self) -> bool:
        return not re.search("-(autocast|bf16|fp16)", self.ds + self.new_ds)

    def __str__(self) -> str:
        more = "".join(f", {name} {value}" for name, value in self.overrides)
        return f"{self.ds} x {self.ranks} -> {self.new_ds} x {self.new_ranks}{more}"


CASES = [
    *(Case(before, stage, after, stage) for before, after in ((1, 2), (2, 1), (2, 3)) for stage in STAGES),
    *(Case(2, f"zero{a}", 2, f"zero{b}") for a, b in ((0, 1), (1, 2), (2, 3), (3, 0), (1, 3))),
    *(Case(1, "zero0", 2, "zero3"), Case(2, "zero3", 3, "zero1"), Case(2, "zero2", 1, "zero0")),
    Case(2, STILL, 3, STILL, (("run.micro_batch", 1),)),
    *(Case(2, "zero1", 2, "zero1-autocast"), Case(2, "zero1-autocast", 2, "zero1"), Case(2, "zero1", 1, "zero3-bf16")),
    *(
        Case(2, "zero2-bf16", 1, "zero1-bf16"),
        Case(2, "zero2-bf16", 3, "zero3"),
        Case(2, "zero2-fp16", 1, "zero2-fp16"),
    ),
]


class Found(NamedTuple):
    """Of a continued run against the undisturbed one. said: the line that tells of the change."""

    same_samples: bool
    loss: float
    weights: float
    said: str


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("elastic")


@pytest.fixture(scope="module")
def matrix(inputs: Path) -> dict[Case, Found]:
    for ranks, written in WRITTEN.items():
        launch(ranks, [options(inputs, inputs / f"{ds}-{ranks}", ds) for ds in written], inputs)
    logs = {}
    for ranks in (1, 2, 3):
        wanted = [case for case in CASES if case.new_ranks == ranks]
        log = launch(ranks, [continued(inputs, case) for case in wanted], inputs)
        logs |= dict(zip(wanted, re.findall(r"^continuing at .*$", log, re.MULTILINE), strict=True))
    return {case: compare(inputs, case, logs[case]) for case in CASES}


def options(inputs: Path, output: Path, ds: str, **overrides: object) -> list[str]:
    """Dropout is on: it depends on the micro batch, but not on the rank that has it."""
    given: dict[str, object] = {
        "run.output_dir": output,
        "run.global_batch": BATCH,
        "run.micro_batch": 2,
        "run.max_steps": STEPS,
        "run.save_interval": SAVED,
        "deepspeed": ds.removesuffix(", no dropout"),
        "student.hidden_dropout": 0.0 if ds == STILL else 0.1,
    }
    return recipe(inputs, **{**given, **overrides})


def continued(inputs: Path, case: Case) -> list[str]:
    resume = inputs / f"{case.ds}-{case.ranks}" / "checkpoints" / f"step-{SAVED:08d}"
    return options(inputs, inputs / str(case), case.new_ds, **{"run.resume": resume, **dict(case.overrides)})


def launch(ranks: int, runs: list[list[str]], folder: Path) -> str:
    """Run all of them by one start of the launcher: what it printed."""
    cases, log = folder / "cases.json", folder / "log"
    cases.write_text(json.dumps(runs))
    launcher = ["deepspeed", "--num_accelerators", str(ranks), "--master_port", str(free_port())]
    process = start([*launcher, "tests/scripts/elastic.py", str(cases)], log, DS_ACCELERATOR="cpu")
    assert exit_codes([process], 500) == [0], log.read_text()
    return log.read_text()


def compare(inputs: Path, case: Case, said: str) -> Found:
    before, after = inputs / f"{case.ds}-{case.ranks}", inputs / str(case)
    expected, found = (
        {row["step"]: row["loss/total"] for row in metrics(folder) if row["step"] > SAVED} for folder in (before, after)
    )
    assert found.keys() == expected.keys() == set(range(SAVED + 1, STEPS + 1))
    loss = max(abs(found[step] / expected[step] - 1) for step in expected)
    there, here = weights(before), weights(after)
    return Found(drawn(before) == drawn(after), loss, float((here - there).norm() / there.norm()), said)


def drawn(folder: Path) -> list[tuple[int, int]]:
    """(position, checksum of the sample) of the steps after the checkpoint, each drawn once by one of the ranks."""
    pairs = [(position, crc32) for rank in json.loads((folder / DRAWN).read_text()) for position, crc32 in rank]
    later = sorted(pair for pair in pairs if pair[0] >= SAVED * BATCH)
    assert [position for position, _ in later] == list(range(SAVED * BATCH, STEPS * BATCH))
    assert len({crc32 for _, crc32 in later}) == len(later)  # so that it tells which sample it is
    return later


def weights(folder: Path) -> Tensor:
    """All that was trained."""
    files = [load_file(folder / name) for name in ("student/model.safetensors", "objective.safetensors")]
    return torch.cat([file[name].flatten() for file in files for name in sorted(file) if "pooler" not in name])


def test_the_matrix(matrix: dict[Case, Found]) -> None:
    """In float32 the losses are equal to rounding; another precision rounds by about 2 ** -8 of each value."""
    rows = [("", "samples", "loss", "weights", "")]
    for case, found in matrix.items():
        same = "same" if found.same_samples else "OTHER"
        rows.append((str(case), same, f"{found.loss:.1e}", f"{found.weights:.1e}", found.said.rsplit(": ", 1)[1]))
    print("\n" + format_table(rows))
    assert all(found.same_samples for found in matrix.values())
    for case, found in matrix.items():
        assert found.loss < (1e-6 if case.precise else 1e-3), case
        assert found.weights < (1e-6 if case.precise else 5e-3), case


def test_a_stage_of_a_task(task_inputs: Path, done_task: Path, world: World, tmp_path: Path) -> None:
    """One process at ZeRO 0, asked to stop after its first step; then two ranks at ZeRO 1."""
    output = shutil.copytree(done_task, tmp_path / "task", ignore=shutil.ignore_patterns("two", "student"))
    given = task_options(task_inputs, "singles", output, **{"two.max_steps": 6})
    (output / "STOP").touch()
    with pytest.raises(Stopped):
        run("two", given, world)
    launcher = ["deepspeed", "--num_accelerators", "2", "--master_port", str(free_port())]
    command = [*launcher, "launch/task.sh", "two", *given, "--deepspeed", "zero1"]
    assert exit_codes([start(command, tmp_path / "log", DS_ACCELERATOR="cpu")]) == [0], (tmp_path / "log").read_text()
    line = "continuing at 2 ranks, ZeRO 1, from a checkpoint of 1 rank, ZeRO 0: converted in"
    assert line in (tmp_path / "log").read_text()

    whole = shutil.copytree(done_task, tmp_path / "whole", ignore=shutil.ignore_patterns("two", "student"))
    run("two", task_options(task_inputs, "singles", whole, **{"two.max_steps": 6}), world)
    found, expected = (metrics(folder / "stages" / "two") for folder in (output, whole))
    assert [row["loss/total"] for row in found[1:]] == pytest.approx([row["loss/total"] for row in expected[1:]], 1e-5)


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_several_students(inputs: Path, world: World, tmp_path: Path, before: int, after: int) -> None:
    """Asked to stop in the first steps, they go on at another number of ranks, from the checkpoints of both."""
    shape = write_student_shape(tmp_path / "shape", layers=1, hidden=8)
    students = tmp_path / "students.yaml"
    students.write_text(yaml.safe_dump([{"name": "first"}, {"name": "small", "student": {"config": str(shape)}}]))
    stopped, whole = (
        options(inputs, tmp_path / name, "zero1", students=students, **{"run.held_out_interval": STEPS})
        for name in ("stopped", "whole")
    )
    (tmp_path / "stopped").mkdir()
    (tmp_path / "stopped" / "STOP").touch()
    assert run_general(stopped, ranks=before).returncode == STOPPED
    (saved,) = {path.name for path in (tmp_path / "stopped").glob("*/checkpoints/*")}  # the same step of both
    assert saved < f"step-{SAVED:08d}"
    done = run_general(stopped, ranks=after)
    assert done.returncode == 0, done.stderr
    line = f"continuing at {counted(after, 'rank')}, ZeRO 1, from a checkpoint of {counted(before, 'rank')}, ZeRO 1: "
    assert f"{line}converted in" in done.stderr
    distil(load_config(whole), world)
    for name in ("first", "small"):
        found, expected = (metrics(tmp_path / run / name) for run in ("stopped", "whole"))
        losses = [[row["loss/total"] for row in rows if "loss/total" in row] for rows in (found, expected)]
        assert len(losses[0]) == STEPS and losses[0] == pytest.approx(losses[1], rel=1e-5)
        here, there = (weights(tmp_path / run / name) for run in ("stopped", "whole"))
        assert float((here - there).norm() / there.norm()) < 1e-6
