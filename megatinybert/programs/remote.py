"""What a run over pdsh needs on its other machines that DeepSpeed's launcher does not give: environment, and signals.

The launcher passes few variables on, and a signal by ending every process of those machines that looks like its own,
those of other runs too.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from megatinybert.runtime.rendezvous import LOST

# What a person may have set for a run.
_CARRIED = re.compile(
    "(CUDA|DS|GLOO|HF|KMP|MKL|NCCL|OMP|TOKENIZERS|TORCH|TORCHINDUCTOR|TRANSFORMERS|TRITON)_[A-Z0-9_]+"
)
# The launcher's own, and a secret that process tables would show.
_NOT_CARRIED = {"CUDA_VISIBLE_DEVICES", "DS_ENV_FILE", "HF_TOKEN"}
_PLAIN = re.compile(r"[\w@+=:,./ -]*")  # of characters that two shells and pdsh leave as they are
_SSH_FAILED = 255  # ssh's exit code where a machine cannot be reached, or no more; pdsh says which
_SECONDS_BETWEEN_LOOKS = 2.0
_SECONDS_AFTER_THE_FIRST = 30.0  # in which all end in whose ranks nothing is frozen
_SECONDS = 15  # that a machine has to answer


def carried(environment: Mapping[str, str]) -> list[str]:
    """The lines of a `.deepspeed_env`: what is carried of this environment, and then what a person's own files hold."""
    names = sorted(name for name in environment if _CARRIED.fullmatch(name) and name not in _NOT_CARRIED)
    lines = [f"{name}={environment[name]}" for name in names if _PLAIN.fullmatch(environment[name])]
    own = environment.get("DS_ENV_FILE", ".deepspeed_env")
    for folder in (Path.home(), Path()):  # as DeepSpeed does, which takes the last of several values
        if (folder / own).is_file():
            lines += [line for line in (folder / own).read_text(encoding="utf-8").splitlines() if "=" in line]
    return lines


def signal_ranks(hosts: Iterable[str], port: str, name: str, environment: Mapping[str, str]) -> bool:
    """Send a signal to the ranks of one run, whose launchers hand their exit codes on: whether any got it.

    port: the run's --master_port. name: such as TERM; after KILL the launchers are ended, too.
    """
    # Not the shells, pdsh and ssh that have its command among their words.
    launcher = f"^[^ ]*python[^ ]* -u -m deepspeed.launcher.launch .*--master_port={port} "
    command = f"pkill -{name} -P $(pgrep -d, -f '{launcher}') && echo told"
    if name == "KILL":
        command += f"; pkill -KILL -f '{launcher}'"
    words = ["pdsh", "-u", str(_SECONDS), "-w", ",".join(hosts), command]
    # Not in the run's own process group. Silent: on some machines nothing may run, and one may be lost.
    done = subprocess.run(
        words,
        env={**environment, "PDSH_RCMD_TYPE": "ssh"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        process_group=0,
        check=False,
    )
    return b"told" in done.stdout


def wait_for_launcher(process: subprocess.Popen[bytes], first_host: str) -> int | None:
    """Wait for the launcher of a run over pdsh: its exit code, LOST for that of ssh, or None where it has to be ended.

    It has where the first machine, which has rank 0, has ended, and another does not: pdsh would wait for it as long
    as a frozen rank stays there.
    """
    seen, alone = False, 0.0
    while alone < _SECONDS_AFTER_THE_FIRST:
        try:
            code = process.wait(_SECONDS_BETWEEN_LOOKS)
            return LOST if code == _SSH_FAILED else code
        except subprocess.TimeoutExpired:
            there = _is_connected(process.pid, first_host)
            seen = seen or there
            alone = alone + _SECONDS_BETWEEN_LOOKS if seen and not there else 0.0
    what = f"the machine of rank 0, {first_host}, has ended, and others have not {alone:,.0f} s later"
    print(f"error: {what}: their ranks are ended", file=sys.stderr, flush=True)
    return None


def _is_connected(launcher: int, host: str) -> bool:
    try:
        below = psutil.Process(launcher).children(recursive=True)
        return any(each.name() == "ssh" and host in each.cmdline() for each in below)
    except psutil.Error:  # something has ended meanwhile: one look too few
        return True
