"""Arrow files as runs of rows, one document each: what Hugging Face's datasets saves, and Feather files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from megatinybert.corpus.columns import Rows, check_column, cut, no_rows
from megatinybert.corpus.sources import DataError

_FILE_MAGIC = b"ARROW1"  # a file can be read in any order; without this it is a stream, as datasets writes them
_STREAM_END = b"\xff\xff\xff\xff\0\0\0\0"  # without it pyarrow takes a stream cut between two batches for whole
_MOST_ROWS = 4096  # converted at a time: a batch may be the whole file


def read_rows(path: Path, column: str, block_bytes: int, option: str) -> Iterator[Rows]:
    """Yield runs of rows of about `block_bytes`, at least one.

    option: that names the column. Raises DataError where the file is damaged or has no such column of strings.
    """
    try:
        read = False
        with pa.memory_map(str(path)) as file:  # a batch is not copied, however large it is
            size = file.size()
            for texts, share in _batches(path, file, column, option):
                for first in range(0, len(texts), _MOST_ROWS):
                    _refuse_shorter(path, size)
                    pieces = cut(texts[first : first + _MOST_ROWS].cast(pa.large_string()), block_bytes)
                    for data, ends, nulls in pieces:
                        read = True
                        yield Rows(data, ends, nulls, share)
                        _refuse_shorter(path, size)  # the next piece is still in the map
        if not read:
            yield no_rows()
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk, not of the content
            raise
        raise DataError(f"{path}: damaged Arrow file, or of a kind that pyarrow cannot read ({error})") from error


def _refuse_shorter(path: Path, size: int) -> None:
    """Raise DataError where the file is shorter than `size` bytes, its size when it was mapped: reading a map beyond
    the end of its file kills the process (SIGBUS).
    """
    now = path.stat().st_size
    if now < size:
        raise DataError(f"{path}: cut short from {size:,} to {now:,} bytes while it was read")


def _batches(path: Path, file: pa.MemoryMappedFile, column: str, option: str) -> Iterator[tuple[pa.Array, float]]:
    """The column in each record batch, and the share of the file up to its end."""
    size = file.size()
    in_any_order = file.read(len(_FILE_MAGIC)) == _FILE_MAGIC
    file.seek(0)
    reader = pa.ipc.open_file(file) if in_any_order else pa.ipc.open_stream(file)
    check_column(path, column, reader.schema, option)
    if in_any_order:
        for number in range(reader.num_record_batches):
            _refuse_shorter(path, size)
            yield reader.get_batch(number).column(column), (number + 1) / reader.num_record_batches
    else:
        for batch in reader:
            yield batch.column(column), file.tell() / size
        file.seek(file.tell() - len(_STREAM_END))
        if file.read(len(_STREAM_END)) != _STREAM_END:
            raise pa.ArrowInvalid("it ends without the mark that ends a stream, so it was cut short")
