"""What the DeepSpeed launcher is given: options, port, devices, environment."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from megatinybert.config.shipped import REPOSITORY
from megatinybert.runtime.rendezvous import DEVICES, free_port, lone_task

DEFAULT_HOSTFILE = Path("/job/hostfile")  # where DeepSpeed looks by itself
_VISIBLE = "CUDA_VISIBLE_DEVICES"
# A machine that falls silent would else leave pdsh waiting on ssh for ever.
_KEEP_ALIVE = "-o ServerAliveInterval=15 -o ServerAliveCountMax=4"


@dataclass(frozen=True)
class Launch:
    """options: of the launcher. environment: of it and so of the ranks. remote: it starts ranks on other machines, by
    pdsh. hosts: that the hostfile names. port: where the ranks meet; "" where the launcher chooses. restarts: it is not
    the DeepSpeed launcher, but `agent`, which starts ranks again.
    """

    options: list[str]
    environment: dict[str, str]
    remote: bool
    hosts: tuple[str, ...] = ()
    port: str = ""
    restarts: int = 0


def plan_launch(environment: Mapping[str, str]) -> Launch:
    """What a person asked for by HOSTFILE and DEEPSPEED_ARGS, and what they left open.

    Left open are the launcher's own messages (off), the port of a run on one machine (a free one), and the GPUs where
    CUDA_VISIBLE_DEVICES names them in a way that the launcher cannot read. Raises ValueError.
    """
    own = dict(environment)
    options = shlex.split(own.get("DEEPSPEED_ARGS", ""))
    if own.get("HOSTFILE"):
        options = ["--hostfile", own["HOSTFILE"], *options]
    asked = _read(options)
    alone = "" if asked.no_ssh else lone_task(own)
    if alone:
        raise ValueError(alone)
    hosts = _hosts(Path(asked.hostfile)) if asked.hostfile else _hosts(DEFAULT_HOSTFILE, may_lack=True)
    several = len(hosts) > 1 and asked.num_nodes != 1
    remote = (several or (asked.force_multi and bool(hosts))) and not asked.no_ssh
    chosen = []
    if not asked.quiet and asked.log_level is None:
        # At "error" a mistake of the user's ends with the whole command line.
        chosen += ["--log_level", "critical"]
    port = asked.master_port or ""
    if not port and (remote or not several):
        port = str(free_port())  # of this machine; by which the run's processes on others are known, too
        chosen += ["--master_port", port]
    _keep_devices(own, asked, hosts, remote)
    if not hosts:
        devices, options = _devices(own, asked, options)
        chosen += devices
    if remote and "ServerAliveInterval" not in own.get("PDSH_SSH_ARGS_APPEND", ""):
        own["PDSH_SSH_ARGS_APPEND"] = f"{own.get('PDSH_SSH_ARGS_APPEND', '')} {_KEEP_ALIVE}".strip()
    return Launch([*chosen, *options], own, remote, hosts, port)


def _keep_devices(own: dict[str, str], asked: argparse.Namespace, hosts: Sequence[str], remote: bool) -> None:
    """Have the ranks see the GPUs of CUDA_VISIBLE_DEVICES, which the launcher replaces where there is a hostfile.

    Raises ValueError over pdsh, where it would have to be known of each machine.
    """
    visible = own.get(_VISIBLE)
    if not hosts or visible is None or asked.include or asked.exclude or own.get("DS_ACCELERATOR") == "cpu":
        return
    if visible.strip() in ("", "-1"):  # none
        own["DS_ACCELERATOR"] = "cpu"
    elif not remote:
        own[DEVICES] = visible
    elif visible != ",".join(map(str, range(len(visible.split(","))))):
        example = "@".join(f"{host}:{visible}" for host in hosts[:2])
        raise ValueError(
            f"{_VISIBLE}={visible}: over pdsh, the launcher would take the first GPUs of each machine; name them by "
            f"DEEPSPEED_ARGS='--include {example}', or unset {_VISIBLE}"
        )


def plan_agent(environment: Mapping[str, str], restarts: int, work: str) -> Launch:
    """The same where the ranks are started by torch's elastic agent (`agent`), which can start them again.

    work: where the function that they run is, as an import path. Raises ValueError.
    """
    own = dict(environment)
    options = shlex.split(own.get("DEEPSPEED_ARGS", ""))
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--num_gpus", "--num_accelerators", default="0")
    asked, others = parser.parse_known_args(options)
    several = f"HOSTFILE={own['HOSTFILE']}" if own.get("HOSTFILE") else ""
    if not several and len(_hosts(DEFAULT_HOSTFILE, may_lack=True)) > 1:
        several = str(DEFAULT_HOSTFILE)
    if several:
        raise ValueError(
            f"--run.restarts {restarts} starts ranks on this machine alone, but {several} names others: there, start "
            f"torchrun --max-restarts {restarts} on each machine instead (docs/cluster.md), or take --run.restarts 0"
        )
    if others:
        raise ValueError(
            f"--run.restarts {restarts} starts the ranks by torch's elastic agent, which knows no {' '.join(others)} "
            "of DEEPSPEED_ARGS, but --num_accelerators; CUDA_VISIBLE_DEVICES chooses GPUs"
        )
    alone = lone_task(own)
    if alone:
        raise ValueError(alone)
    own["PYTHONPATH"] = os.pathsep.join(filter(None, [str(REPOSITORY), own.get("PYTHONPATH")]))
    own["PYTHONUNBUFFERED"] = "1"
    return Launch(
        ["-m", "megatinybert.programs.agent", str(restarts), asked.num_gpus, work], own, remote=False, restarts=restarts
    )


def choose_gpus(visible: str, uuids: Sequence[str]) -> list[int]:
    """The numbers of the GPUs that CUDA_VISIBLE_DEVICES names. uuids: of this machine's, in the order of the bus.

    As for CUDA, what cannot be a number, such as -1, hides all from there on; what is merely not there is refused.
    """
    chosen = []
    for name in map(str.strip, visible.split(",")):
        if name in ("", "-1", "NoDevFiles"):
            break
        if name.startswith("MIG-"):
            raise ValueError(
                f"{_VISIBLE}={visible}: the DeepSpeed launcher knows whole GPUs only. On a part of one, run a single "
                "process without it: python -m megatinybert.general (or megatinybert.task) with the same options"
            )
        found = [number for number, uuid in enumerate(uuids) if name == str(number) or _names(name, uuid)]
        if len(found) != 1:
            there = ", ".join(f"{number} ({uuid})" for number, uuid in enumerate(uuids))
            raise ValueError(f"{_VISIBLE}={visible}: no GPU {name} here; there are: {there}")
        chosen += found
    return chosen


def _names(name: str, uuid: str) -> bool:
    return name.startswith("GPU-") and uuid.startswith(name)


def _devices(own: dict[str, str], asked: argparse.Namespace, options: list[str]) -> tuple[list[str], list[str]]:
    """Options that choose the GPUs of CUDA_VISIBLE_DEVICES, which the launcher would misread, and those left over."""
    visible = own.get(_VISIBLE)
    if visible is None or asked.include or asked.exclude:
        return [], options
    uuids = [] if own.get("DS_ACCELERATOR") == "cpu" else _gpu_uuids()
    chosen = choose_gpus(visible, uuids) if uuids else []
    del own[_VISIBLE]
    if not chosen:
        own["DS_ACCELERATOR"] = "cpu"
        return [], options
    if "GPU-" in visible:
        own["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # the order that they were looked up in
    if asked.num_gpus is not None:
        if asked.num_gpus > len(chosen):
            raise ValueError(f"--num_accelerators {asked.num_gpus}, but {_VISIBLE}={visible} has {len(chosen)}")
        chosen = chosen[: asked.num_gpus]
        counts = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        counts.add_argument("--num_gpus", "--num_accelerators")
        _, options = counts.parse_known_args(options)
    return ["--include", f"localhost:{','.join(map(str, chosen))}"], options


def _gpu_uuids() -> list[str]:
    command = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return listed.split()


def _read(options: list[str]) -> argparse.Namespace:
    """Those of the launcher's options that decide the others."""
    parser = argparse.ArgumentParser(prog="DEEPSPEED_ARGS", add_help=False, allow_abbrev=False)
    parser.add_argument("--hostfile", "-H")
    parser.add_argument("--include", "-i")
    parser.add_argument("--exclude", "-e")
    parser.add_argument("--num_gpus", "--num_accelerators", type=int)
    parser.add_argument("--num_nodes", type=int)
    parser.add_argument("--master_port")
    parser.add_argument("--log_level")
    parser.add_argument("--quiet", "-q", action="store_true")
    parser.add_argument("--no_ssh", action="store_true")
    parser.add_argument("--force_multi", action="store_true")
    return parser.parse_known_args(options)[0]


def _hosts(hostfile: Path, may_lack: bool = False) -> tuple[str, ...]:
    """The machines that a hostfile names. Raises ValueError where it is missing: the launcher would train without."""
    if not hostfile.is_file():
        if may_lack:
            return ()
        raise ValueError(f"the hostfile {hostfile} is not there")
    lines = (line.split("#")[0].strip() for line in hostfile.read_text(encoding="utf-8").splitlines())
    return tuple(line.split()[0] for line in lines if line)
