"""config.yaml, from which a run can be repeated."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from megatinybert import __version__
from megatinybert.config.deepspeed import DeepSpeedSettings
from megatinybert.config.load import dump_yaml
from megatinybert.config.schema import ProgramConfig
from megatinybert.runtime.counts import counted
from megatinybert.runtime.dist import World
from megatinybert.runtime.files import write_atomically
from megatinybert.runtime.hardware import hardware_name
from megatinybert.training.choices import Choices

HELD_OUT = "held_out_windows"  # of the environment: how many there are, which text may make fewer than asked for
PACKAGES = ("torch", "deepspeed", "transformers", "tokenizers", "numpy")


def write_config(
    folder: Path,
    config: ProgramConfig,
    settings: DeepSpeedSettings,
    choices: Choices | None,
    world: World,
    windows: int | None = None,
) -> None:
    """Write folder/config.yaml: a recipe that repeats the run, and under `environment` what it ran on.

    windows: held-out ones that it is measured on.
    """
    environment = {
        "megatinybert": __version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
        "git": git_hash(),
        "device": world.device.type,
        "hardware": hardware_name(world.device),
        "world_size": world.size,
        **({"kernels": choices.facts} if choices else {}),
        **({HELD_OUT: windows} if windows else {}),
        "deepspeed_config": settings.raw,
    }
    text = dump_yaml(config) + yaml.safe_dump({"environment": environment}, sort_keys=False, allow_unicode=True)
    write_atomically(folder / "config.yaml", text)


def ran_on(environment: Mapping[str, Any]) -> dict[str, str]:
    """The rows of a model card on machine and software. environment: of config.yaml; {} where it says nothing."""
    if not environment:
        return {}
    ranks, names = environment["world_size"], ("megatinybert", "torch", "deepspeed", "transformers")
    commit = f" (commit {environment['git']})" if environment["git"] else ""
    versions = [f"{name} {environment[name]}{commit if name == names[0] else ''}" for name in names]
    return {
        "hardware": f"{counted(ranks, 'rank')}{', each' if ranks > 1 else ''} on {environment['hardware']}",
        "software": ", ".join(versions),
    }


def git_hash() -> str | None:
    """Commit of the working tree this code is in, with "+changes" where files of it differ; None outside git.

    Files that the repository does not know count in the package alone: elsewhere they are data, or a student's shape.
    """
    here = Path(__file__).parents[1]

    def git(*arguments: str) -> str:
        # Of another user's repository git tells nothing unless told that it is safe; we run its code anyway.
        command = ["git", "-c", "safe.directory=*", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", __file__)  # installed beside somebody else's repository is not in it
        differs = git("status", "--porcelain", "--untracked-files=no") or git("status", "--porcelain", "--", ".")
        return git("rev-parse", "HEAD") + ("+changes" if differs else "")
    except (OSError, subprocess.CalledProcessError):
        return None
