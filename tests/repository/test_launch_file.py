"""launch/general.sh and task.sh are shell and Python at once; they choose Python, accelerator and launcher."""

from __future__ import annotations

import os
import py_compile
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.toys import REPOSITORY, environment

GIVEN = "--quiet --master_port 1"


@pytest.fixture(params=["general.sh", "task.sh"])
def script(request: pytest.FixtureRequest) -> Path:
    return REPOSITORY / "launch" / request.param


@pytest.fixture
def fake_tools(tmp_path: Path) -> Path:
    """A folder with a `deepspeed` that only prints what it was given, beside a model "a b", "rows" and a text."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "config.json").write_text("{}")
    (tmp_path / "text.txt").write_text("A line of text.\n")
    (tmp_path / "rows").mkdir()
    for name in ("train.tsv", "dev.tsv"):
        (tmp_path / "rows" / name).write_text("sentence\tlabel\nfine\t1\n")
    deepspeed = folder / "deepspeed"
    deepspeed.write_text('#!/bin/sh\nfor a; do echo "argument $a"; done; echo "accelerator ${DS_ACCELERATOR-unset}"\n')
    deepspeed.chmod(0o755)
    # Another Python than the launcher's would lack the packages; the launcher is found on PATH.
    (folder / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (folder / "python").chmod(0o755)
    return folder


def launch(shell: str, script: Path, tools: Path, *arguments: str, **environment: str) -> list[str]:
    outside = ("DS_ACCELERATOR", "RANK", "LOCAL_RANK", "HOSTFILE", "DEEPSPEED_ARGS", "CUDA_VISIBLE_DEVICES")
    clean = {k: v for k, v in os.environ.items() if k not in outside}
    variables = {**clean, **environment, "PATH": f"{tools}:{clean['PATH']}"}
    command = [shell, str(script), *arguments]
    done = subprocess.run(command, cwd=tools.parent, env=variables, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).splitlines()


def needed(script: Path) -> list[str]:
    """A command line without mistakes, which names folders that are there."""
    if script.name == "task.sh":
        return [
            "teacher",
            "--task.name",
            "sst-2",
            "--task.data_dir",
            "rows",
            "--teacher.model",
            "a b",
            "--student.config",
            "4L-312",
        ]
    return ["--data.text", "text.txt", "--teacher.model", "a b"]


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_shell_syntax_without_a_word(shell: str, script: Path) -> None:
    done = subprocess.run([shell, "-n", str(script)], capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""


def test_python_syntax(tmp_path: Path, script: Path) -> None:
    py_compile.compile(str(script), cfile=str(tmp_path / "compiled"), doraise=True)


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_hands_itself_to_the_launcher(shell: str, script: Path, fake_tools: Path) -> None:
    lines = launch(shell, script, fake_tools, *needed(script), DS_ACCELERATOR="cpu", DEEPSPEED_ARGS=GIVEN)
    options = GIVEN.split()
    arguments = [*options, str(script), *needed(script)]
    assert lines[:-1] == [f"argument {argument}" for argument in arguments] + ["accelerator cpu"]
    assert lines[-1] == f"starting: deepspeed {GIVEN}, which loads PyTorch first"


def test_launcher_options_come_from_the_environment(tmp_path: Path, script: Path, fake_tools: Path) -> None:
    hosts = tmp_path / "my hosts"
    hosts.write_text("localhost slots=1\n")
    arguments = "-q --num_nodes 2  --master_port 1"
    lines = launch("sh", script, fake_tools, *needed(script), HOSTFILE=str(hosts), DEEPSPEED_ARGS=arguments)
    options = ["--hostfile", str(hosts), "-q", "--num_nodes", "2", "--master_port", "1"]
    assert lines[:-2] == [f"argument {option}" for option in [*options, str(script), *needed(script)]]


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_mistake_is_told_before_the_launcher_starts(shell: str, script: Path, fake_tools: Path) -> None:
    lines = launch(shell, script, fake_tools, *needed(script), "--run.sed", "1")
    assert lines[0] == "error: 1 problem in the configuration:" and "did you mean --run.seed?" in lines[1]
    assert len(lines) == 2
    [line] = launch(shell, script, fake_tools, *needed(script), "--teacher.model", "./none")
    assert line == "error: --teacher.model ./none: cannot read a model configuration there: no such folder"
    [line] = launch(shell, script, fake_tools, *needed(script), HOSTFILE="no_hosts")
    assert line == "error: the hostfile no_hosts is not there"


def test_without_words_a_program_says_what_it_needs_and_ends_with_code_2(script: Path) -> None:
    done = subprocess.run(["sh", str(script)], env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and ("usage:" in done.stderr) == (script.name == "task.sh")
    done = subprocess.run(["sh", str(script), "--help"], env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("usage:")


@pytest.mark.parametrize(("gpus", "accelerator"), [("exit 0", "unset"), ("exit 9", "cpu")])
def test_accelerator_follows_nvidia_smi(gpus: str, accelerator: str, script: Path, fake_tools: Path) -> None:
    (fake_tools / "nvidia-smi").write_text(f"#!/bin/sh\n{gpus}\n")
    (fake_tools / "nvidia-smi").chmod(0o755)
    assert launch("sh", script, fake_tools, *needed(script))[-2] == f"accelerator {accelerator}"
    assert launch("sh", script, fake_tools, *needed(script), DS_ACCELERATOR="cuda")[-2] == "accelerator cuda"


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
