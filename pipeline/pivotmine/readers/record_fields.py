"""What stands next to the messages of a record: outcome, task, tools."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pivotmine import strict_json
from pivotmine.errors import UserError
from pivotmine.readers.trajectory import BadTrajectory, outcome_label, text_or_none

OUTCOME_KEYS = (
    *("resolved", "is_resolved", "solved", "is_solved", "success", "is_success", "is_correct", "passed"),
    *("outcome", "reward", "score"),
    *("reward_info.reward", "metadata.reward"),
)
"""The first of these keys that a record has holds its label. Keys for a solved task come first, because they say more
than a score. A dot leads into an object. Words that also name other things (`correct`, `status`) are left out: a wrong
label is worse than none."""
_BOOLEAN_KEYS = ("label", "target")
"""Labels only if they are true or false: KTO's `label` (TRL), and `target` of nebius' SWE-agent rows."""
_HARBOR_KEYS = ("trial_name", "episode", "run_id")
"""Keys that mark rows of Harbor's trace export. Their `result` is the trial's reward, or the error that ended it."""
_SCHEMA_KEYS = dict.fromkeys(("input_schema", "inputSchema"), "parameters")
"""Names of a tool's parameters in Anthropic's API and MCP."""
TASK_KEYS = ("task_id", "instance_id", "problem_id")
CONVERSATION_KEYS = (
    *("session_id", "trace_id", "conversation_id", "thread_id", "chat_id", "dialogue_id", "dialog_id"),
    *("litellm_session_id", "litellm_trace_id"),
)
"""Keys that name the conversation of a log's line, in the line or its `metadata`."""


def labelled(fields: Mapping[str, Any]) -> tuple[float | None, str | None]:
    """The outcome label and the key that holds it; BadTrajectory if the label cannot be read."""
    for key in OUTCOME_KEYS:
        value = value_at(fields, key)
        if value is not None:
            return outcome_label(value), key
    for key in _BOOLEAN_KEYS:
        if isinstance(fields.get(key), bool):
            return outcome_label(fields[key]), key
    result = fields.get("result")
    if result is not None and any(key in fields for key in _HARBOR_KEYS):
        return _harbor_label(result), "result"
    return None, None


def _harbor_label(result: Any) -> float:
    """The reward of a Harbor trial; 0 for the name of the error that ended it."""
    try:
        return outcome_label(result) or 0.0
    except BadTrajectory:
        return 0.0


def value_at(fields: Any, path: str) -> Any:
    """The value under a path of keys joined by dots, or under a key that holds dots itself; None if there is none."""
    if not isinstance(fields, Mapping):
        return None
    if path in fields:
        return fields[path]
    first, _, rest = path.partition(".")
    return value_at(fields.get(first), rest) if rest else None


def task_of(fields: Mapping[str, Any]) -> str | None:
    """The task id under the first of TASK_KEYS."""
    return next((text_or_none(fields[k]) for k in TASK_KEYS if fields.get(k) is not None), None)


def conversation_of(line: Mapping[str, Any]) -> tuple[str, str] | None:
    """The key and the id of the conversation that a line belongs to; None if it names none."""
    metadata = line.get("metadata")
    for place in (line, metadata if isinstance(metadata, Mapping) else {}):
        for key in CONVERSATION_KEYS:
            if isinstance(place.get(key), str | int):
                return key, str(place[key])
    return None


def tool_definitions(tools: Any) -> list[Any] | None:
    """Tools in OpenAI form; None if there are none. JSON text is parsed, and a bare function object is wrapped.

    Raises BadTrajectory if they are not a list of objects with names.
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
    """Read the tool definitions in a file, for sources without tools; UserError if the file has none."""
    try:
        tools = tool_definitions(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--tools {path} cannot be read: {error}") from None
    except BadTrajectory as bad:
        raise UserError(f"--tools {path} is not a JSON list of tool definitions: {bad.detail}") from None
    if not tools:
        raise UserError(f"--tools {path} contains no tool: write a JSON list of tool definitions")
    return tools


def object_of(record: Any) -> dict[str, Any]:
    """The record as an object; BadTrajectory if it is not one, since `--format` may name a reader for any record."""
    if not isinstance(record, dict):
        raise BadTrajectory("unknown_format", f"the record is not an object but {type(record).__name__}")
    return record


def message_list(messages: Any, key: str) -> list[Any]:
    """The messages under a record's key: a list, or its JSON text; BadTrajectory for anything else."""
    if isinstance(messages, str):
        messages = parsed("no_messages", f"`{key}` is text and", messages)
    if not isinstance(messages, list):
        raise BadTrajectory("no_messages", f"`{key}` is not a list but {type(messages).__name__}")
    return messages


def parsed(reason: str, what: str, text: str) -> Any:
    """The value of strict JSON; BadTrajectory with this reason if it is not JSON."""
    try:
        return strict_json.loads(text)
    except ValueError as error:
        raise BadTrajectory(reason, f"{what} no JSON: {error}") from None
