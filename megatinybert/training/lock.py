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
from typing import TextIO

from megatinybert.runtime.dist import World

_LOCK = ".lock"  # in the output folder; the file stays when the run has ended
_UNSUPPORTED = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


@contextlib.contextmanager
def run_lock(folder: Path, world: World) -> Iterator[None]:
    """Hold an output folder, which exists, for this run. Every rank calls it; rank 0 holds the lock.

    It ends with the process, however that ends. Raises ValueError on all ranks where another run holds it.
    """
    held: list[TextIO] = []
    world.first(lambda: held.extend(_lock(folder)))
    try:
        yield
    finally:
        for file in held:
            file.close()


def _lock(folder: Path) -> list[TextIO]:
    """The locked file, which holds host and process of the run; none where the file system has no locks."""
    file = (folder / _LOCK).open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise ValueError(
            f"--run.output_dir {folder} is in use by another run ({holder}): wait for its end, stop it, or choose "
            "another folder"
        ) from None
    except OSError as error:
        file.close()
        if error.errno not in _UNSUPPORTED:
            raise
        print(f"warning: {folder} cannot be locked ({error}): start no second run there", file=sys.stderr)
        return []
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    return [file]
