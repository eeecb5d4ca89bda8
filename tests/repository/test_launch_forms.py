"""Every way to start general distillation trains two steps."""

from __future__ import annotations

import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.helpers.processes import exit_codes, start
from tests.helpers.toys import REPOSITORY, free_port, metrics, recipe

SCRIPT = "launch/general.sh"
# All that the launcher and the script need beside the virtual environment.
TOOLS = ("sh", "bash", "dirname", "env", "uname", "ls", "cat", "hostname")


class Form(NamedTuple):
    """A command, without the options of the recipe, and where and in what environment it is given."""

    command: list[str]
    cwd: Path
    variables: dict[str, str]


def path_without_compiler(folder: Path) -> str:
    folder.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        if found:
            (folder / tool).symlink_to(found)
    path = os.pathsep.join((str(Path(sys.executable).parent), str(folder)))
    assert not any(shutil.which(compiler, path=path) for compiler in ("c++", "g++", "gcc", "cc", "clang++"))
    return path


def forms(folder: Path) -> dict[str, Form]:
    hostfile = folder / "hosts"
    hostfile.write_text("localhost slots=1\n")
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()

    def port() -> str:
        return f"--master_port {free_port()}"

    return {
        "deepspeed": Form(["deepspeed", "--num_accelerators", "1", *port().split(), SCRIPT], REPOSITORY, {}),
        "deepspeed --no_python": Form(
            ["deepspeed", "--no_python", "--num_accelerators", "1", *port().split(), SCRIPT], REPOSITORY, {}
        ),
        "sh, from elsewhere, with a hostfile and no compiler": Form(
            ["sh", str(REPOSITORY / SCRIPT)],
            elsewhere,
            {
                "HOSTFILE": str(hostfile),
                "DEEPSPEED_ARGS": f"--no_ssh_check --master_addr 127.0.0.1 {port()}",
                "PATH": path_without_compiler(folder / "bin"),
            },
        ),
        "bash, with launcher options": Form(
            ["bash", "general.sh"], REPOSITORY / "launch", {"DEEPSPEED_ARGS": f"--num_accelerators 2 {port()}"}
        ),
        "python -m": Form([sys.executable, "-m", "megatinybert.general"], REPOSITORY, {}),
    }


NAMES = (
    "deepspeed",
    "deepspeed --no_python",
    "sh, from elsewhere, with a hostfile and no compiler",
    "bash, with launcher options",
    "python -m",
)


@pytest.fixture(scope="module")
def runs(toy_inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, int, str]]:
    """(run directory, exit code, output) of each form; two of them run at a time."""
    folder = tmp_path_factory.mktemp("forms")

    def run(name: str, form: Form) -> tuple[Path, int, str]:
        place = folder / str(NAMES.index(name))
        options = recipe(toy_inputs, **{"run.output_dir": place / "run", "run.max_steps": 2})
        log = place / "log"
        # PYTHONPATH would help the script find the package, which it must do by itself.
        process = start([*form.command, *options], log, form.cwd, PYTHONPATH="", **form.variables)
        return place / "run", exit_codes([process])[0], log.read_text()

    with ThreadPoolExecutor(max_workers=2) as pool:
        started = {name: pool.submit(run, name, form) for name, form in forms(folder).items()}
    return {name: future.result() for name, future in started.items()}


@pytest.mark.parametrize("name", NAMES)
def test_every_form_trains_two_steps(runs: dict[str, tuple[Path, int, str]], name: str) -> None:
    run_dir, code, output = runs[name]
    assert code == 0, output
    assert [row["step"] for row in metrics(run_dir)] == [0, 1, 2]
    assert (run_dir / "student" / "model.safetensors").exists()


def test_launcher_options_reach_the_launcher(runs: dict[str, tuple[Path, int, str]]) -> None:
    ranks = {name: 2 if "2 ranks on " in output else 1 for name, (_, _, output) in runs.items()}
    assert ranks == {name: 2 if name == "bash, with launcher options" else 1 for name in NAMES}


def test_all_forms_train_alike(runs: dict[str, tuple[Path, int, str]]) -> None:
    first, *others = (metrics(run_dir)[1:] for run_dir, _, _ in runs.values())
    for other in others:
        for tag in ("loss/total", "optimizer/gradient_norm"):
            assert [row[tag] for row in other] == pytest.approx([row[tag] for row in first], rel=1e-5)
