"""Python processes that need not import PyTorch and Transformers again.

A server imports what they share of other packages, nothing of this repository, and forks for each command; every
command so has a process of its own, with its own environment, working directory, output and exit code.

    python -S tests/scripts/warm.py SOCKET [-m MODULE | -c TEXT | FILE] [ARGUMENT ...]    as `python ...` would

Where a variable that is read as Python or PyTorch starts is not as the server has it, this becomes that very command.
See tests/helpers/warm_python.py. Not for processes that a test kills: only the one that asks would die at once.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import selectors
import signal
import socket
import struct
import sys
import threading
import traceback
import types
from types import FrameType
from typing import Any, NoReturn

# Not DeepSpeed, which chooses the accelerator as it is imported.
SHARED = (
    "matplotlib.figure",
    "scipy.optimize",
    "torch._inductor.compile_fx",  # for what DeepSpeed decorates with torch.compile
    "torch.distributed.elastic.multiprocessing",
    "torch.distributed.tensor",
    "torch.utils.tensorboard",
    "transformers.modeling_utils",
    "transformers.models.bert.modeling_bert",
)
_ANSWER = struct.Struct("!i")
_HANDED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
_READ_AT_THE_START = ("CUDA", "HF_", "KMP", "LANG", "LC_", "LD_", "MKL", "OMP", "PYTHON", "TOKENIZERS", "TORCH")
_MAY_DIFFER = ("PYTHONPATH", "TORCHELASTIC", "TORCHINDUCTOR_CACHE_DIR", "TORCH_CPP_LOG_LEVEL")


def ask(path: str, words: list[str]) -> NoReturn:
    """Have the server at the socket `path` run a command, and end as that does."""
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        request = {"words": words, "cwd": os.getcwd(), "environment": dict(os.environ)}
        text = json.dumps(request).encode()
        # A signal that comes while the process starts is handed on as soon as that is known.
        signal.pthread_sigmask(signal.SIG_BLOCK, _HANDED_ON)
        socket.send_fds(server, [_ANSWER.pack(len(text))], [0, 1, 2])
        server.sendall(text)
        process = _receive(server)
        if not process:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDED_ON)
            os.execv(sys.executable, [sys.executable, *words])

        def hand_on(number: int, frame: FrameType | None) -> None:
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(process, number)

        for number in _HANDED_ON:
            signal.signal(number, hand_on)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDED_ON)
        code = _receive(server)
    if code < 0:
        with contextlib.suppress(OSError):  # SIGKILL has no handler
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def serve(path: str) -> NoReturn:
    """Fork for whoever asks at the socket `path`, until standard input ends."""
    commands: dict[int, socket.socket] = {}  # who waits for each process
    ended, of_signals = socket.socketpair()
    of_signals.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(of_signals.fileno(), warn_on_full_buffer=False)
    with socket.socket(socket.AF_UNIX) as listening, selectors.DefaultSelector() as selector:
        listening.bind(f"{path}.new")
        listening.listen(64)
        os.rename(f"{path}.new", path)  # there once it listens
        for each in (listening, ended, sys.stdin):
            selector.register(each, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is sys.stdin:
                    for process in commands:
                        os.kill(process, signal.SIGKILL)
                    os._exit(0)  # without taking apart what was imported
                if key.fileobj is listening:
                    asking, _ = listening.accept()
                    process = _start(asking)
                    if process:
                        commands[process] = asking
                        selector.register(asking, selectors.EVENT_READ, process)
                elif key.fileobj is ended:
                    ended.recv(4096)
                    _tell_ended(commands, selector)
                elif key.data in commands:  # who asked was killed
                    selector.unregister(key.fileobj)
                    os.kill(key.data, signal.SIGKILL)


def _tell_ended(commands: dict[int, socket.socket], selector: selectors.BaseSelector) -> None:
    with contextlib.suppress(ChildProcessError):  # there is none
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            asking = commands.pop(found[0])
            with contextlib.suppress(KeyError, OSError):  # who asked was killed
                selector.unregister(asking)
                asking.sendall(_ANSWER.pack(os.waitstatus_to_exitcode(found[1])))
            asking.close()


def _start(asking: socket.socket) -> int:
    """Fork for a request: the process; 0 where this server cannot do what it asks."""
    size, files, _, _ = socket.recv_fds(asking, _ANSWER.size, 3)
    text = b""
    while len(text) < _ANSWER.unpack(size)[0]:
        text += asking.recv(1 << 16)
    request = json.loads(text)
    process = 0
    if _settings(request["environment"]) == _settings(dict(os.environ)):
        assert threading.active_count() == 1 and len(os.listdir("/proc/self/task")) == 1, "threads do not fork"
        process = os.fork()
        if not process:
            _become(request, files)
    for file in files:
        os.close(file)
    asking.sendall(_ANSWER.pack(process))
    if not process:
        asking.close()
    return process


def _settings(environment: dict[str, str]) -> dict[str, str]:
    names = (name for name in environment if name.startswith(_READ_AT_THE_START) and not name.startswith(_MAY_DIFFER))
    return {name: environment[name] for name in names}


def _become(request: dict[str, Any], files: list[int]) -> NoReturn:
    """Be the process that a request asks for."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["environment"])
        _forget_the_server()
        _run(request["words"])
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if not isinstance(end.code, int | None):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        import atexit

        threading._shutdown()  # type: ignore[attr-defined]  # as at the end of any Python: waits for threads
        atexit._run_exitfuncs()
        with contextlib.suppress(OSError):  # nobody reads any more
            sys.stdout.flush()
        os._exit(code & 0xFF)


def _forget_the_server() -> None:
    """What modules remember of the process that imported them."""
    import multiprocessing.process
    import random
    import tempfile

    import numpy

    multiprocessing.process.ORIGINAL_DIR = os.getcwd()  # type: ignore[attr-defined]
    tempfile.tempdir = None
    random.seed()
    numpy.random.seed()


def _run(words: list[str]) -> None:
    import runpy

    path = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    own = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [*path, *(each for each in sys.path if os.path.abspath(each) != own)]
    kind, *rest = words
    if kind == "-m":
        sys.path.insert(0, os.getcwd())
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.path.insert(0, "")
        sys.argv = ["-c", *rest[1:]]
        sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(rest[0], "<string>", "exec"), sys.modules["__main__"].__dict__)
    else:
        sys.path.insert(0, os.path.dirname(os.path.realpath(kind)))
        sys.argv = words
        runpy.run_path(kind, run_name="__main__")


def _receive(server: socket.socket) -> int:
    found = server.recv(_ANSWER.size, socket.MSG_WAITALL)
    if len(found) < _ANSWER.size:
        sys.exit("error: the server of tests/scripts/warm.py has ended")
    return int(_ANSWER.unpack(found)[0])


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        for name in SHARED:
            importlib.import_module(name)
        serve(sys.argv[2])
    else:
        ask(sys.argv[1], sys.argv[2:])
