"""Rows whose messages stand under `trajectory`: OpenAI messages, or nebius' `{"role": "ai", "text", "system_prompt"}`.

The keys next to them are read as for OpenAI messages; `resolved` or `target` is the label. In nebius' rows the system
text stands in `system_prompt`. Their `mask` is false everywhere and not documented, so it is ignored.

Checked against the dataset cards of nebius/SWE-agent-trajectories and nebius/SWE-rebench-openhands-trajectories.
"""

from __future__ import annotations

from typing import Any

from pivotmine.readers.openai_messages import of_messages
from pivotmine.readers.record_fields import message_list, object_of, parsed
from pivotmine.readers.trajectory import BadTrajectory, Reader, Trajectory

_ROLES = {"ai": "assistant"}
_OF_NEBIUS = ("text", "system_prompt", "cutoff_date")


def matches(record: Any) -> bool:
    """Whether a record has `trajectory`, a list of messages or its JSON text, and no other messages."""
    if not isinstance(record, dict) or "trajectory" not in record or "messages" in record or "history" in record:
        return False
    found = record["trajectory"]
    if isinstance(found, str) and found.lstrip().startswith("["):
        try:
            found = parsed("no_messages", "`trajectory` is text and", found)
        except BadTrajectory:
            return False
    return (
        isinstance(found, list) and bool(found) and isinstance(found[0], dict) and isinstance(found[0].get("role"), str)
    )


def read(record: Any) -> Trajectory:
    """Read a row as one segment: the context only grows."""
    fields = dict(object_of(record))
    return of_messages([_message(m) for m in message_list(fields.pop("trajectory", None), "trajectory")], fields)


def _message(message: Any) -> Any:
    if not isinstance(message, dict) or "content" in message or "text" not in message:
        return message
    text = message["text"]
    if text is None and message.get("role") == "system":
        text = message.get("system_prompt")
    rest = {k: v for k, v in message.items() if k not in _OF_NEBIUS}
    role = message.get("role")
    return {**rest, "role": _ROLES.get(role, role) if isinstance(role, str) else role, "content": text}


READER = Reader(matches, read)
