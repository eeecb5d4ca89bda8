"""General distillation that notes which samples each rank trains on, and may take its time; see soak.py.

    DRAWN=FOLDER PAUSE=SECONDS python tests/scripts/drawing.py OPTIONS

Each process writes DRAWN/RANK-PID.bin: records of DRAW, one for each sample, before the step in which it is used.
"""

from __future__ import annotations

import os
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

# position: in the order of training. crc32: of the sample's tokens. time: of the step, in Unix time.
DRAW = np.dtype([("position", "<i8"), ("crc32", "<u4"), ("time", "<f8")])


def noting(train_step: Callable[..., Any], note: Callable[[NDArray[Any]], object]) -> Callable[..., Any]:
    """`loop.train_step`, which tells `note` first what it trains on: records of DRAW."""

    def noted(trainees: Any, teacher: Any, batches: Any, step: int, *rest: Any) -> Any:
        seen, now = list(batches), time.time()
        ranks = int(os.environ["WORLD_SIZE"])
        draws = []
        for index, batch in seen:
            rows = batch["input_ids"].numpy()
            first = step * len(rows) * len(seen) * ranks + index * len(rows)
            draws += [(first + number, zlib.crc32(row.tobytes()), now) for number, row in enumerate(rows)]
        note(np.array(draws, DRAW))
        return train_step(trainees, teacher, seen, step, *rest)

    return noted


def note_samples() -> None:
    """Put a training step that notes them, and waits, in place of the loop's."""
    from megatinybert.training import loop

    file = Path(os.environ["DRAWN"], f"{os.environ.get('RANK', '0')}-{os.getpid()}.bin")
    pause = float(os.environ.get("PAUSE", "0"))

    def note(draws: NDArray[Any]) -> None:
        with file.open("ab", buffering=0) as out:
            out.write(draws.tobytes())
        time.sleep(pause)

    loop.train_step = noting(loop.train_step, note)


if __name__ == "__main__":
    if "RANK" in os.environ:
        note_samples()
    from megatinybert.general import main

    main()
