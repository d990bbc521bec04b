"""What a record says of its trajectory beside the messages: outcome, task, tools."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pivotmine import strict_json
from pivotmine.errors import UserError
from pivotmine.readers.trajectory import BadTrajectory, outcome_label, text_or_none

OUTCOME_KEYS = (
    *("outcome", "reward", "score", "success", "resolved"),
    *("is_correct", "is_resolved", "is_success", "is_solved", "solved", "passed"),
)
"""The first that is there is the label. Words that also name other things (`correct`, `target`, `label`, `status`) are
not among them: an answer taken for a label would be worse than none."""
_SCHEMA_KEYS = dict.fromkeys(("input_schema", "inputSchema"), "parameters")
"""What Anthropic's API and MCP call a tool's parameters."""
TASK_KEYS = ("task_id", "instance_id", "problem_id")


def outcome_of(fields: Mapping[str, Any]) -> float | None:
    """The outcome under the first of OUTCOME_KEYS; BadTrajectory where it cannot be read."""
    return outcome_label(next((fields[k] for k in OUTCOME_KEYS if fields.get(k) is not None), None))


def task_of(fields: Mapping[str, Any]) -> str | None:
    """The task id under the first of TASK_KEYS."""
    return next((text_or_none(fields[k]) for k in TASK_KEYS if fields.get(k) is not None), None)


def tool_definitions(tools: Any) -> list[Any] | None:
    """Tools in OpenAI form: JSON text is parsed, a bare function object is wrapped; none or an empty list is None.

    Raises BadTrajectory where they are no list of objects with names.
    """
    if isinstance(tools, str):
        tools = parsed("bad_tools", "the tools are", tools) if tools.strip() else None
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
    return {"type": "function", "function": {_SCHEMA_KEYS.get(k, k): v for k, v in tool.items() if k != "type"}}


def read_tools_file(path: Path) -> list[Any]:
    """The tool definitions in a file, for sources that carry none; UserError where there are none."""
    try:
        tools = tool_definitions(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--tools {path} cannot be read: {error}") from None
    except BadTrajectory as bad:
        raise UserError(f"--tools {path} holds no JSON list of tool definitions: {bad.detail}") from None
    if not tools:
        raise UserError(f"--tools {path} holds no tool: a JSON list of tool definitions is needed")
    return tools


def object_of(record: Any) -> dict[str, Any]:
    """The record as an object; BadTrajectory where it is none (a reader may be named for any record)."""
    if not isinstance(record, dict):
        raise BadTrajectory("unknown_format", f"the record is no object but {type(record).__name__}")
    return record


def message_list(messages: Any, key: str) -> list[Any]:
    """The messages under a record's key: a list, or its JSON text; BadTrajectory for anything else."""
    if isinstance(messages, str):
        messages = parsed("no_messages", f"`{key}` is text and", messages)
    if not isinstance(messages, list):
        raise BadTrajectory("no_messages", f"`{key}` is no list but {type(messages).__name__}")
    return messages


def parsed(reason: str, what: str, text: str) -> Any:
    """Strict JSON; BadTrajectory with this reason where it is none."""
    try:
        return strict_json.loads(text)
    except ValueError as error:
        raise BadTrajectory(reason, f"{what} no JSON: {error}") from None
