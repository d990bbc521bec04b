"""Read records from Parquet, one for each row, row group by row group. JSON text in a column is parsed.

Damage loses its row or the rest of its row group. A file without its directory is lost as a whole.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pivotmine import strict_json
from pivotmine.sources import decompress
from pivotmine.sources.decompress import TooLarge
from pivotmine.sources.json_records import Record

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

PARQUET = b"PAR1"
"""First and last bytes of a Parquet file."""
_ROWS = 256
"""Rows that are made into JSON values at a time."""
_BUFFER_BYTES = 1 << 20
_TROUBLE = (EOFError, OSError, ValueError, OverflowError, MemoryError, NotImplementedError, KeyError)
"""Errors that Arrow raises for a damaged file; its own errors derive from these."""
_CUT_OFF = "the file is cut off: a Parquet file ends with its directory, without which nothing of it can be read"


def read_parquet(source: Path | IO[bytes], messages_column: str | None = None) -> Iterator[Record]:
    """Yield the rows in order, without null cells. Rows that cannot be read are one problem, at the first one's index.

    `messages_column`: the column that must exist and holds the messages.
    """
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(source, page_checksum_verification=True, buffer_size=_BUFFER_BYTES)
        columns, sizes = file.schema_arrow.names, _group_sizes(file)
    except _TROUBLE as error:
        detail = f"the file's directory cannot be read: {_words(error)}" if _has_end(source) else _CUT_OFF
        yield Record(None, None, ("unreadable_source", detail))
        return
    if messages_column is not None and messages_column not in columns:
        detail = f"no column {messages_column!r}: the file has {', '.join(columns)}"
        yield Record(None, None, ("no_messages_column", detail[:300]))
        return
    starts = accumulate(sizes, initial=0)
    for group, (start, num_rows) in enumerate(zip(starts, sizes, strict=False)):
        yield from _read_group(file, group, start, num_rows)


def _has_end(source: Path | IO[bytes]) -> bool:
    """Whether the file ends as a complete one does."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            return _has_end(file)
    # The first four bytes are the beginning, also of a file that has no more.
    size = source.seek(0, io.SEEK_END)
    source.seek(max(size - len(PARQUET), len(PARQUET)))
    return source.read(len(PARQUET)) == PARQUET


def _group_sizes(file: pq.ParquetFile) -> list[int]:
    """Rows of each row group; ValueError if the directory contradicts itself, since rows would have no index."""
    about = file.metadata
    sizes = [about.row_group(group).num_rows for group in range(about.num_row_groups)]
    if sum(sizes) != about.num_rows or min(sizes, default=0) < 0:
        raise ValueError(f"it says {about.num_rows} rows, and {sum(sizes)} in row groups")
    return sizes


def _read_group(file: pq.ParquetFile, group: int, index: int, num_rows: int) -> Iterator[Record]:
    """The rows of a row group, numbered from the index. If the file breaks off, the last record says so."""
    end, num_bytes = index + num_rows, 0
    try:
        most = _largest(file, group)
        for batch in file.iter_batches(batch_size=_ROWS, row_groups=[group]):
            num_bytes += batch.nbytes
            if num_bytes > most:
                raise TooLarge(decompress.too_large())
            yield from _rows(batch, index)
            index += batch.num_rows
        if index != end:
            raise EOFError(f"{index - end + num_rows} of {num_rows} rows")
    except _TROUBLE as error:
        detail = f"{end - index} rows from here on, the rest of row group {group}, are lost: {_words(error)}"
        yield Record(index, None, ("unreadable_source", detail))


def _largest(file: pq.ParquetFile, group: int) -> int:
    """Maximum unpacked size of a row group, in bytes; TooLarge if its directory states a larger one."""
    about = file.metadata.row_group(group)
    columns = [about.column(place) for place in range(about.num_columns)]
    most = max(decompress.FREE_BYTES, decompress.MAX_RATIO * sum(max(one.total_compressed_size, 0) for one in columns))
    if sum(one.total_uncompressed_size for one in columns) > most:
        raise TooLarge(decompress.too_large())
    return most


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]


def _rows(batch: pa.RecordBatch, index: int) -> Iterator[Record]:
    """Yield the rows of a batch. A row with a value that Python cannot hold does not affect the others."""
    try:
        values = batch.to_pylist()
    except _TROUBLE as error:
        if batch.num_rows == 1:
            yield Record(index, None, ("bad_value", _words(error)))
            return
        for number in range(batch.num_rows):
            yield from _rows(batch.slice(number, 1), index + number)
        return
    num_bytes = batch.nbytes // max(batch.num_rows, 1)
    for number, row in enumerate(values):
        yield _row(index + number, row, num_bytes)


def _row(index: int, row: dict[str, Any], num_bytes: int) -> Record:
    value = {key: _cell(cell) for key, cell in row.items() if cell is not None}
    if strict_json.exceeds_depth(value, strict_json.MAX_DEPTH):
        return Record(index, None, ("bad_json", "nested too deeply"))
    return Record(index, value, num_bytes=num_bytes)


def _cell(cell: Any) -> Any:
    """The cell as a JSON value, parsed if it is JSON text, as a column of messages may be."""
    if isinstance(cell, str) and cell[:1] in ("[", "{"):
        try:
            return strict_json.loads(cell)
        except ValueError:
            return cell
    return _plain(cell)


def _plain(value: Any) -> Any:
    """The value in JSON's types. A struct has null under each key that the row lacked: null keys are dropped."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else None  # neither NaN nor infinite
    return str(value)
