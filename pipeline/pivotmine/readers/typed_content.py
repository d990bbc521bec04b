"""Typed content (LLaMA-Factory v1): messages whose content is a list of `{"type", "value"}`.

Types: `text`, `reasoning`, `tool_call` (JSON text of one call `{"name", "arguments"}`), media. `loss_weight` 0 masks a
message. Calls have no ids: results answer the last calls in their order. `tools` is a list or its JSON text. A block
that cannot be read stays as it is, and the turns from there on are rejected.
"""

from __future__ import annotations

from typing import Any

from pivotmine import strict_json
from pivotmine.readers.openai_messages import of_messages
from pivotmine.readers.pairing import CallIds
from pivotmine.readers.record_fields import message_list, object_of
from pivotmine.readers.trajectory import Reader, Trajectory

_TAKEN = ("role", "content", "loss_weight")


def matches(record: Any) -> bool:
    """Whether a record has `messages`, at least one with a block that has `value` and no key named after its type."""
    messages = record.get("messages") if isinstance(record, dict) else None
    return isinstance(messages, list) and any(_is_typed(message) for message in messages)


def _is_typed(message: Any) -> bool:
    content = message.get("content") if isinstance(message, dict) else None
    return isinstance(content, list) and any(_is_block(block) for block in content)


def _is_block(block: Any) -> bool:
    return (
        isinstance(block, dict)
        and "value" in block
        and isinstance(kind := block.get("type"), str)
        and kind not in block
    )


def read(record: Any) -> Trajectory:
    """Read a record as one segment: the context only grows."""
    fields = dict(object_of(record))
    ids = CallIds()
    messages = [_message(message, ids) for message in message_list(fields.pop("messages", None), "messages")]
    return of_messages(messages, fields)


def _message(message: Any, ids: CallIds) -> Any:
    if not _is_typed(message):
        return message
    rest = {k: v for k, v in message.items() if k not in _TAKEN}
    others: dict[str, Any] = {"extra": rest} if rest else {}
    if message.get("loss_weight") is not None:
        others["weight"] = message["loss_weight"]
    blocks: list[Any] = message["content"]
    role = message.get("role")
    if unread := [block for block in blocks if not _is_readable(block, role)]:
        return {"role": role, "content": [*unread, *blocks]}
    text = "".join(block["value"] for block in blocks if block["type"] == "text")
    if role == "tool":
        return {**ids.result(text), **others}
    return {"role": role, "content": text, **_others(blocks, ids), **others}


def _is_readable(block: Any, role: Any) -> bool:
    if not _is_block(block) or not isinstance(block["value"], str):
        return False
    own = role == "assistant" and (block["type"] == "reasoning" or _function(block) is not None)
    return own or block["type"] == "text"


def _others(blocks: list[dict[str, Any]], ids: CallIds) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if reasoning := "".join(block["value"] for block in blocks if block["type"] == "reasoning"):
        found["reasoning_content"] = reasoning
    if functions := [function for block in blocks if (function := _function(block)) is not None]:
        found["tool_calls"] = ids.calls(functions)
    return found


def _function(block: dict[str, Any]) -> dict[str, Any] | None:
    if block["type"] != "tool_call":
        return None
    try:
        function = strict_json.loads(block["value"])
    except ValueError:
        return None
    return function if isinstance(function, dict) and isinstance(function.get("name"), str) else None


READER = Reader(matches, read)
