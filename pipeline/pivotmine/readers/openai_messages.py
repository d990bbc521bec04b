"""OpenAI-style messages: `{"messages": [...], "tools": [...], ...}`, or the bare list of messages.

`messages` may be JSON text. Messages are kept as they are: modern `tool_calls` and the older `function_call`, content
as text, null or blocks, `reasoning_content`, `weight`. A call that holds name and arguments itself gets a `function`,
as chat templates read it. These keys next to the messages are read: `tools` or `functions` (a list, or its JSON text),
the outcome and the task (`record_fields` has their keys), `domain`, and `system` or `system_prompt`, which becomes the
first message if they do not begin with such a prompt. A failure is labelled 0.
"""

from __future__ import annotations

from typing import Any

from pivotmine import strict_json
from pivotmine.readers.record_fields import labelled, message_list, task_of, tool_definitions
from pivotmine.readers.trajectory import BadTrajectory, Reader, Segment, Trajectory, text_or_none

_SYSTEM_KEYS = ("system", "system_prompt")


def matches(record: Any) -> bool:
    """Whether a record is a list, or an object with the key `messages`."""
    return isinstance(record, list) or (isinstance(record, dict) and "messages" in record)


def read(record: Any) -> Trajectory:
    """Read a record as one segment: the context only grows."""
    fields: dict[str, Any] = dict(record) if isinstance(record, dict) else {"messages": record}
    messages = message_list(fields.pop("messages", None), "messages")
    if any(map(_is_vercel, messages)):
        detail = "the Vercel AI SDK's messages (`parts`, `tool-call` blocks) are not read: convert them to OpenAI's"
        raise BadTrajectory("unknown_format", detail)
    return of_messages(messages, fields)


def _is_vercel(message: Any) -> bool:
    """Whether a message is the Vercel AI SDK's. Read as OpenAI's, it would lose its calls."""
    if not isinstance(message, dict):
        return False
    content = message.get("content")
    blocks = content if isinstance(content, list) else []
    named = isinstance(message.get("parts"), list) or isinstance(message.get("toolInvocations"), list)
    return named or any(isinstance(b, dict) and b.get("type") in ("tool-call", "tool-result") for b in blocks)


def of_messages(messages: list[Any], fields: dict[str, Any]) -> Trajectory:
    """Make a trajectory of messages, labelled by the keys next to them, which become its metadata."""
    used = ["domain", "tools"] if fields.get("tools") else ["domain", "tools", "functions"]
    if system := _system_key(messages, fields):
        messages = [{"role": "system", "content": fields[system]}, *messages]
        used.append(system)
    outcome, key = labelled(fields)
    tools = tool_definitions(fields.get("tools") or fields.get("functions"))
    return Trajectory(
        segments=(Segment(messages=[with_functions(message) for message in messages], tools=tools),),
        task_id=task_of(fields),
        domain=text_or_none(fields.get("domain")),
        outcome=outcome,
        outcome_key=key,
        metadata={k: v for k, v in fields.items() if k not in used},
    )


def with_functions(message: Any) -> Any:
    """Write the calls of a message as the API does: neither flat nor as JSON text."""
    calls = message.get("tool_calls") if isinstance(message, dict) else None
    if isinstance(calls, list) and any(isinstance(call, str) for call in calls):
        calls = [_parsed(call) if isinstance(call, str) else call for call in calls]
        message = {**message, "tool_calls": calls}
    if not isinstance(calls, list) or not any(_is_flat(call) for call in calls):
        return message
    return {**message, "tool_calls": [_with_function(call) if _is_flat(call) else call for call in calls]}


def _parsed(call: str) -> Any:
    try:
        return strict_json.loads(call)
    except ValueError:
        return call


def _is_flat(call: Any) -> bool:
    return isinstance(call, dict) and "function" not in call and {"name", "arguments"} <= call.keys()


def _with_function(call: dict[str, Any]) -> dict[str, Any]:
    others = {key: value for key, value in call.items() if key not in ("name", "arguments")}
    return {"type": "function", **others, "function": {"name": call["name"], "arguments": call["arguments"]}}


def _system_key(messages: list[Any], fields: dict[str, Any]) -> str | None:
    """The key that holds the system prompt; None if there is none, or the messages begin with one."""
    first = messages[0] if messages else None
    if isinstance(first, dict) and first.get("role") in ("system", "developer"):
        return None
    return next((key for key in _SYSTEM_KEYS if fields.get(key) and isinstance(fields[key], str | list)), None)


READER = Reader(matches, read)
