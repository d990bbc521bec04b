"""Tables for a terminal, and as JSON lines; foreign text is made inert."""

from __future__ import annotations

import json
import math
from typing import Any

import pyarrow as pa

from pivotmine.counts import counted
from pivotmine.errors import UserError
from pivotmine.escape import inert

MAX_CELL = 80
MAX_ROWS = 200
_CUT = "..."


def as_text_table(table: pa.Table) -> str:
    """Return a table for a terminal: cells cut at 80 characters, at most 200 rows, then the number of rows."""
    names = [_cell(name) for name in table.column_names]
    shown_rows = table.slice(0, MAX_ROWS)
    rows = list(zip(*([_cell(value) for value in _values(column)] for column in shown_rows.columns), strict=True))
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [names, *rows]
    ]
    rule = "  ".join("-" * width for width in widths)
    cut = [f"the first {MAX_ROWS} shown"] if table.num_rows > MAX_ROWS else []
    cut += ["cells cut"] if any(cell.endswith(_CUT) and len(cell) == MAX_CELL for row in rows for cell in row) else []
    shown = f", {', '.join(cut)}; --json prints all" if cut else ""
    return "\n".join([lines[0], rule, *lines[1:], f"({counted(table.num_rows, 'row')}{shown})"])


def _values(column: pa.ChunkedArray) -> list[Any]:
    try:
        return column.to_pylist()
    except (OverflowError, ValueError):
        raise UserError("the answer has a date outside Python's range: turn it into text with ::varchar") from None


def _cell(value: Any) -> str:
    if value is None:
        return "null"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    text = inert(text)
    return text if len(text) <= MAX_CELL else f"{text[: MAX_CELL - len(_CUT)]}{_CUT}"


def as_json_lines(table: pa.Table) -> str:
    """Return one JSON object per row. NaN and infinities become null, because JSON does not have them."""
    rows = zip(*(_values(column) for column in table.columns), strict=True)
    named = (dict(zip(table.column_names, row, strict=True)) for row in rows)
    return "\n".join(json.dumps(_finite(row), ensure_ascii=True, default=str) for row in named)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value
