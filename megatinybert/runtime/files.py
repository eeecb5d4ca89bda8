"""Atomic writes and file locks."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import os
import shutil
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

_CHUNK = 1 << 20  # bytes read at a time
_HERE, _RENAME_EXCHANGE = -100, 2  # of <fcntl.h>: AT_FDCWD, and of <linux/fs.h>


def write_atomically(path: Path, text: str) -> None:
    """Replace `path` by a file of `text` (UTF-8)."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    publish_file(temporary, path)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Make every file and name below `folder` durable."""
    for parent, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(parent, name), "rb") as file:
                os.fsync(file.fileno())
        sync_folder(Path(parent))


def publish_file(temporary: Path, final: Path) -> None:
    """Give the finished file `temporary` its name `final`, in place of what stood there."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, final)
    sync_folder(final.parent)


def publish_folder(temporary: Path, final: Path) -> None:
    """Give the finished folder `temporary` its name `final`, in place of what stood there.

    Atomic where the file system can exchange two names, as local ones can. On others, such as NFS, a process killed
    between two renames leaves what stood there as `.NAME.old`.
    """
    sync_tree(temporary)
    old = final.with_name(f".{final.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if final.exists() and _exchange(temporary, final):
        os.replace(temporary, old)
    else:
        if final.exists():
            os.rename(final, old)
        os.rename(temporary, final)
    sync_folder(final.parent)
    shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names at once, by Linux's renameat2; False where that cannot be done."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    if rename is None:
        return False
    return rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _RENAME_EXCHANGE) == 0


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def file_crc32(path: Path) -> str:
    """CRC-32 of a file's bytes, in hex: it tells accidental damage, at more than twice the speed of sha256."""
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            value = zlib.crc32(chunk, value)
    return f"{value:08x}"


@contextlib.contextmanager
def file_lock(path: Path, busy: str, wait: bool) -> Iterator[None]:
    """Hold `path` locked against other processes. A killed process leaves the file but not the lock.

    busy: what to say where another process holds it. With `wait` that goes to stderr, and this one waits; the file then
    stays, for to remove it would let two in. Without, it is raised as a ValueError, and the file goes in the end.
    """
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise ValueError(busy) from None
            print(busy, file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            if not wait:
                path.unlink()
