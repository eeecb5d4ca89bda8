"""What the disk delivers for a run's first windows, when nothing is in the page cache."""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from pathlib import Path

import numpy as np

from megatinybert.corpus.shards import bin_path
from megatinybert.samples.windows import Windows

_IO = Path("/proc/self/io")


def cold_read(windows: Windows, count: int, batch: int, random: bool) -> dict[str, float] | None:
    """Draw the first `count` windows, of shards that nothing has mapped yet, from an empty page cache.

    random: switch readahead off, by madvise(MADV_RANDOM). -> "amplification": bytes from the disk over bytes used;
    "tokens_per_second". None where the disk's bytes are not counted or the cache is not emptied; see loader.py.
    """
    if not (_IO.exists() and hasattr(os, "posix_fadvise")):
        return None
    shards = windows.stream.shards
    for shard in shards:
        _empty_cache(bin_path(shard.prefix))
    if random:
        for shard in shards:
            _switch_readahead_off(shard.tokens)
    before, began = _read_bytes(), time.perf_counter()
    for first in range(0, count, batch):
        windows.batch(np.arange(first, min(first + batch, count)))
    seconds, read = time.perf_counter() - began, _read_bytes() - before
    # Neighbouring windows share a token where there are pairs, so a little less than this is used.
    used = count * (windows.sequence_length - 2) * shards[0].dtype.itemsize
    if read < 0.9 * used:
        return None
    return {"amplification": read / used, "tokens_per_second": count * windows.sequence_length / seconds}


def readahead_kib(folder: Path) -> int | None:
    """How much the disk under a folder reads ahead, in KiB; None where the system does not say."""
    device = folder.stat().st_dev
    disk = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    for queue in (disk / "queue", disk / ".." / "queue"):  # of a partition it is that of its disk
        if (queue / "read_ahead_kb").exists():
            return int((queue / "read_ahead_kb").read_text())
    return None


def _empty_cache(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)  # only what is on the disk already can be dropped
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _switch_readahead_off(tokens: np.ndarray) -> None:
    """tokens: a whole map, so that its first byte begins a page."""
    address, size = ctypes.c_void_p(tokens.ctypes.data), ctypes.c_size_t(tokens.nbytes)
    if ctypes.CDLL(None, use_errno=True).madvise(address, size, mmap.MADV_RANDOM):
        raise OSError(ctypes.get_errno(), "madvise")


def _read_bytes() -> int:
    lines = _IO.read_text(encoding="utf-8").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("read_bytes:")))
