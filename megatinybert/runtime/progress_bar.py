"""The progress bar."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


def progress_bar(total: int | None, unit: str, **settings: Any) -> tqdm:
    """A bar on stderr: redrawn every half second on a terminal, else a line every half minute.

    total: how many units there are, where that is known. settings: others of tqdm's.
    """
    return tqdm(total=total, unit=unit, mininterval=0.5 if sys.stderr.isatty() else 30, **settings)
