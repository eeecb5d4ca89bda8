"""Parquet files as runs of rows, one document each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from megatinybert.corpus.sources import DataError

_READ_BYTES = 1 << 20  # of a column at a time: a row group may be far larger
_MOST_ROWS = 4096  # in a run; what the file says of its size may be of texts that are stored once and shared


def read_rows(path: Path, column: str, block_bytes: int, option: str) -> Iterator[tuple[bytes, np.ndarray, float]]:
    """Yield runs of rows of about `block_bytes`, at least one: (texts one after the other in UTF-8, not checked;
    where in them each row ends, int64; share of the file's rows that have been read).

    option: that names the column. Raises DataError where the file is damaged, has no such column of strings, or
    a row of it is null.
    """
    try:
        # With pre_buffer, its default, a whole row group would be read into memory.
        with pq.ParquetFile(path, buffer_size=_READ_BYTES, pre_buffer=False, page_checksum_verification=True) as file:
            _check_column(path, column, file.schema_arrow, option)
            first, rows = 0, file.metadata.num_rows
            for texts in _batches(file, column, block_bytes):
                if texts.null_count:
                    row = first + texts.is_null().index(True).as_py() + 1
                    raise DataError(f"{path}, row {row:,}: the value of {column!r} is null, not a string")
                for data, ends in _runs(texts, block_bytes):
                    first += len(ends)
                    yield data, ends, first / rows
            if not first:
                yield b"", np.empty(0, dtype="<i8"), 1.0
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk, not of the content
            raise
        raise DataError(f"{path}: damaged parquet file, or of a kind that pyarrow cannot read ({error})") from error


def _check_column(path: Path, column: str, schema: pa.Schema, option: str) -> None:
    if schema.names.count(column) != 1:
        found = "more than one column" if column in schema.names else "no column"
        names = ", ".join(map(repr, schema.names)) or "none"
        raise DataError(f"{path}: {found} {column!r} (columns: {names}). Name the column of the text with {option}")
    kind = schema.field(column).type
    of_values = kind.value_type if pa.types.is_dictionary(kind) else kind
    if of_values not in (pa.string(), pa.large_string(), pa.string_view()):
        raise DataError(f"{path}: the column {column!r} is of {kind}, not of strings")


def _batches(file: pq.ParquetFile, column: str, block_bytes: int) -> Iterator[pa.Array]:
    for number in range(file.num_row_groups):
        group = file.metadata.row_group(number)
        parts = map(group.column, range(group.num_columns))
        size = sum(part.total_uncompressed_size for part in parts if part.path_in_schema == column)
        rows = min(max(block_bytes * group.num_rows // max(size, 1), 1), _MOST_ROWS)
        for batch in file.iter_batches(rows, row_groups=[number], columns=[column], use_threads=False):
            yield batch.column(0).cast(pa.large_string())


def _runs(texts: pa.Array, block_bytes: int) -> Iterator[tuple[bytes, np.ndarray]]:
    """Cut an array of strings where `block_bytes` are full, without a look at the single rows."""
    _, offsets, values = texts.buffers()
    ends = np.frombuffer(offsets, dtype="<i8")[texts.offset : texts.offset + len(texts) + 1]
    first = 0
    while first < len(texts):
        last = max(int(np.searchsorted(ends, ends[first] + block_bytes, side="right")) - 1, first + 1)
        data = values[ends[first] : ends[last]].to_pybytes() if values is not None else b""
        yield data, ends[first + 1 : last + 1] - ends[first]
        first = last
