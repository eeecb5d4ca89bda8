"""The progress bar."""

from __future__ import annotations

import os
import sys
from typing import Any

from tqdm import tqdm

_UP = "\x1b[A"  # moves a terminal's cursor one line up


class _Lines:
    """Standard error for a bar that nobody sees redrawn: a log file gets a line of its own for each state."""

    def write(self, text: str) -> None:
        # Of the carriage return before it, of blanks that cover an earlier state, and of a second bar's way to its line
        line = text.replace(_UP, "").strip()
        if line:
            print(line, file=sys.stderr)

    def flush(self) -> None:
        sys.stderr.flush()


class _LogBar(tqdm):
    """A bar of a log file. Its end is told by `close` alone, which knows the last values and tells it anyway."""

    def update(self, n: float | None = 1) -> bool | None:
        if self.total is not None and self.n + (n or 0) >= self.total:
            self.n += n or 0
            return False
        return super().update(n)


def _size() -> dict[str, int]:
    """tqdm's settings for a terminal that says it has 0 columns or rows, as one of `script` or of a container may, on
    which it would draw nothing; {} for any other, which it asks itself.
    """
    columns, rows = os.get_terminal_size(sys.stderr.fileno())
    return {} if columns and rows else {"ncols": (columns or 80) - 1, "nrows": rows or 24}


def progress_bar(total: int | None, unit: str, **settings: Any) -> tqdm:
    """A bar on stderr: redrawn every half second on a terminal, else a line every half minute.

    total: how many units there are, where that is known. settings: others of tqdm's.
    """
    if sys.stderr.isatty():
        return tqdm(total=total, unit=unit, mininterval=0.5, **{**_size(), **settings})
    # Every update looks at the clock: tqdm would by itself wait for as many units as the last half minute had.
    return _LogBar(total=total, unit=unit, mininterval=30, file=_Lines(), **{"miniters": 1, **settings})
