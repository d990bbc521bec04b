"""Readers: one module a format, chosen by looking at each record.

To add a format, write a module with a `READER` and name it here; the first that matches reads the record, so put the
more particular ones first.
"""

from __future__ import annotations

from typing import Any

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
