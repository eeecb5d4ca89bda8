"""Task distillation on a disk with room for nothing: a rank, started with the variables of a launcher."""

from __future__ import annotations

import shutil

from megatinybert.task import main

if __name__ == "__main__":
    usage = shutil.disk_usage("/")
    shutil.disk_usage = lambda _: usage._replace(free=1000)  # type: ignore[assignment]
    main()
