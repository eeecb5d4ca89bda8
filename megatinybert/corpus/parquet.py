"""Parquet files as runs of rows, one document each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from megatinybert.corpus.columns import Rows, check_column, cut, no_rows
from megatinybert.corpus.sources import DataError

_READ_BYTES = 1 << 20  # of a column at a time: a row group may be far larger
_MOST_ROWS = 4096  # in a run; what the file says of its size may be of texts that are stored once and shared


def read_rows(path: Path, column: str, block_bytes: int, option: str) -> Iterator[Rows]:
    """Yield runs of rows of about `block_bytes`, at least one.

    option: that names the column. Raises DataError where the file is damaged or has no such column of strings.
    """
    try:
        # With pre_buffer, its default, a whole row group would be read into memory.
        with pq.ParquetFile(path, buffer_size=_READ_BYTES, pre_buffer=False, page_checksum_verification=True) as file:
            check_column(path, column, file.schema_arrow, option)
            read, rows = 0, file.metadata.num_rows
            for texts in _batches(file, column, block_bytes):
                for data, ends, nulls in cut(texts, block_bytes):
                    read += len(ends)
                    yield Rows(data, ends, nulls, read / rows)
            if not read:
                yield no_rows()
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk, not of the content
            raise
        raise DataError(f"{path}: damaged parquet file, or of a kind that pyarrow cannot read ({error})") from error


def _batches(file: pq.ParquetFile, column: str, block_bytes: int) -> Iterator[pa.Array]:
    for number in range(file.num_row_groups):
        group = file.metadata.row_group(number)
        parts = map(group.column, range(group.num_columns))
        size = sum(part.total_uncompressed_size for part in parts if part.path_in_schema == column)
        rows = min(max(block_bytes * group.num_rows // max(size, 1), 1), _MOST_ROWS)
        for batch in file.iter_batches(rows, row_groups=[number], columns=[column], use_threads=False):
            yield batch.column(0).cast(pa.large_string())
