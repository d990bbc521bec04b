"""Arrow columns from Python values.

pyarrow's own `array` and `scalar` do the same, but import pandas first if it is installed. That takes half a second per
process, the time in which a worker extracts ten megabytes.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, chain, repeat
from typing import Any

import pyarrow as pa

_CODES = {pa.int32(): "i", pa.int64(): "q", pa.float64(): "d"}


def table(columns: Mapping[str, Sequence[Any] | pa.Array | pa.ChunkedArray], schema: pa.Schema) -> pa.Table:
    """A table with this schema. Each column is given as Python values or as an Arrow array."""
    made = [_made(columns[field.name], field.type) for field in schema]
    return pa.Table.from_arrays(made, schema=schema)


def table_of_rows(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """A table of rows; missing keys are null."""
    return table({name: [row.get(name) for row in rows] for name in schema.names}, schema)


def column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """An Arrow array of string, int32, int64, double, or lists of these. Values may be None, lists may not."""
    if isinstance(kind, pa.ListType):
        inner = column(list(chain.from_iterable(values)), kind.value_type)
        return pa.ListArray.from_arrays(_starts(values), inner)
    valid, num_null = _validity(values)
    if kind == pa.string():
        texts = ["" if text is None else text for text in values] if num_null else values
        return _strings([text.encode() for text in texts], valid)
    numbers = [0 if number is None else number for number in values] if num_null else values
    return pa.Array.from_buffers(kind, len(values), [valid, pa.py_buffer(array(_CODES[kind], numbers))])


def utf8(texts: Sequence[bytes]) -> pa.Array:
    """A string column from UTF-8 texts."""
    return _strings(texts, None)


def scalar(value: Any, kind: pa.DataType) -> pa.Scalar:
    """One value as an Arrow scalar; kinds as in `column`."""
    return column([value], kind)[0]


def repeated(values: Sequence[Any], kind: pa.DataType, times: Iterable[int]) -> pa.Array:
    """A column with each value repeated as often as `times` says."""
    places = chain.from_iterable(repeat(place, number) for place, number in enumerate(times))
    return column(values, kind).take(column(array("i", places), pa.int32()))


def _made(values: Any, kind: pa.DataType) -> Any:
    return values if isinstance(values, pa.Array | pa.ChunkedArray) else column(values, kind)


def _strings(texts: Sequence[bytes], valid: pa.Buffer | None) -> pa.Array:
    starts = _starts(texts)
    return pa.Array.from_buffers(pa.string(), len(texts), [valid, starts.buffers()[1], pa.py_buffer(b"".join(texts))])


def _starts(values: Sequence[Any]) -> pa.Array:
    """The offset of each value when all are joined, and the end of the last one."""
    starts = array("i", accumulate(map(len, values), initial=0))
    return pa.Array.from_buffers(pa.int32(), len(starts), [None, pa.py_buffer(starts)])


def _validity(values: Sequence[Any]) -> tuple[pa.Buffer | None, int]:
    """A bitmap with 1 for each value that is not None (no buffer if all are), and the number of Nones."""
    num_null = values.count(None)
    if not num_null:
        return None, 0
    bits = "".join(["0" if value is None else "1" for value in reversed(values)])
    return pa.py_buffer(int(bits, 2).to_bytes((len(values) + 7) // 8, "little")), num_null
