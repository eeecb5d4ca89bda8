"""The list of records that could not be read, `left_out.jsonl` beside the shards."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import IO

from megatinybert.corpus.documents import LeftOut
from megatinybert.corpus.manifest import LEFT_OUT
from megatinybert.runtime.files import sync_folder

_SHOWN = 5


class LeftOutList:
    """Grows in a file named `.partial`, of which only what a commit recorded counts, and gets its name in the end."""

    def __init__(self, folder: Path, size: int) -> None:
        """size: in bytes, of an earlier run's. Raises ValueError where the file is missing or cut short."""
        self._final = folder / LEFT_OUT
        self._path = folder / f"{LEFT_OUT}.partial"
        self._file: IO[bytes] | None = None
        if size and self._final.is_file():  # an earlier run was killed between naming it and the manifest
            os.replace(self._final, self._path)
        if size:
            if not self._path.is_file() or self._path.stat().st_size < size:
                raise ValueError(f"{self._path} is missing or cut short: delete {folder} and start over")
            self._file = self._path.open("r+b")
            self._file.truncate(size)
            self._file.seek(size)

    def add(self, source: str, records: Iterable[LeftOut]) -> None:
        """source: the name of their file."""
        for record in records:
            self._file = self._file or self._path.open("wb")
            line = {"file": source, record.unit: record.number, "reason": record.reason}
            self._file.write(json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n")

    def flush(self) -> int:
        """Make it durable: its size in bytes."""
        if self._file is None:
            return 0
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def first(self) -> list[str]:
        """The first few, for a message."""
        self.flush()
        with self._path.open(encoding="utf-8") as lines:
            found = [json.loads(line) for line in islice(lines, _SHOWN)]
        return [", ".join(f"{k} {v}" if k != "file" else v for k, v in each.items()) for each in found]

    def publish(self) -> None:
        """Give the list its name, where there is one."""
        if self._file is not None:
            self._file.close()
            os.replace(self._path, self._final)
            sync_folder(self._final.parent)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
