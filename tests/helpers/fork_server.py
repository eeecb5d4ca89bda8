"""Python commands without the wait for torch: one server has imported the large packages and forks for each command.

`deepspeed launch/general.sh` starts three Pythons, one inside the other, and each imports torch, DeepSpeed and
Transformers. Where all three are forks of one server, what they run is what they would run anyway: the launcher, and
this library, which the server does not import.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import multiprocessing.process
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

LARGE = (
    *("numpy", "scipy.stats", "pydantic", "yaml", "safetensors.torch", "matplotlib.figure", "tqdm"),
    *("torch", "torch.utils.tensorboard", "tensorboard.program", "tensorboard.default", "deepspeed"),
    *("tokenizers", "transformers.models.bert.modeling_bert", "transformers.masking_utils"),
    *("transformers.models.auto.modeling_auto", "transformers.models.auto.tokenization_auto"),
)
REQUEST_BYTES = 1 << 20


def ask(address: str, python: str, argv: list[str]) -> int:
    """Have the server run `python ARGV` with this process's folder, environment and standard files: its exit code.

    python: what the new process takes for its interpreter.
    """
    request = json.dumps({"argv": argv, "cwd": os.getcwd(), "env": dict(os.environ), "python": python})
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(address)
        socket.send_fds(connection, [request.encode()], [0, 1, 2])
        answer = connection.recv(64)
    return int(answer) if answer else 1


def serve(address: str) -> None:
    """Import what is large, then answer requests until stdin is closed, by intent or because its owner has died."""
    del sys.path[0]  # this folder
    for name in LARGE:
        __import__(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the minders
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        listener.listen()
        while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _mind(connection)
            connection.close()


def _mind(connection: socket.socket) -> NoReturn:
    """Fork the process that runs the command, and send its exit code; end it where the asking process has gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    text, files, _, _ = socket.recv_fds(connection, REQUEST_BYTES, 3)
    process = os.fork()
    if process == 0:
        connection.close()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        _exit(_run(**json.loads(text)))
    for file in files:
        os.close(file)
    ready, _, _ = select.select([os.pidfd_open(process), connection], [], [])
    if connection in ready:
        os.kill(process, signal.SIGTERM)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    with contextlib.suppress(OSError):
        connection.send(str(code if code >= 0 else 128 - code).encode())
    os._exit(0)


def _run(argv: list[str], cwd: str, env: dict[str, str], python: str) -> int | str | None:
    """Do what `python ARGV` does: -m MODULE, -c CODE, - or FILE."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.executable = python
    multiprocessing.process.ORIGINAL_DIR = cwd  # type: ignore[attr-defined] # where spawned workers look for the program
    while argv[0] == "-u":
        sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr]
        argv = argv[1:]
    kind, rest = argv[0], argv[1:]
    paths = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]
    try:
        if kind == "-m":
            sys.path[:0] = [cwd, *paths]
            sys.argv = rest
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        elif kind in ("-c", "-"):
            sys.path[:0] = [cwd, *paths]
            sys.argv = [kind, *(rest[1:] if kind == "-c" else rest)]
            exec(compile(rest[0] if kind == "-c" else sys.stdin.read(), "<text>", "exec"), {"__name__": "__main__"})
        else:
            sys.path[:0] = [str(Path(kind).resolve().parent), *paths]
            sys.argv = argv
            runpy.run_path(kind, run_name="__main__")
    except SystemExit as end:
        return end.code
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _exit(code: int | str | None) -> NoReturn:
    """End as an interpreter does, but leave its memory to the system: to take all of torch apart takes a second."""
    if isinstance(code, str):
        print(code, file=sys.stderr)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


@contextlib.contextmanager
def server(folder: Path, environment: dict[str, str]) -> Iterator[Path]:
    """A running server in the folder `folder`: the path of a program that takes Python's arguments and asks it."""
    address, python = folder / "socket", folder / "forked-python"
    command = [sys.executable, __file__, "serve", address]
    process = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.PIPE)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {__file__} ask {address} "$0" "$@"\n')
    python.chmod(0o755)
    try:
        while not address.exists():
            assert process.poll() is None, "the server ended"
            time.sleep(0.05)
        yield python
    finally:
        process.communicate()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        raise SystemExit(ask(sys.argv[2], sys.argv[3], sys.argv[4:]))
