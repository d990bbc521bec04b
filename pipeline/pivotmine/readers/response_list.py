"""Lists of Responses API items: one JSON array, an item a line, or under `messages` (OpenAI Agents SDK's input lists).

Items are messages with a role, `reasoning`, `function_call`, `function_call_output`. What the model wrote are the
turns, as in `responses`. Files of one item a line are joined by `message_list`.

Checked against openai-agents-python (`docs/results.md`, `RunResult.to_input_list`) and codex (`ResponseItem`).
"""

from __future__ import annotations

from typing import Any

from pivotmine.readers.logs.response_items import ITEM_TYPES, to_messages
from pivotmine.readers.openai_messages import of_messages
from pivotmine.readers.record_fields import message_list
from pivotmine.readers.trajectory import Reader, Trajectory


def matches(record: Any) -> bool:
    """A list (or one under `messages`) with an item that is not a message."""
    items = record.get("messages") if isinstance(record, dict) else record
    return isinstance(items, list) and any(is_item(item) for item in items)


def is_item(value: Any) -> bool:
    """Whether a value is an item of the Responses API that is not a message."""
    return isinstance(value, dict) and value.get("type") in ITEM_TYPES and "role" not in value


def read(record: Any) -> Trajectory:
    """One list, one segment: the format only ever appends."""
    fields: dict[str, Any] = dict(record) if isinstance(record, dict) else {"messages": record}
    return of_messages(to_messages(message_list(fields.pop("messages", None), "messages")), fields)


READER = Reader(matches, read)
