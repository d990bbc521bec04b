"""Records out of Parquet: a row each, row group by row group; a column of JSON text (or `arrow.json`) as its value."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from pivotmine import jsonvalues
from pivotmine.json_records import Record

_ROWS = 256
"""Made into JSON values at a time."""
_BUFFER_BYTES = 1 << 20


def read_parquet(source: Path | IO[bytes], messages_column: str | None = None) -> Iterator[Record]:
    """The rows in order, null cells left out; where the file breaks off, the last record says so.

    `messages_column`: the column that must be there, and whose cells are the messages.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    index = 0
    try:
        file = pq.ParquetFile(source, page_checksum_verification=True, buffer_size=_BUFFER_BYTES)
        columns = file.schema_arrow.names
        if messages_column is not None and messages_column not in columns:
            detail = f"no column {messages_column!r}: the file has {', '.join(columns)}"
            yield Record(None, None, ("no_messages_column", detail[:300]))
            return
        for batch in file.iter_batches(batch_size=_ROWS):
            for row in batch.to_pylist():
                yield _row(index, row)
                index += 1
        if index != file.metadata.num_rows:
            raise EOFError(f"{index} of {file.metadata.num_rows} rows")
    except (pa.ArrowException, EOFError, OSError, ValueError, OverflowError, MemoryError) as error:
        detail = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        yield Record(index, None, ("unreadable_source", detail))


def _row(index: int, row: dict[str, Any]) -> Record:
    value = {key: _cell(cell) for key, cell in row.items() if cell is not None}
    if jsonvalues.exceeds_depth(value, jsonvalues.MAX_DEPTH):
        return Record(index, None, ("bad_json", "nested too deeply"))
    return Record(index, value)


def _cell(cell: Any) -> Any:
    """A column of messages may be JSON text."""
    if isinstance(cell, str) and cell[:1] in ("[", "{"):
        try:
            return jsonvalues.loads(cell)
        except ValueError:
            return cell
    return _plain(cell)


def _plain(value: Any) -> Any:
    """The value as JSON has it. A struct fills a key that one row lacks with null: such keys are left out again."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else None  # neither NaN nor infinite
    return str(value)
