"""Readers: one module a format, chosen by looking at each record.

To add a format, write a module with a `READER` and name it here; the first that matches reads the record, so put the
more particular ones first. Where one trajectory is spread over several records of a file (a log with a line an event or
a request), the reader's `group` joins them before they are read: `grouped`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from pivotmine.json_records import Record
from pivotmine.readers import openai_messages, tau_bench
from pivotmine.readers.trajectory import BadTrajectory, Reader

READERS: dict[str, Reader] = {
    "tau_bench": tau_bench.READER,
    "openai": openai_messages.READER,
}


def detect(record: Any) -> str:
    """Name of the first reader that matches; BadTrajectory where none does."""
    for name, reader in READERS.items():
        if reader.matches(record):
            return name
    keys = sorted(record)[:8] if isinstance(record, dict) else type(record).__name__
    raise BadTrajectory("unknown_format", f"no reader knows {keys}; known: {', '.join(READERS)}")


def grouped(records: Iterator[Record], name: str | None = None) -> Iterator[Record]:
    """The records of one file, pieces of one trajectory joined; lazily, in order.

    The first record that a reader knows decides for the file: where that reader (or the one of this name) has a
    `group`, all that follows goes through it, so such a file cannot be split among workers.
    """
    for record in records:
        reader = None if record.problem else _reader(record.value, name)
        if reader is None:
            yield record
            continue
        rest = chain([record], records)
        yield from reader.group(rest) if reader.group else rest
        return


def _reader(value: Any, name: str | None) -> Reader | None:
    try:
        return READERS[name or detect(value)]
    except BadTrajectory:
        return None
