"""Starts the ranks of a run by the DeepSpeed launcher, and ends them.

The launcher is two processes: `deepspeed` starts `deepspeed.launcher.launch`, which starts the ranks. Neither passes a
signal on in a way that leaves a rank time to save. So both run in a process group of their own, out of the terminal's
reach, and this process tells the ranks themselves to stop.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from types import FrameType

import psutil  # type: ignore[import-untyped]

from megatinybert.programs.launch_options import Launch, plan_agent, plan_launch
from megatinybert.programs.remote import carried, signal_ranks, wait_for_launcher
from megatinybert.runtime.counts import counted
from megatinybert.runtime.rendezvous import LOST
from megatinybert.runtime.signals import ONE_SIGNAL, STOP_SIGNALS
from megatinybert.training.lock import HELD_BY, this_process

# Exit codes beside 0 to 2. STOPPED (EX_TEMPFAIL of sysexits.h): stopped early, the same command continues.
STOPPED, ENDED_AT_ONCE = 75, 130
STARTS = "MEGATINYBERT_LAUNCH"  # set by launch/start.sh: this process is to start the launcher
_FORESEEN = {0, 1, 2, LOST, STOPPED, ENDED_AT_ONCE}
_STARTS_RANKS = ("deepspeed.launcher.launch", "multiprocessing.forkserver")  # in the command line of what does
_SECONDS_BETWEEN_LOOKS = 1.0  # for ranks that are to start
_SECONDS_TO_SAVE = 60.0  # of ranks whose launcher has died
_SECONDS_TO_LEAVE = 10.0  # of what the ranks started themselves, such as workers that tokenize or compile


def launch(command: Sequence[str], restarts: int = 0, work: str = "") -> int:
    """Run `command`, a script that the launcher takes and its arguments, on all ranks: the exit code.

    restarts: how often after a fault, by `agent` in place of the launcher. work: of `agent`.
    It is that of the first rank that fails, STOPPED where a signal stopped the run and the same command continues it,
    and ENDED_AT_ONCE where a second Ctrl-C ended it. The environment: HOSTFILE, DEEPSPEED_ARGS, CUDA_VISIBLE_DEVICES.
    """
    try:
        environment = dict(os.environ)
        plan = plan_agent(environment, restarts, work) if restarts else plan_launch(environment)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    deepspeed = shutil.which("deepspeed")
    if deepspeed is None:
        print("error: deepspeed is not on PATH; run: make setup", file=sys.stderr)
        return 2
    starter = sys.executable if restarts else deepspeed
    said = (
        f"torch's elastic agent, {counted(restarts, 'restart')}" if restarts else f"deepspeed {' '.join(plan.options)}"
    )
    print(f"starting: {said}, which loads PyTorch first", file=sys.stderr, flush=True)
    if plan.remote:
        with tempfile.NamedTemporaryFile("w", prefix="megatinybert-environment-", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in carried(plan.environment)))
            file.flush()
            plan.environment["DS_ENV_FILE"] = file.name
            return _launch(starter, plan, command)
    return _launch(starter, plan, command)


def _launch(starter: str, plan: Launch, command: Sequence[str]) -> int:
    # A warning in time for Slurm's SIGUSR1 would end the launcher, which does not know it; ranks set a handler.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    process = subprocess.Popen(
        [starter, *plan.options, *command],
        env=plan.environment | {HELD_BY: this_process()},
        stdin=subprocess.DEVNULL,  # a process group that is not the terminal's would be stopped by a read
        process_group=0,
    )
    return _Front(process, plan).wait()


class _Front:
    """The process that a person or a scheduler sends signals to. process: the launcher, first of its group."""

    def __init__(self, process: subprocess.Popen[bytes], plan: Launch) -> None:
        self._process, self._plan = process, plan
        self._told: float | None = None  # when, first
        self._without_ranks = self._killed = False
        self._ranks_began = False  # over pdsh they are on other machines, and not seen
        for number in STOP_SIGNALS:
            # `nohup` has SIGHUP ignored, which is to stay.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._stop)
        signal.signal(signal.SIGTSTP, self._pause)

    def wait(self) -> int:
        """Wait for the launcher, and see that no rank is left: the exit code of `launch`."""
        code = self._wait()
        if self._end_those_left(code) and code == 0 and not self._plan.restarts:
            # A launcher that is killed says 0. The agent does not, and its server may take long to end.
            code = 1
        if self._killed:
            print("\nended at once; the same command starts or continues the run", file=sys.stderr)
            return ENDED_AT_ONCE
        # A rank that is still importing what it runs has no handler yet, so that the signal ends it.
        if self._without_ranks or (self._told is not None and code in (-signal.SIGTERM, 256 - signal.SIGTERM)):
            where = "while no rank was running" if self._plan.remote else "before the run began"
            print(f"stopped {where}; the same command starts or continues it", file=sys.stderr)
            return STOPPED
        if code not in _FORESEEN:
            print(f"error: a process of the run {how_ended(code)}; what it said is above", file=sys.stderr)
        return code if code >= 0 else 1

    def _wait(self) -> int:
        if not self._plan.remote:
            while not self._ranks_began:
                try:
                    return self._process.wait(_SECONDS_BETWEEN_LOOKS)
                except subprocess.TimeoutExpired:
                    self._ranks_began = bool(self._ranks())
            return self._process.wait()
        code = wait_for_launcher(self._process, self._plan.hosts[0])
        if code is None:
            self._kill()
            self._process.wait()
            return LOST
        return code

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Tell the ranks to save and to stop; at a second Ctrl-C end them."""
        told, now = self._told, time.monotonic()
        if told is None:
            self._told = now
        elif now - told < ONE_SIGNAL:
            return
        elif number == signal.SIGINT:
            self._killed = True
            self._kill()
            return
        if self._plan.remote:
            self._stop_remote()
            return
        ranks = self._ranks()
        self._ranks_began = self._ranks_began or bool(ranks)
        self._without_ranks = not self._ranks_began
        if told is None and ranks:
            again = "; Ctrl-C again ends it at once" if number == signal.SIGINT else ""
            _say_at_once(f"\nstopping, if in training after this step{again}\n")
        if self._plan.restarts:
            self._process.send_signal(signal.SIGUSR1)  # for the agent to start no rank again
        for rank in ranks:
            with contextlib.suppress(psutil.Error):  # ended meanwhile, by a second signal perhaps
                rank.terminate()
        if self._without_ranks:
            self._signal_group(signal.SIGKILL)
        # Where the ranks have ended meanwhile, what started them is about to end, too, with their exit code.

    def _stop_remote(self) -> None:
        """Not by the launcher, which would end the runs of others on those machines, too."""
        _say_at_once("\nstopping on all machines, if in training after this step\n")
        plan = self._plan
        if not signal_ranks(plan.hosts, plan.port, "TERM", plan.environment):
            self._without_ranks = True
            self._kill()

    def _kill(self) -> None:
        plan = self._plan
        if plan.remote:
            signal_ranks(plan.hosts, plan.port, "KILL", plan.environment)
        self._signal_group(signal.SIGKILL)

    def _pause(self, number: int, frame: FrameType | None) -> None:
        """Ctrl-Z."""
        self._signal_group(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        self._signal_group(signal.SIGCONT)  # when this process is continued

    def _ranks(self) -> list[psutil.Process]:
        try:
            below = psutil.Process(self._process.pid).children()
            starters = [each for each in below if any(name in " ".join(each.cmdline()) for name in _STARTS_RANKS)]
            return [rank for each in starters for rank in each.children()]
        except psutil.Error:  # it has ended meanwhile
            return []

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _end_those_left(self, code: int) -> bool:
        """End the group, asking first: whether anyone was left. code: of its first process, which has ended."""
        left = not self._empty_within(_SECONDS_TO_LEAVE if code == 0 else 0.0)
        if left:
            self._signal_group(signal.SIGTERM)
            self._empty_within(_SECONDS_TO_SAVE)
            self._signal_group(signal.SIGKILL)
        return left

    def _empty_within(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while left := bool(self._members()):
            if time.monotonic() >= until:
                break
            time.sleep(0.2)
        return not left

    def _members(self) -> list[int]:
        """The processes of the group, without those that have ended and that nobody has asked for their exit code."""
        found = []
        for process in psutil.process_iter():
            try:
                if os.getpgid(process.pid) == self._process.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process.pid)
            except (psutil.Error, OSError):  # it has ended meanwhile, or is not ours
                continue
        return found


def _say_at_once(text: str) -> None:
    """Not by print, which a second signal may not interrupt."""
    with contextlib.suppress(OSError):  # `tee`, say, has ended by the same Ctrl-C: nobody reads any more
        os.write(2, text.encode())


def how_ended(code: int) -> str:
    """code: of a process, as the launcher hands it on: of one that a signal ended, 256 less its number."""
    number = -code if code < 0 else 256 - code
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"ended with exit code {code}"
    return f"was ended by {name}" + (", which the kernel sends where memory runs out" if name == "SIGKILL" else "")
