"""Calls inside the text: messages or ShareGPT entries whose assistant text holds `<tool_call>` (Hermes JSON, or
Qwen3-Coder's XML), `<function=...>` or `[TOOL_CALLS]`.

The reader leaves the messages as they are. `conventions.settle` decides whether such a text is a harness's convention
or only serialises native calls. In the second case `with_native_calls` makes native calls of it: the text around them
is content, a leading `<think>` block is reasoning, and `extra` keeps the text as it was written. A text with a call
that cannot be read stays as it is and is not a demonstration. A message of `<tool_response>` blocks becomes tool
messages. They, and tool messages without an id, answer the last calls in order. System prompts that list the tools stay
as they are. Hermes calls may be written as Python dicts.
"""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from typing import Any

from pivotmine import strict_json
from pivotmine.actions import Action, parse_action
from pivotmine.readers import openai_messages, sharegpt
from pivotmine.readers.pairing import CallIds
from pivotmine.readers.record_fields import message_list, tool_definitions
from pivotmine.readers.trajectory import BadTrajectory, Reader, Segment, Trajectory

_PARSERS = {"<function=": "qwen3_xml", "<tool_call>": "hermes", "[TOOL_CALLS]": "mistral"}
"""Parsers by the markup that they read, the more specific first."""
_RESULTS = re.compile(r"\s*(?:<tool_response>.*?</tool_response>\s*)+", re.DOTALL)
_RESULT = re.compile(r"<tool_response>\n?(.*?)\n?</tool_response>", re.DOTALL)
_CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
_MAX_LITERAL_CHARS = 100_000
"""Longer Python literals are not read: Python's parser needs many times their size in memory."""
_TOOLS = re.compile(r"<tools>(.*?)</tools>", re.DOTALL)


def matches(record: Any) -> bool:
    """Whether the OpenAI or ShareGPT reader takes a record, and a text of the assistant holds call markup."""
    value = record
    if isinstance(record, dict):
        value = record.get("messages", record.get("conversations"))
    if isinstance(value, str) and any(mark in value for mark in _PARSERS):
        value = _listed(value)
    return isinstance(value, list) and any(_mark(entry) for entry in value)


def _listed(text: str) -> list[Any]:
    """The messages in a JSON text; empty if the text holds none."""
    try:
        return message_list(text, "messages")
    except BadTrajectory:
        return []


def _mark(message: Any) -> str | None:
    """The markup in an assistant's text; None if there is none, or if the message has calls."""
    if not isinstance(message, dict) or message.get("tool_calls") or message.get("function_call"):
        return None
    said = sharegpt.ROLES.get(str(message.get("from", message.get("role"))))
    text = message.get("content", message.get("value"))
    if said != "assistant" or not isinstance(text, str):
        return None
    return next((mark for mark in _PARSERS if mark in text), None)


def read(record: Any) -> Trajectory:
    """Read a record as the reader of the same messages without markup does."""
    return (sharegpt if sharegpt.matches(record) else openai_messages).READER.read(record)


def with_native_calls(segment: Segment) -> Segment:
    """Turn the calls in a segment's texts into native calls; return the same segment if there are none."""
    if not any(_mark(message) for message in segment.messages):
        return segment
    tools = segment.tools or listed_tools(segment.messages)
    ids, made, num_inherited = CallIds(), list[Any](), 0
    for place, message in enumerate(segment.messages):
        made += _results(message, ids) or [_read(message, ids, tools)]
        num_inherited = len(made) if place < segment.num_inherited else num_inherited
    return replace(segment, messages=made, num_inherited=num_inherited)


def _results(message: Any, ids: CallIds) -> list[Any]:
    """The results in a message; empty if it holds anything else."""
    text = message.get("content") if isinstance(message, dict) else None
    if not isinstance(text, str) or message.get("role") not in ("user", "tool") or not _RESULTS.fullmatch(text):
        return []
    return [ids.result(found[1]) for found in _RESULT.finditer(text)]


def _read(message: Any, ids: CallIds, tools: list[Any]) -> Any:
    text = message.get("content") if isinstance(message, dict) else None
    if not isinstance(text, str):
        return message
    if mark := _mark(message):
        return _turn(message, mark, ids, tools)
    if message.get("role") == "tool" and "tool_call_id" not in message:
        return {**message, **ids.result(text)}
    return message


def _turn(message: dict[str, Any], mark: str, ids: CallIds, tools: list[Any]) -> dict[str, Any]:
    text = message["content"]
    action = parse_action(_with_json(text) if mark == "<tool_call>" else text, parser=_PARSERS[mark], tools=tools)
    if action.unparsed or not action.tool_calls:
        return message
    return native_turn(message, action, ids)


def _with_json(text: str) -> str:
    """Turn the Python dicts that some data sets write into `<tool_call>` into JSON."""

    def as_json(found: re.Match[str]) -> str:
        written = found[1].strip()
        try:
            strict_json.loads(written)
            return found[0]
        except ValueError:
            pass
        try:
            value = ast.literal_eval(written) if len(written) <= _MAX_LITERAL_CHARS else None
            return f"<tool_call>{strict_json.dumps(value)}</tool_call>" if isinstance(value, dict) else found[0]
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return found[0]

    return _CALL.sub(as_json, text)


def native_turn(message: dict[str, Any], action: Action, ids: CallIds) -> dict[str, Any]:
    """The message with the calls that were read from its text; `extra` keeps the text."""
    text = message["content"]
    calls = ids.calls([{"name": c.name, "arguments": strict_json.dumps(c.arguments)} for c in action.tool_calls])
    turn = {**message, "content": action.message or None, "tool_calls": calls}
    if action.reasoning:
        turn["reasoning_content"] = action.reasoning
    return {**turn, "extra": {**message.get("extra", {}), "text": text}}


def listed_tools(messages: list[Any]) -> list[Any]:
    """Tools that the first message lists, as JSON or one per line. They give the types of arguments."""
    first = messages[0].get("content") if messages and isinstance(messages[0], dict) else None
    # `in` is faster than the pattern.
    found = _TOOLS.search(first) if isinstance(first, str) and "<tools>" in first else None
    if found is None:
        return []
    listed = found[1].strip()
    for text in (listed, f"[{','.join(listed.splitlines())}]"):
        try:
            return tool_definitions(text) or []
        except BadTrajectory:
            continue
    return []


READER = Reader(matches, read)
