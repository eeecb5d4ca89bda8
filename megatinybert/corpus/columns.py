"""The column of texts of a file of rows, for .parquet and .arrow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from megatinybert.corpus.sources import DataError


@dataclass(frozen=True)
class Rows:
    """Some rows. data: their texts one after the other in UTF-8, not checked; ends: where in it each row ends,
    int64; nulls: which of the rows, from 0, are null and so without text here, int64; share: of the file that has
    been read.
    """

    data: bytes
    ends: np.ndarray
    nulls: np.ndarray
    share: float


def no_rows() -> Rows:
    """What is read of a file without rows."""
    return Rows(b"", np.empty(0, dtype="<i8"), np.empty(0, dtype="<i8"), 1.0)


def check_column(path: Path, column: str, schema: pa.Schema, option: str) -> None:
    """Raise DataError unless there is one such column, of strings. option: that names the column."""
    if schema.names.count(column) != 1:
        found = "more than one column" if column in schema.names else "no column"
        names = ", ".join(map(repr, schema.names)) or "none"
        raise DataError(f"{path}: {found} {column!r} (columns: {names}). Name the column of the text with {option}")
    kind = schema.field(column).type
    of_values = kind.value_type if pa.types.is_dictionary(kind) else kind
    if of_values not in (pa.string(), pa.large_string(), pa.string_view()):
        raise DataError(f"{path}: the column {column!r} is of {kind}, not of strings")


def cut(texts: pa.Array, block_bytes: int) -> Iterator[tuple[bytes, np.ndarray, np.ndarray]]:
    """Cut an array of large_string where `block_bytes` are full, without a look at the single rows: data, ends and
    nulls of Rows.
    """
    _, offsets, values = texts.buffers()
    ends = np.frombuffer(offsets, dtype="<i8")[texts.offset : texts.offset + len(texts) + 1]
    nulls = np.flatnonzero(texts.is_null().to_numpy(zero_copy_only=False)) if texts.null_count else np.empty(0, "<i8")
    first = 0
    while first < len(texts):
        last = max(int(np.searchsorted(ends, ends[first] + block_bytes, side="right")) - 1, first + 1)
        data = values[ends[first] : ends[last]].to_pybytes() if values is not None else b""
        yield data, ends[first + 1 : last + 1] - ends[first], nulls[(nulls >= first) & (nulls < last)] - first
        first = last
