"""Commands of shell scripts without running them: a shell notes what it would start, the programs read their words.

The shell is a real one, so that quoting, variables, here-documents and patterns are the shell's; only the programs that
stand first on PATH are stand-ins, each of which adds a `Call` to the file `calls` of the working directory. There is
nothing else on PATH but TOOLS: a command of another kind ends the script, and so the test.
"""

from __future__ import annotations

import ast
import importlib
import runpy
import shutil
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pytest
from deepspeed.launcher import runner
from tensorboard.program import TensorBoard
from torch.distributed import run as torchrun

from megatinybert.config import asked, load
from megatinybert.config.deepspeed import find_ds_config, load_ds_config
from megatinybert.config.load import GeneralConfig, dump_yaml
from megatinybert.config.schema import ProgramConfig
from megatinybert.training.size import draft
from tests.helpers.toys import REPOSITORY

TOOLS = ("sh", "bash", "cat", "dirname", "head", "mkdir", "sed")
NOTED = ("deepspeed", "make", "python", "python3", "tensorboard", "torchrun")
# Python starts the launcher where launch/start.sh asks for it; how, tests/programs/test_launch_options.py looks at.
LAUNCHED = (
    'if [ -n "${MEGATINYBERT_LAUNCH-}" ]; then\n'
    'exec deepspeed ${HOSTFILE:+--hostfile "$HOSTFILE"} ${DEEPSPEED_ARGS-} "$@"\nfi'
)
NOTE = 'printf "%s\\0" "${0##*/}" $# "$@" >> calls'
PROGRAM_FOLDERS = ("benchmarks", "data_prep", "launch", "megatinybert")


class Call(NamedTuple):
    program: str
    words: list[str]


def write_tool(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def write_noting_tools(folder: Path) -> None:
    """The programs for the PATH of a script that is only read. A job of Slurm's has two nodes."""
    for name in TOOLS:
        (folder / name).symlink_to(shutil.which(name) or name)
    for name in NOTED:
        write_tool(folder / name, f"{LAUNCHED}\n{NOTE}" if name == "python" else NOTE)
    write_tool(folder / "scontrol", "echo node-1; echo node-2")
    skip_options = "while case $1 in -*) ;; *) false ;; esac; do shift; done"
    write_tool(folder / "srun", f'{skip_options}; for SLURM_NODEID in 0 1; do export SLURM_NODEID; "$@"; done')
    write_tool(folder / "sbatch", 'exec sh "$@"')


def noted_calls(folder: Path) -> list[Call]:
    """What the stand-ins noted in `folder`, which then begin anew."""
    file = folder / "calls"
    words = file.read_text().split("\0")[:-1] if file.exists() else []
    file.unlink(missing_ok=True)
    calls = []
    while words:
        program, count = words[0], int(words[1])
        calls.append(Call(program, words[2 : 2 + count]))
        words = words[2 + count :]
    return calls


def check_call(call: Call) -> None:
    """Have a program read its words, from the working directory, as if it were started there."""
    program, words = call
    if program == "deepspeed":
        launch = read_launch(call)
        script = Path(launch.user_script)
        assert (REPOSITORY / script).is_file() and script.parent == Path("launch"), script
        _check_run(accepted_options(f"megatinybert/{script.stem}.py", launch.user_args), _ranks(launch))
    elif program in ("python", "python3") and words[:1] == ["-m"]:
        options = accepted_options(words[1].replace(".", "/") + ".py", words[2:])
        if isinstance(options, ProgramConfig):
            _check_run(options, ranks=1)
    elif program in ("python", "python3") and words[:1] == ["-c"] and len(words) == 2:
        check_python(words[1])
    elif program in ("python", "python3") and words and words[0].endswith(".py"):
        accepted_options(words[0], words[1:])
    elif program == "torchrun":
        run = torchrun.parse_args(words)
        assert run.module or (REPOSITORY / run.training_script).is_file(), run.training_script
        name = run.training_script.replace(".", "/") if run.module else f"megatinybert/{Path(run.training_script).stem}"
        _check_run(accepted_options(f"{name}.py", run.training_script_args), int(run.nproc_per_node))
    elif program == "tensorboard":
        assert TensorBoard().configure(("tensorboard", *words))
    elif program == "make":
        subprocess.run(["make", "-C", REPOSITORY, "-n", *words], check=True, capture_output=True)
    else:
        raise AssertionError(f"a command of a kind that no test knows: {program} {words}")


def read_launch(call: Call) -> Any:
    """The words of a launcher's call, by the launcher's own parser."""
    assert call.program == "deepspeed"
    return runner.parse_args(call.words)


def accepted_options(script: str, words: Sequence[str]) -> Any:
    """The options that a program of the repository reads from its words, before it does anything with them.

    It runs in this process as `python SCRIPT WORDS` would, up to the end of `load_options`, or of `parse_args` where it
    has that alone; files that are named need not be there. What the two refuse is raised, or printed with SystemExit,
    as the program would have it.
    """
    assert Path(script).parts[0] in PROGRAM_FOLDERS, script
    read = load.load_options
    with pytest.MonkeyPatch.context() as patch:
        reader = _then_stop(lambda argv, program, *_: read(argv, program))
        for module in (load, asked):  # which others import it from, and which has done so already
            patch.setattr(module, "load_options", reader)
        patch.setattr(ArgumentParser, "parse_args", _then_stop(ArgumentParser.parse_args))
        patch.setattr(sys, "argv", [script, *words])
        patch.setattr(sys, "path", [*sys.path])
        patch.setenv("TOKENIZERS_PARALLELISM", "false")  # as some of them set it
        with pytest.raises(_Accepted) as stopped:
            runpy.run_path(str(REPOSITORY / script), run_name="__main__")
    return stopped.value.options


def check_python(text: str) -> None:
    """Compile a program, and import what it imports."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module or "")
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"


class _Accepted(BaseException):  # no program's `except Exception` is for it
    def __init__(self, options: object) -> None:
        self.options = options


def _then_stop(read: Callable[..., object]) -> Callable[..., NoReturn]:
    def read_and_stop(*arguments: Any, **more: Any) -> NoReturn:
        raise _Accepted(read(*arguments, **more))

    return read_and_stop


def _ranks(launch: Any) -> int:
    hosts = runner.fetch_hostfile(launch.hostfile)
    return sum(hosts.values()) if hosts else max(launch.num_gpus, 1)


def _check_run(config: ProgramConfig, ranks: int) -> None:
    """Find and read the DeepSpeed file, and leave the recipe that a run leaves, for later commands to name."""
    stage = config.auto_stage if isinstance(config, GeneralConfig) else 0
    file = f"zero{stage}" if config.deepspeed == "auto" else config.deepspeed
    find_ds_config(file)
    if isinstance(config, GeneralConfig):
        load_ds_config(file, draft(config, ranks), ranks)
    output = Path(config.run.output_dir)
    assert not output.is_absolute(), output
    output.mkdir(parents=True, exist_ok=True)
    (output / "config.yaml").write_text(dump_yaml(config))
