"""OpenAI-style messages: `{"messages": [...], "tools": [...], ...}`, or the bare list of messages.

Keys beside them: `tools` or `functions` (a list, or its JSON text); the outcome under the first of `outcome`,
`reward`, `score`, `success`, `resolved`; the task under the first of `task_id`, `instance_id`, `problem_id`; `domain`.
A failure is labelled 0.
"""

from __future__ import annotations

from typing import Any

from pivotmine import jsonvalues
from pivotmine.readers.trajectory import (
    BadTrajectory,
    Reader,
    Segment,
    Trajectory,
    outcome_label,
    text_or_none,
)

OUTCOME_KEYS = ("outcome", "reward", "score", "success", "resolved")
TASK_KEYS = ("task_id", "instance_id", "problem_id")


def matches(record: Any) -> bool:
    """A list, or an object with the key `messages`."""
    return isinstance(record, list) or (isinstance(record, dict) and "messages" in record)


def read(record: Any) -> Trajectory:
    """One record, one segment: the format only ever appends."""
    fields: dict[str, Any] = dict(record) if isinstance(record, dict) else {"messages": record}
    messages = fields.pop("messages", None)
    if not isinstance(messages, list):
        raise BadTrajectory("no_messages", f"`messages` is no list but {type(messages).__name__}")
    tools = tool_definitions(fields.pop("tools", None) or fields.pop("functions", None))
    outcome = outcome_label(next((fields[k] for k in OUTCOME_KEYS if fields.get(k) is not None), None))
    return Trajectory(
        segments=(Segment(messages=messages, tools=tools),),
        task_id=next((text_or_none(fields[k]) for k in TASK_KEYS if fields.get(k) is not None), None),
        domain=text_or_none(fields.pop("domain", None)),
        outcome=outcome,
        metadata=fields,
    )


def tool_definitions(tools: Any) -> list[Any] | None:
    """Tools in OpenAI form: JSON text is parsed, a bare function object is wrapped; none or an empty list is None.

    Raises BadTrajectory where they are no list of objects with names.
    """
    if isinstance(tools, str):
        try:
            tools = jsonvalues.loads(tools) if tools.strip() else None
        except ValueError as error:
            raise BadTrajectory("bad_tools", str(error)) from None
    if not tools:
        return None
    if not isinstance(tools, list):
        raise BadTrajectory("bad_tools", f"tools are a list, not {type(tools).__name__}")
    return [_definition(tool) for tool in tools]


def _definition(tool: Any) -> dict[str, Any]:
    function = tool.get("function", tool) if isinstance(tool, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise BadTrajectory("bad_tools", "a tool without a name")
    if "function" in tool:
        return tool
    return {"type": "function", "function": {k: v for k, v in tool.items() if k != "type"}}


READER = Reader(matches, read)
