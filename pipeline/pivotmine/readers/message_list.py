"""A file that is one conversation: a JSON array of messages, or a message a line.

Sources are read record by record, so each message of such a file is a record: they are joined again. ShareGPT entries
likewise.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pivotmine.messages import ROLES
from pivotmine.readers import openai_messages, sharegpt
from pivotmine.readers.trajectory import Reader, Trajectory
from pivotmine.sources.json_records import Record

_RECORDS = ("messages", "conversations", "traj", "trajectory", "request", "response")
"""Keys that a record has and a message has not."""


def matches(record: Any) -> bool:
    """One message: an object with a role and content or calls, or with `from` and `value`."""
    if not isinstance(record, dict) or any(key in record for key in _RECORDS):
        return False
    is_openai = record.get("role") in ROLES and any(key in record for key in ("content", "tool_calls", "function_call"))
    return is_openai or {"from", "value"} <= record.keys()


def group(records: Iterator[Record]) -> Iterator[Record]:
    """All messages of the file as one record; what is none comes out as it went in, before them."""
    first: int | None = None
    messages: list[Any] = []
    for record in records:
        if record.problem or not matches(record.value):
            yield record
            continue
        first = record.index if not messages else first
        messages.append(record.value)
    if messages:
        yield Record(first, messages)


def read(record: Any) -> Trajectory:
    """The messages of a file, or one."""
    messages = record if isinstance(record, list) else [record]
    return (sharegpt if sharegpt.matches(messages) else openai_messages).READER.read(messages)


READER = Reader(matches, read, group)
