"""Standard output and error of a run, which outlives whoever reads them."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any, cast

_NOBODY_READS = {errno.EPIPE, errno.EIO}  # a pipe, as to tee, and a terminal


class _Lasting(io.FileIO):
    """A file descriptor whose reader may go: what is written from then on is dropped."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except OSError as error:
            if error.errno not in _NOBODY_READS:
                raise
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())  # also for what this process starts, and for libraries
            os.close(nowhere)
            return len(data)


def outlive_readers() -> None:
    """Have this process go on where nobody reads its output any more: Ctrl-C ends `tee` before a run has saved.

    Where something else stands in for sys.stdout or sys.stderr, that is left alone.
    """
    if sys.stdout is sys.__stdout__:
        sys.stdout = _lasting(cast(io.TextIOWrapper, sys.stdout))
    if sys.stderr is sys.__stderr__:
        sys.stderr = _lasting(cast(io.TextIOWrapper, sys.stderr))


def _lasting(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    stream.flush()
    buffer = io.BufferedWriter(_Lasting(stream.fileno(), "wb", closefd=False))
    by_line = stream.isatty() or stream.write_through  # which standard error has
    return io.TextIOWrapper(buffer, stream.encoding, stream.errors, line_buffering=by_line)
