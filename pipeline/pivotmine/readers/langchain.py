"""LangChain messages, in each of their dumped forms: `{"type": "human", "content"}`, the same under `data`
(`messages_to_dict`), and constructors (`{"lc": 1, "id": [..., "HumanMessage"], "kwargs"}`, of `dumpd`).

They are a list, or stand under `messages` with the same keys next to them as OpenAI messages. Calls are `tool_calls`
(`name`, `args`, `id`), else those of `additional_kwargs`. A call that LangChain could not read (`invalid_tool_calls`)
keeps its text. Blocks of thinking are reasoning.

Checked against langchain-core (`messages/ai.py`, `load/serializable.py`).
"""

from __future__ import annotations

from typing import Any

from pivotmine.readers.openai_form import assistant, listed, object_at, tool_call, unreadable
from pivotmine.readers.openai_messages import of_messages
from pivotmine.readers.record_fields import message_list
from pivotmine.readers.trajectory import Reader, Trajectory

_ROLES = {
    **{"human": "user", "ai": "assistant", "system": "system", "tool": "tool", "function": "function"},
    **{"HumanMessage": "user", "AIMessage": "assistant", "SystemMessage": "system", "ToolMessage": "tool"},
    **{"FunctionMessage": "function", "HumanMessageChunk": "user", "AIMessageChunk": "assistant"},
    **{"SystemMessageChunk": "system", "ToolMessageChunk": "tool"},
}
_KEPT = ("tool_call_id", "name", "status")


def matches(record: Any) -> bool:
    """Whether a record is a list, or has one under `messages`, whose first message is LangChain's."""
    messages = record.get("messages") if isinstance(record, dict) else record
    return isinstance(messages, list) and bool(messages) and _unwrapped(messages[0]) is not None


def _unwrapped(message: Any) -> tuple[str, dict[str, Any]] | None:
    """Role and fields of a message; None if it is not LangChain's."""
    if not isinstance(message, dict) or "role" in message or "from" in message:
        return None
    path = message.get("id")
    kind = path[-1] if "lc" in message and isinstance(path, list) and path else message.get("type")
    role = _ROLES.get(kind) if isinstance(kind, str) else None
    fields = next((message[k] for k in ("kwargs", "data") if isinstance(message.get(k), dict)), message)
    return (role, fields) if role and "content" in fields else None


def read(record: Any) -> Trajectory:
    """Read a record as one segment: the context only grows."""
    fields: dict[str, Any] = dict(record) if isinstance(record, dict) else {"messages": record}
    return of_messages([_message(m) for m in message_list(fields.pop("messages", None), "messages")], fields)


def _message(message: Any) -> Any:
    found = _unwrapped(message)
    if found is None:
        return message
    role, fields = found
    if role != "assistant":
        others = {key: fields[key] for key in _KEPT if fields.get(key) is not None}
        return {"role": role, "content": fields["content"], **others}
    more = object_at(fields, "additional_kwargs")
    content, thoughts = _said(fields["content"])
    calls = _calls(fields, more)
    if calls is None:
        return unreadable("assistant", "a call that is not an object")
    reasoning = "\n".join(thoughts) or more.get("reasoning_content")
    made = assistant(content, reasoning=reasoning if isinstance(reasoning, str) else "", tool_calls=calls)
    legacy = more.get("function_call")
    return {**made, "function_call": legacy} if legacy and not calls else made


def _said(content: Any) -> tuple[Any, list[str]]:
    """Split content into text (or its blocks, if one is not text) and thoughts, without the blocks of calls."""
    if not isinstance(content, list):
        return content, []
    rest, thoughts = list[Any](), list[str]()
    for block in content:
        kind = block.get("type") if isinstance(block, dict) else None
        thought = block.get("thinking", block.get("reasoning")) if isinstance(block, dict) else None
        if kind in ("thinking", "reasoning") and isinstance(thought, str):
            thoughts.append(thought)
        elif kind not in ("tool_use", "tool_call", "input_json_delta", "redacted_thinking"):
            rest.append({"type": "text", "text": block} if isinstance(block, str) else block)
    texts = [block.get("text") if isinstance(block, dict) and block.get("type") == "text" else None for block in rest]
    if all(isinstance(text, str) for text in texts):
        return "".join(text for text in texts if text), thoughts
    return rest, thoughts


def _calls(fields: dict[str, Any], more: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The calls; None if one of them cannot be read."""
    calls = [*listed(fields, "tool_calls"), *listed(fields, "invalid_tool_calls")]
    if calls:
        if not all(isinstance(call, dict) for call in calls):
            return None
        return [tool_call(call.get("id"), call.get("name"), call.get("args")) for call in calls]
    return listed(more, "tool_calls")


READER = Reader(matches, read)
