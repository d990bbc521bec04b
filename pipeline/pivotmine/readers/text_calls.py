"""Calls inside the text: messages or ShareGPT entries whose assistant text holds `<tool_call>` (Hermes JSON, or
Qwen3-Coder's XML), `<function=...>` or `[TOOL_CALLS]`.

Such calls become tool calls, the text around them content, a leading `<think>` block reasoning; the text as it was
written is kept under `extra`. A text with a call that cannot be read stays as it is, and is no demonstration. Results
in `<tool_response>` become tool messages where a message holds nothing else. They and tool messages without an id
answer the last calls in order. System prompts that list the tools stay as they are.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from pivotmine import strict_json
from pivotmine.actions import parse_action
from pivotmine.readers import openai_messages, sharegpt
from pivotmine.readers.pairing import CallIds
from pivotmine.readers.record_fields import message_list, tool_definitions
from pivotmine.readers.trajectory import BadTrajectory, Reader, Segment, Trajectory

_PARSERS = {"<function=": "qwen3_xml", "<tool_call>": "hermes", "[TOOL_CALLS]": "mistral"}
"""By the mark that tells them, the more particular first."""
_RESULTS = re.compile(r"\s*(?:<tool_response>.*?</tool_response>\s*)+", re.DOTALL)
_RESULT = re.compile(r"<tool_response>\n?(.*?)\n?</tool_response>", re.DOTALL)
_TOOLS = re.compile(r"<tools>(.*?)</tools>", re.DOTALL)


def matches(record: Any) -> bool:
    """What the OpenAI or the ShareGPT reader takes, with call markup in a text of the assistant."""
    value = record
    if isinstance(record, dict):
        value = record.get("messages", record.get("conversations"))
    if isinstance(value, str) and any(mark in value for mark in _PARSERS):
        value = _listed(value)
    return isinstance(value, list) and any(_mark(entry) for entry in value)


def _listed(text: str) -> list[Any]:
    """The messages whose JSON the text is; none where it is none."""
    try:
        return message_list(text, "messages")
    except BadTrajectory:
        return []


def _mark(message: Any) -> str | None:
    """The markup in what an assistant wrote; None where there is none, or calls beside it."""
    if not isinstance(message, dict) or message.get("tool_calls") or message.get("function_call"):
        return None
    said = sharegpt.ROLES.get(str(message.get("from", message.get("role"))))
    text = message.get("content", message.get("value"))
    if said != "assistant" or not isinstance(text, str):
        return None
    return next((mark for mark in _PARSERS if mark in text), None)


def read(record: Any) -> Trajectory:
    """As the reader of the same messages without markup, with the calls taken out of the text."""
    found = (sharegpt if sharegpt.matches(record) else openai_messages).READER.read(record)
    return replace(found, segments=tuple(replace(s, messages=_messages(s)) for s in found.segments))


def with_calls(segment: Segment) -> Segment:
    """The segment of another format, the calls taken out of its texts, message for message.

    Results stay where they are: which messages earlier segments hold is told by their number.
    """
    if not any(_mark(message) for message in segment.messages):
        return segment
    ids, tools = CallIds(), segment.tools or _listed_tools(segment.messages)
    return replace(segment, messages=[_read(message, ids, tools) for message in segment.messages])


def _messages(segment: Segment) -> list[Any]:
    tools = segment.tools or _listed_tools(segment.messages)
    ids = CallIds()
    return [new for message in segment.messages for new in _results(message, ids) or [_read(message, ids, tools)]]


def _results(message: Any, ids: CallIds) -> list[Any]:
    """The results of which a message is made; none where it holds anything else."""
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
    action = parse_action(text, parser=_PARSERS[mark], tools=tools)
    if action.unparsed or not action.tool_calls:
        return message
    calls = ids.calls([{"name": c.name, "arguments": strict_json.dumps(c.arguments)} for c in action.tool_calls])
    turn = {**message, "content": action.message or None, "tool_calls": calls}
    if action.reasoning:
        turn["reasoning_content"] = action.reasoning
    return {**turn, "extra": {**message.get("extra", {}), "text": text}}


def _listed_tools(messages: list[Any]) -> list[Any]:
    """Tools listed in the first message, as JSON or a line each: they say of what type an argument is."""
    first = messages[0].get("content") if messages and isinstance(messages[0], dict) else None
    found = _TOOLS.search(first) if isinstance(first, str) else None
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
