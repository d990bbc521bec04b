"""Lists of Responses API items: a JSON array, one item per line, or under `messages` (OpenAI Agents SDK's input lists).

Items are messages with a role, `reasoning`, `function_call`, `function_call_output`. The turns are what the model
wrote, as in `responses`. `message_list` joins files with one item per line.

Checked against openai-agents-python (`docs/results.md`, `RunResult.to_input_list`) and codex (`ResponseItem`).
"""

from __future__ import annotations

from typing import Any

from pivotmine.readers.logs.response_items import ITEM_TYPES, to_messages
from pivotmine.readers.openai_messages import of_messages
from pivotmine.readers.record_fields import message_list
from pivotmine.readers.trajectory import Reader, Trajectory


def matches(record: Any) -> bool:
    """Whether a record is a list, or has one under `messages`, with an item that is not a message."""
    items = record.get("messages") if isinstance(record, dict) else record
    return isinstance(items, list) and any(is_item(item) for item in items)


def is_item(value: Any) -> bool:
    """Whether a value is an item of the Responses API that is not a message."""
    return isinstance(value, dict) and value.get("type") in ITEM_TYPES and "role" not in value


def read(record: Any) -> Trajectory:
    """Read a list as one segment: the context only grows."""
    fields: dict[str, Any] = dict(record) if isinstance(record, dict) else {"messages": record}
    return of_messages(to_messages(message_list(fields.pop("messages", None), "messages")), fields)


READER = Reader(matches, read)
