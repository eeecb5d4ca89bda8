"""launch/general.sh and task.sh are shell and Python at once; they choose Python, accelerator and launcher."""

from __future__ import annotations

import os
import py_compile
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.toys import REPOSITORY


@pytest.fixture(params=["general.sh", "task.sh"])
def script(request: pytest.FixtureRequest) -> Path:
    return REPOSITORY / "launch" / request.param


@pytest.fixture
def fake_tools(tmp_path: Path) -> Path:
    """A folder with a `deepspeed` that only prints what it was given, beside this Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    deepspeed = folder / "deepspeed"
    deepspeed.write_text('#!/bin/sh\nfor a; do echo "argument $a"; done; echo "accelerator ${DS_ACCELERATOR-unset}"\n')
    deepspeed.chmod(0o755)
    (folder / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (folder / "python").chmod(0o755)
    return folder


def launch(shell: str, script: Path, tools: Path, *arguments: str, **environment: str) -> list[str]:
    clean = {
        k: v for k, v in os.environ.items() if k not in ("DS_ACCELERATOR", "LOCAL_RANK", "HOSTFILE", "DEEPSPEED_ARGS")
    }
    variables = {**clean, **environment, "PATH": f"{tools}:{clean['PATH']}"}
    command = [shell, str(script), *arguments]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).splitlines()


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_shell_syntax_without_a_word(shell: str, script: Path) -> None:
    done = subprocess.run([shell, "-n", str(script)], capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""


def test_python_syntax(tmp_path: Path, script: Path) -> None:
    py_compile.compile(str(script), cfile=str(tmp_path / "compiled"), doraise=True)


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_hands_itself_to_the_launcher(shell: str, script: Path, fake_tools: Path) -> None:
    lines = launch(shell, script, fake_tools, "all", "--run.output_dir", "a b", DS_ACCELERATOR="cpu")
    arguments = [str(script), "all", "--run.output_dir", "a b"]
    assert lines == [*(f"argument {argument}" for argument in arguments), "accelerator cpu"]


def test_launcher_options_come_from_the_environment(script: Path, fake_tools: Path) -> None:
    lines = launch("sh", script, fake_tools, HOSTFILE="my hosts", DEEPSPEED_ARGS="--num_nodes 2  --master_port 1")
    options = ["--hostfile", "my hosts", "--num_nodes", "2", "--master_port", "1"]
    assert lines[:-1] == [f"argument {option}" for option in [*options, str(script)]]


@pytest.mark.parametrize(("gpus", "accelerator"), [("exit 0", "unset"), ("exit 9", "cpu")])
def test_accelerator_follows_nvidia_smi(gpus: str, accelerator: str, script: Path, fake_tools: Path) -> None:
    (fake_tools / "nvidia-smi").write_text(f"#!/bin/sh\n{gpus}\n")
    (fake_tools / "nvidia-smi").chmod(0o755)
    assert launch("sh", script, fake_tools)[-1] == f"accelerator {accelerator}"
    assert launch("sh", script, fake_tools, DS_ACCELERATOR="cuda")[-1] == "accelerator cuda"


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_help_and_rank_go_to_python_at_once(shell: str, script: Path, fake_tools: Path) -> None:
    action = ["all"] if script.name == "task.sh" else []
    help_text = launch(shell, script, fake_tools, *action, "--run.seed", "1", "--help")
    assert help_text[0] == "usage:" and f"launch/{script.name}" in help_text[1]
    lines = launch(shell, script, fake_tools, "--local_rank=0", *action, "--run.sed", "1", LOCAL_RANK="0")
    assert lines[0].startswith("error: ") and "did you mean --run.seed?" in lines[1]


def test_python_form_finds_the_library_from_anywhere(tmp_path: Path, script: Path) -> None:
    command = [sys.executable, str(script), "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage:")
