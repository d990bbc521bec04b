"""Anthropic Messages: `{"system", "messages", "tools"}` whose content is blocks of `text`, `thinking`, `tool_use`, ...

A `tool_use` block is a call, and a `tool_result` block of a user message is a tool message. `thinking` is reasoning;
its signature is dropped. `system` becomes the first message. Keys next to the messages are read as for OpenAI messages.
If a block has another type (an image, a tool of the server), the turns from there on are rejected. `request_log` reads
logs of such requests.

Checked against the Messages API reference (docs.anthropic.com, /v1/messages) and its SDK's types of content blocks.
"""

from __future__ import annotations

from typing import Any

from pivotmine.readers.openai_form import assistant, plain, tool_call, tool_result, unreadable
from pivotmine.readers.openai_messages import of_messages
from pivotmine.readers.record_fields import message_list, object_of
from pivotmine.readers.trajectory import Reader, Trajectory

_OWN_BLOCKS = ("tool_use", "tool_result", "thinking", "redacted_thinking")
"""Types of blocks that no other format has in its content."""


def matches(record: Any) -> bool:
    """Whether a record has `messages`, at least one with a block that only Anthropic has."""
    messages = record.get("messages") if isinstance(record, dict) else None
    return isinstance(messages, list) and any(map(_is_own, messages))


def _is_own(message: Any) -> bool:
    if not isinstance(message, dict) or message.get("tool_calls"):
        return False
    content = message.get("content")
    if not isinstance(content, list):
        return False
    return any(
        isinstance(block, dict) and block.get("type") in _OWN_BLOCKS and "value" not in block for block in content
    )


def read(record: Any) -> Trajectory:
    """Read a record as one segment: the context only grows."""
    fields = dict(object_of(record))
    messages = to_messages(fields.pop("system", None), message_list(fields.pop("messages", None), "messages"))
    return of_messages(messages, fields)


def to_messages(system: Any, messages: list[Any]) -> list[Any]:
    """The messages of a request in OpenAI form, the system prompt first."""
    first = [{"role": "system", "content": plain(system)}] if system else []
    return first + [new for message in messages for new in _converted(message)]


def _converted(message: Any) -> list[Any]:
    if not isinstance(message, dict):
        return [message]
    content, others = message.get("content"), {k: v for k, v in message.items() if k not in ("role", "content")}
    if message.get("role") == "assistant":
        return [{**said(content), **others}]
    if message.get("role") != "user" or not isinstance(content, list):
        return [{**message, "content": plain(content)}]
    results = [result_of(block) for block in content if is_result(block)]
    rest = [block for block in content if not is_result(block)]
    return [*results, {"role": "user", "content": plain(rest), **others}] if rest or not results else results


def said(content: Any) -> dict[str, Any]:
    """Make an assistant message of content blocks."""
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        return unreadable("assistant", "the content of a reply is not a list of blocks")
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    for block in blocks:
        match block.get("type"), block.get("text", block.get("thinking")):
            case "text", str(text):
                texts.append(text)
            case "thinking", str(text):
                thoughts.append(text)
            case "redacted_thinking", _:
                continue
            case "tool_use", _ if isinstance(block.get("id"), str):
                calls.append(tool_call(block["id"], block.get("name"), block.get("input")))
            case kind, _:
                return unreadable("assistant", f"a content block of type {str(kind)[:60]!r}")
    return assistant("".join(texts), reasoning="\n".join(filter(None, thoughts)), tool_calls=calls)


def is_result(block: Any) -> bool:
    """Whether a block of a user message is the result of a call."""
    return isinstance(block, dict) and block.get("type") == "tool_result"


def result_of(block: dict[str, Any]) -> dict[str, Any]:
    """The tool message of a result block."""
    result = tool_result(block.get("tool_use_id"), plain(block.get("content", "")))
    return result | {"is_error": True} if block.get("is_error") is True else result


READER = Reader(matches, read)
