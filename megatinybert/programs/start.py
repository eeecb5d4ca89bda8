"""From command line to every rank, and exit codes."""

from __future__ import annotations

import atexit
import os
import pkgutil
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from megatinybert.config.hub import NotInCache
from megatinybert.config.schema import ConfigError
from megatinybert.programs.launcher import STARTS, STOPPED, launch
from megatinybert.runtime.findings import refusal
from megatinybert.runtime.output import outlive_readers
from megatinybert.runtime.rendezvous import AGENT, HALTED, ranks_here
from megatinybert.runtime.versions import check_versions
from megatinybert.training.lock import HELD_BY


def run_program(read: Callable[[list[str], bool], Any], work: str, finished: str = "") -> None:
    """Read the command line and do the work, or start the launcher that starts the ranks that do it.

    Exit code 2 for a user's mistake, 1 for a run that had to stop, launcher.STOPPED (75, EX_TEMPFAIL) for one that was
    stopped early and continues by the same command.

    read: (arguments, whether to look at the paths that they name) to configuration; it answers --help and
    --print-config. work: where the function of (configuration, World) is, as an import path, so that nothing heavy is
    imported before the command line is read. finished: likewise, of what says what to print
    in place of the work that a configuration asks for, where nothing of it is left to do; None where something is.
    """
    outlive_readers()
    # Until the training loop has its own answer to them, what a scheduler or a closed terminal sends is as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as it is under nohup
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    try:
        _run(read, work, finished)
    except KeyboardInterrupt as interrupt:
        # The launcher sends SIGTERM to all ranks once the first has ended, and what sent this signal may send it twice.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        if _speaks_for_machine():
            print(f"\n{str(interrupt) or 'stopped; the same command starts or continues the run'}", file=sys.stderr)
        _exit(_stopped())  # peers and threads may wait for this rank


def _read(read: Callable[[list[str], bool], Any]) -> Any:
    """The configuration. Ends the process, with exit code 2, where the command line or the installation is wrong."""
    try:
        config = read(sys.argv[1:], _looks())
    except (ConfigError, NotInCache) as error:
        if _speaks_for_machine():
            _tell_error(str(error))
        sys.exit(2)
    unusable = [finding.text for finding in check_versions() if finding.level == "fail"]
    if unusable:
        _tell_error(refusal(unusable))
        sys.exit(2)
    return config


def _run(read: Callable[[list[str], bool], Any], work: str, finished: str) -> None:
    config = _read(read)
    if finished and _looks() and (end := pkgutil.resolve_name(finished)(config)):
        if os.environ.get("RANK", "0") == "0":
            print(end)
        return
    # Each lost connection is a page of C++ to torch; what matters of it is said by the exceptions. Before the launcher,
    # whose own processes inherit it.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if os.environ.pop(STARTS, ""):
        sys.exit(launch(sys.argv, _restarts(config), work))

    if os.environ.get("RANK", "0") == "0":
        if _restarts(config) and not {AGENT, "TORCHELASTIC_RUN_ID"} & os.environ.keys():
            say("warning: --run.restarts has no effect here: sh launch/... and torchrun alone start ranks again")
        say("loading PyTorch and DeepSpeed")

    from megatinybert.runtime import dist

    try:
        world = dist.start()  # chooses the accelerator, so it comes before whatever imports DeepSpeed
    except ValueError as error:
        _tell_error(str(error))
        sys.exit(2)

    from megatinybert.programs.distil import silence_transformers
    from megatinybert.training.finite import NonFiniteLoss
    from megatinybert.training.stop import Stopped

    silence_transformers()
    code = 0
    try:
        pkgutil.resolve_name(work)(config, world)
    except (ValueError, OSError, NonFiniteLoss, Stopped) as error:
        stopped = isinstance(error, Stopped)
        if stopped:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the launcher sends it to all ranks once the first has ended
            world.say(str(error))
        elif world.is_main or not dist.is_raised_by_all(error):
            _tell_error(str(error))
        code = _stopped() if stopped else _halted() if isinstance(error, NonFiniteLoss) else 2
        if world.size > 1:
            # Ranks end one after the other, and gloo may abort in a process group that a peer has left, which would
            # take the exit code's place.
            _exit(code)
    except Exception as error:
        if world.size == 1:
            raise
        if world.watch and dist.is_of_lost_peer(error):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # which the launcher sends where the lost one was its own
            world.watch.explain(error)
        # To leave the process group waits, under NCCL, for peers that do not know, so the traceback would come late.
        traceback.print_exc()
        _exit(1)
    finally:
        dist.stop()
    if code or AGENT not in os.environ:  # which waits for what a rank without a fault returns
        atexit._run_exitfuncs()  # such as what ends the processes that compiled
        _exit(code)


def _exit(code: int) -> NoReturn:
    """End this process at once.

    Before it ends by itself, Python takes apart what was imported: with PyTorch a second of work, and half a minute
    where others compute on the machine, for which nobody knows what the run still waits.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _restarts(config: Any) -> int:
    """config: as `read` gives it: a configuration, or an action and one."""
    return int((config[-1] if isinstance(config, tuple) else config).run.restarts)


def _stopped() -> int:
    """Exit code of a rank that was asked to stop. torchrun would start it again after any code but 0."""
    again = os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0" and AGENT not in os.environ
    return 0 if again else STOPPED


def _halted() -> int:
    """Exit code of a run that had to stop, and that would have to again."""
    return HALTED if AGENT in os.environ else 1


def _looks() -> bool:
    """Whether this process looks at paths, files and folders before it loads anything heavy: not a rank whose launcher
    has looked (`launch`), nor one of several machines. These may see different files, and say so together once their
    ranks have met.
    """
    on_one_machine = int(os.environ.get("WORLD_SIZE", "1")) == (ranks_here(os.environ) or 1)
    return on_one_machine and not {"HOSTFILE", HELD_BY} & os.environ.keys()


def _speaks_for_machine() -> bool:
    """Of the ranks of a machine, which have the same command, one tells what they all find in it."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def say(text: str) -> None:
    """Tell on stderr what is being done, before it is."""
    print(text, file=sys.stderr, flush=True)


def print_result(result: Callable[[], str]) -> int:
    """Print what `result` returns: exit code 0; or, where it raises OSError or ValueError, what that says: 2. 130 after
    Ctrl-C.
    """
    try:
        print(result())
    except KeyboardInterrupt:
        say("\nstopped; the same command starts anew")
        return 130
    except (OSError, ValueError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    return 0


def _tell_error(text: str) -> None:
    """Of this rank, on its own stderr: before the ranks have met nobody knows what the others say."""
    rank = os.environ.get("RANK", "0")
    whose = "" if rank == "0" else f" on rank {rank} ({socket.gethostname()})"
    print(f"error{whose}: {text}", file=sys.stderr)
