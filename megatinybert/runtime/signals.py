"""Signals that ask a program to stop."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

# Of a scheduler, its early warning, Ctrl-C and a closed terminal.
STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP})
ONE_SIGNAL = 1.0  # seconds in which launchers may pass the same one on a second time; `timeout` sends it twice at once


class Terminated(KeyboardInterrupt):
    """By SIGTERM, in a program that answers it as Ctrl-C."""


@contextlib.contextmanager
def silent_interrupts() -> Iterator[None]:
    """Within it Ctrl-C ends the process without a word: for the imports of a program, in which there is nothing to say
    and Python would show a traceback. Where Ctrl-C is ignored, or not this thread's to answer, nothing changes.
    """
    is_ours = threading.current_thread() is threading.main_thread()
    if not is_ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def interrupt_at_term() -> None:
    """Have SIGTERM raise Terminated from here on."""
    signal.signal(signal.SIGTERM, _terminate)


def code_of(interrupt: KeyboardInterrupt) -> int:
    """The exit code of a program that ends by it, as a shell has it of one that the signal ended."""
    return 128 + (signal.SIGTERM if isinstance(interrupt, Terminated) else signal.SIGINT)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated
