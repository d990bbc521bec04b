"""mini-swe-agent's `.traj.json` files: `{messages[], info, trajectory_format}`, versions 1 and 2.

The messages are those of the API, with an `extra` that the model did not see. In version 1, and with a text-based model
of version 2, an action is one `bash` block in the content, which stays text (`fenced_command`). Other actions of
version 2 are `tool_calls`, or Responses-API items, which become one assistant message per response. The `exit` message
at the end is the harness's own and goes to the metadata. The files hold no tools: use `--tools FILE`.

The outcome is `resolved`, `reward` or `score` of the record, its `info` or its `report`. Without it, a run whose
`exit_status` is not `Submitted` failed (0), and one that submitted is unlabelled.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pivotmine.actions import NATIVE
from pivotmine.readers.openai_form import (
    assistant,
    first_label,
    list_at,
    object_at,
    text_of_blocks,
    tool_call,
    tool_result,
    unreadable,
)
from pivotmine.readers.trajectory import Reader, Segment, Trajectory, outcome_label, text_or_none

_UNSEEN = ("extra", "timestamp")


def matches(record: Any) -> bool:
    """Whether a record has `messages` and names the format, or mini-swe-agent's version in `info`."""
    if not isinstance(record, dict) or "messages" not in record:
        return False
    named = str(record.get("trajectory_format")).startswith("mini-swe-agent")
    return named or "mini_version" in object_at(record, "info")


def read(record: Any) -> Trajectory:
    """Read a run as one segment: the context only grows."""
    found = list_at(record, "messages")
    info = object_at(record, "info")
    ends = [m for m in found if isinstance(m, dict) and m.get("role") == "exit"]
    left = {k: v for k, v in record.items() if k not in ("messages", "instance_id")}
    messages = list(_messages(found))
    return Trajectory(
        segments=(Segment(messages=messages, action_format=_action_format(messages)),),
        task_id=text_or_none(record.get("instance_id")),
        outcome=_outcome(record, info),
        metadata={**left, "exit": ends} if ends else left,
    )


def _action_format(messages: list[Any]) -> str:
    """`native` if the model called tools, else the block in the text."""
    known = [message for message in messages if isinstance(message, dict)]
    has_calls = any(message.get("tool_calls") or message.get("role") == "tool" for message in known)
    return NATIVE if has_calls else "fenced_command"


def _messages(found: list[Any]) -> Iterator[Any]:
    for message in found:
        if not isinstance(message, dict):
            yield message
        elif message.get("object") == "response":
            yield _reply(message.get("output"))
        elif message.get("type") == "function_call_output":
            yield tool_result(message.get("call_id"), _text(message.get("output")))
        elif message.get("role") != "exit":
            yield _seen(message)


def _seen(message: dict[str, Any]) -> dict[str, Any]:
    """Drop the keys that the API never got, and those that its client fills with null."""
    return {k: v for k, v in message.items() if k not in _UNSEEN and (v is not None or k == "content")}


def _reply(output: Any) -> dict[str, Any]:
    """Make one assistant message of a response's items."""
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    for item in output if isinstance(output, list) else [None]:
        if not isinstance(item, dict):
            return unreadable("assistant", "a response without a list of output items")
        kind = item.get("type")
        if kind == "function_call":
            calls.append(tool_call(item.get("call_id"), item.get("name"), item.get("arguments")))
        elif kind == "message" and isinstance(text := _text(item.get("content")), str):
            texts.append(text)
        elif kind == "reasoning" and isinstance(text := _text(item.get("content") or item.get("summary") or ""), str):
            thoughts.append(text)
        else:
            return unreadable("assistant", f"an output item of type {str(kind)[:60]!r}")
    return assistant("\n".join(texts) or None, reasoning="\n".join(t for t in thoughts if t), tool_calls=calls)


def _text(content: Any) -> Any:
    """Text of the Responses API's parts, which are `output_text`, `input_text`, `summary_text` or `reasoning_text`."""
    if not isinstance(content, list):
        return content
    texts = [{"type": "text", "text": part.get("text")} for part in content if isinstance(part, dict)]
    return text_of_blocks(texts) if len(texts) == len(content) else None


def _outcome(record: dict[str, Any], info: dict[str, Any]) -> float | None:
    label = first_label((record, info, object_at(record, "report")), ("resolved", "reward", "score"))
    if label is not None:
        return outcome_label(label)
    status = info.get("exit_status")
    return 0.0 if isinstance(status, str) and status and status != "Submitted" else None


READER = Reader(matches, read)
