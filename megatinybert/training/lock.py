"""One run at a time in an output folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from megatinybert.config.run_folder import LOCK
from megatinybert.config.schema import ConfigError

if TYPE_CHECKING:  # else torch would be imported before a folder can be looked at
    from megatinybert.runtime.dist import World

HELD_BY = "MEGATINYBERT_HOLDER"  # environment of ranks: what `this_process` gives where the run was started
_UNSUPPORTED = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


@contextlib.contextmanager
def run_lock(folder: Path, world: World) -> Iterator[None]:
    """Hold an output folder, which exists, for this run. Every rank calls it; rank 0 holds the lock.

    It ends with the process, however that ends. Raises ConfigError on all ranks where another run holds it.
    """
    held: list[TextIO] = []
    world.first(lambda: held.extend(_lock(folder)))
    try:
        yield
    finally:
        for file in held:
            file.close()


def check_unlocked(folder: Path) -> None:
    """Raise ConfigError where another run holds the folder, by a look before this one starts up."""
    if (folder / LOCK).is_file() and os.access(folder / LOCK, os.R_OK):
        with (folder / LOCK).open(encoding="utf-8") as file:
            _take(file, folder, fcntl.LOCK_SH)  # several ranks may look at once


def this_process() -> str:
    """Host and process, for a person to find."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def _lock(folder: Path) -> list[TextIO]:
    """The locked file, which holds host and process of the run; none where the file system has no locks."""
    file = (folder / LOCK).open("a+", encoding="utf-8")
    try:
        problem = _take(file, folder, fcntl.LOCK_EX)
    except BaseException:
        file.close()
        raise
    if problem:
        file.close()
        print(f"warning: {folder} cannot be locked ({problem}): start no second run there", file=sys.stderr)
        return []
    file.truncate(0)
    file.write(f"{os.environ.get(HELD_BY) or this_process()}\n")
    file.flush()
    return [file]


def _take(file: TextIO, folder: Path, kind: int) -> OSError | None:
    """Lock the file; the reason where its file system has no locks. Raises ConfigError where another run holds it."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        raise ConfigError(
            f"--run.output_dir {folder} is in use by another run ({holder}): wait for its end, stop it, or choose "
            "another folder"
        ) from None
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        return error
    return None
