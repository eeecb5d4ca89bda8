"""Whether all ranks run the same: options, code and versions before anything is opened, models and data once it is.

Ranks that differ train along in silence, or wait for one another: another number of steps, say, is another number of
collectives.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from megatinybert.config.deepspeed import find_ds_config
from megatinybert.config.general import GeneralConfig
from megatinybert.config.task import TaskConfig
from megatinybert.runtime.dist import World
from megatinybert.runtime.meeting import name_ranks
from megatinybert.training.record import PACKAGES, git_hash

_CLOCKS = 5.0  # seconds that the machines' clocks may differ by, before anyone is told
_SHOWN = 200  # characters of a value


def check_same_program(config: GeneralConfig | TaskConfig, world: World, action: str = "") -> None:
    """Refuse, on all ranks, to run where they have other options, DeepSpeed files, versions or code.

    Clocks and commits that differ are told as a warning. action: of a task. Every rank calls it, before anything else
    that is collective. Raises ValueError.
    """
    if world.size == 1:
        return
    own = {"action": action, **_flat(config.model_dump(mode="json")), **_ds_files(config), **_versions()}
    # A commit that differs in other files is no other program.
    _refuse(world.gather((socket.gethostname(), own)), world)
    told: list[tuple[str, dict[str, Any]]] = world.gather((socket.gethostname(), {"git commit": git_hash()}))
    clocks: list[float] = world.gather(time.time())  # of one moment: they have just met
    for line in differences(told):
        world.say(f"warning: {line}")
    if max(clocks) - min(clocks) > _CLOCKS:
        early, late = (told[clocks.index(found(clocks))][0] for found in (min, max))
        world.say(f"warning: the clock of {late} is {max(clocks) - min(clocks):,.0f} s ahead of that of {early}")


def check_same_facts(facts: Mapping[str, Any], world: World) -> None:
    """The same for what decides the result of a run, checksums of models and data among it (`ready.facts_of`)."""
    if world.size > 1:
        _refuse(world.gather((socket.gethostname(), dict(facts))), world)


def differences(told: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """A line for each thing in which ranks differ, with all values. told: (host, {thing: value}) of each rank."""
    everything = [key for _, things in told for key in things]
    lines = []
    for key in dict.fromkeys(everything):
        ranks: dict[str, list[int]] = {}
        for rank, (_, things) in enumerate(told):
            ranks.setdefault(json.dumps(things.get(key), sort_keys=True), []).append(rank)
        if len(ranks) > 1:
            hosts = [host for host, _ in told]
            lines.append(f"{key}: " + "; ".join(f"{_shown(v)} on {name_ranks(r, hosts)}" for v, r in ranks.items()))
    return lines


def _refuse(told: Sequence[tuple[str, Mapping[str, Any]]], world: World) -> None:
    lines = differences(told)
    if not lines:
        return
    text = "\n  ".join(["the ranks do not run the same, and all have to:", *lines])
    hosts = [host for host, _ in told]
    others = [rank for rank, (_, things) in enumerate(told) if things != told[0][1]]
    first = next((rank for rank in others if hosts[rank] == hosts[world.rank]), None)
    if world.rank == first:  # in the log of its machine, where nobody may look for what rank 0 says
        print(f"error on {name_ranks([first], hosts)}: {text}", file=sys.stderr)
    world.refuse([text])


def _shown(value: str) -> str:
    """value: as JSON."""
    text = "none" if value == "null" else value.strip('"')
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"run.seed": 0, ...} of nested mappings."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat


def _ds_files(config: GeneralConfig | TaskConfig) -> dict[str, Any]:
    """What the files behind --deepspeed and --teacher.deepspeed say."""
    of_teacher = config.teacher.deepspeed if isinstance(config, GeneralConfig) else None
    names = {"DeepSpeed file": config.deepspeed, "teacher's DeepSpeed file": of_teacher}
    return {key: value for what, name in names.items() if name for key, value in _ds_file(name, what).items()}


def _ds_file(name: str, what: str) -> dict[str, Any]:
    """The content of one of them, called `what`; where it cannot be read, which the run refuses later, why."""
    if name == "auto":
        return {}
    try:
        read = json.loads(find_ds_config(name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        read = {"file": str(error)}
    return _flat(read, f"{what}: ") if isinstance(read, dict) else {what: read}


def _versions() -> dict[str, str]:
    return {
        "code of megatinybert (SHA-256 of its files)": code_hash(Path(__file__).parents[1]),
        "version of Python": platform.python_version(),
        **{f"version of {package}": importlib.metadata.version(package) for package in PACKAGES},
    }


def code_hash(folder: Path) -> str:
    """A short hash of a package's files, by name and content, without what Python compiles of them."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder)} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:16]
