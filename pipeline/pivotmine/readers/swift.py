"""ms-swift's agent rows: `{"messages": [{"role": "tool_call", "content": "{...}"}, ...], "tools"}`.

A `tool_call` is an assistant's call as JSON text. Several in a row, or calls right after the assistant's text, are one
turn. A `tool_response` (or `tool`) answers the calls in their order. `loss` masks a message. The messages are read as
ShareGPT entries of the same names.

Checked against ms-swift's documentation (custom dataset, agent support).
"""

from __future__ import annotations

from typing import Any

from pivotmine.readers import sharegpt
from pivotmine.readers.openai_messages import of_messages
from pivotmine.readers.record_fields import message_list, object_of
from pivotmine.readers.trajectory import Reader, Trajectory

_OWN_ROLES = ("tool_call", "tool_response")


def matches(record: Any) -> bool:
    """Whether a record has `messages`, at least one with a role that only ms-swift has."""
    messages = record.get("messages") if isinstance(record, dict) else None
    return isinstance(messages, list) and any(isinstance(m, dict) and m.get("role") in _OWN_ROLES for m in messages)


def read(record: Any) -> Trajectory:
    """Read a record as one segment: the context only grows."""
    fields = dict(object_of(record))
    entries = [_entry(message) for message in message_list(fields.pop("messages", None), "messages")]
    return of_messages(sharegpt.to_messages(entries), fields)


def _entry(message: Any) -> Any:
    """The message as a ShareGPT entry; a message with calls, or without content, stays as it is."""
    if not isinstance(message, dict) or not {"role", "content"} <= message.keys() or message.get("tool_calls"):
        return message
    rest = {k: v for k, v in message.items() if k not in ("role", "content")}
    return {"from": message["role"], "value": message["content"], **rest}


READER = Reader(matches, read)
