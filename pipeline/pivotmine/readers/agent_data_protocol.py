"""Agent Data Protocol: `{"schema_version", "id", "content": [{"class_": "api_action", ...}, ...], "details"}`.

An action is one turn. An `api_action` is a call, with its `description` as text. A `code_action` is a call named after
its language, with the argument `code`. A `message_action` is a message, with its `description` as reasoning. What the
environment shows is the result of the call with its `tool_call_id`, or else of the last call. What the user shows is a
message. The harness words web pages for the model, and the file does not hold these words: the turns from there on are
rejected. `available_apis` and `available_custom_tools` name tools without definitions: use `--tools FILE`.

Checked against neulab/agent-data-protocol, `schema/SCHEMA.md`, `schema/trajectory.py` and `schema/tool_call_links.py`
(versions 1.2 and later).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pivotmine import strict_json
from pivotmine.readers.openai_form import assistant, list_at, object_at, tool_call, tool_result, unreadable, unrecorded
from pivotmine.readers.record_fields import labelled, object_of, task_of
from pivotmine.readers.trajectory import Reader, Segment, Trajectory, text_or_none

_CALLS = ("api_action", "code_action")


def matches(record: Any) -> bool:
    """Whether a record has a `content` whose first item has a `class_`."""
    content = record.get("content") if isinstance(record, dict) and "id" in record else None
    return isinstance(content, list) and bool(content) and isinstance(content[0], dict) and "class_" in content[0]


def read(record: Any) -> Trajectory:
    """Read a record as one segment: the context only grows."""
    fields = object_of(record)
    content = list_at(fields, "content")
    details = object_at(fields, "details")
    outcome, key = labelled(details)
    metadata = {k: v for k, v in fields.items() if k != "content"}
    return Trajectory(
        segments=(Segment(messages=list(_messages(content)), rewards=_rewards(content)),),
        task_id=task_of(details) or text_or_none(fields.get("id")),
        outcome=outcome,
        outcome_key=None if key is None else f"details.{key}",
        metadata={**metadata, "unrecorded": ["system prompt", "tools"]},
    )


def _rewards(content: list[Any]) -> tuple[Any, ...]:
    """The reward of each action; empty if none has one."""
    actions = [one for one in content if isinstance(one, dict) and str(one.get("class_")).endswith("_action")]
    rewards = tuple(one.get("reward") for one in actions)
    return rewards if any(reward is not None for reward in rewards) else ()


def _messages(content: list[Any]) -> Iterator[dict[str, Any]]:
    waiting: list[str] = []
    for number, item in enumerate(content):
        kind = item.get("class_") if isinstance(item, dict) else None
        if kind in _CALLS:
            waiting = [str(item.get("tool_call_id") or f"call_{number}")]
            yield _call(item, kind, waiting[0])
        elif kind == "message_action":
            waiting = []
            yield assistant(item.get("content"), reasoning=_thought(item, "reasoning_content", "description"))
        elif kind == "text_observation" and item.get("source") == "agent":
            yield {"role": "assistant", "content": item.get("content"), "weight": 0}
        elif kind in ("text_observation", "json_observation", "image_observation"):
            yield _observation(item, kind, waiting)
        elif kind == "web_observation":
            yield unrecorded("user", "a web page was shown in words that the file does not hold")
        else:
            yield unreadable("user", f"an item of the class {str(kind)[:60]!r}")


def _call(item: dict[str, Any], kind: str, identity: str) -> dict[str, Any]:
    if kind == "api_action":
        call = tool_call(identity, item.get("function"), item.get("kwargs") or {})
    else:
        call = tool_call(identity, item.get("language"), {"code": item.get("content")})
    return assistant(item.get("description") or None, reasoning=_thought(item, "reasoning_content"), tool_calls=[call])


def _thought(item: dict[str, Any], *keys: str) -> str:
    return "\n".join(item[key] for key in keys if isinstance(item.get(key), str) and item[key])


def _observation(item: dict[str, Any], kind: str, waiting: list[str]) -> dict[str, Any]:
    content = item.get("content")
    if kind == "image_observation":
        content = [{"type": "image"}]
    elif not isinstance(content, str):
        content = strict_json.dumps(content)
    identity = item.get("tool_call_id") or (waiting[0] if waiting and item.get("source") != "user" else None)
    if identity is None:
        return {"role": "user", "content": content}
    waiting.clear()
    return tool_result(identity, content)


READER = Reader(matches, read)
