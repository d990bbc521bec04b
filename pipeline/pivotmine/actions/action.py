"""What a policy did in one turn: reasoning, message, tool calls, and output that could not be parsed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pivotmine import strict_json


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    name: str
    """Name of the tool, as written."""
    arguments: dict[str, Any]
    """Arguments as JSON values, key order kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unparsed:
    text: str
    """The whole piece of output that looks like a tool call and is not a valid one."""
    reason: str
    """Why it could not be parsed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One assistant turn. Every character of a policy's output ends up in one of the fields."""

    message: str = ""
    """Text outside of reasoning and tool calls, outer white space stripped."""
    tool_calls: tuple[ToolCall, ...] = ()
    """Calls in the order in which they were written."""
    reasoning: str = ""
    """Text of the reasoning block, outer white space stripped."""
    unparsed: tuple[Unparsed, ...] = ()
    """Tool calls that could not be parsed. An action with any of them is neither a message nor a call."""
    truncated: bool = False
    """The sample ended at its token budget, not at an end-of-turn token."""
    text: str = field(default="", compare=False)
    """The answer as written, if a text convention parsed it. Harnesses read this text and exports write it."""
    recorded_reward: float | None = field(default=None, compare=False)
    """The reward in recorded data, or None. It is not part of the stored form."""

    @property
    def kind(self) -> str:
        """`tool_call` if there is at least one call, with or without text; else `message`."""
        return "tool_call" if self.tool_calls else "message"


def action_to_json(action: Action, *, ordinary: bool | None = None) -> str:
    """The action as stored JSON, without empty fields.

    ordinary: the result of `strict_json.is_ordinary` for the list of all calls' arguments, if known.
    """
    fields: dict[str, Any] = {}
    if action.reasoning:
        fields["reasoning"] = action.reasoning
    if action.message:
        fields["message"] = action.message
    if action.tool_calls:
        fields["tool_calls"] = [{"name": c.name, "arguments": c.arguments} for c in action.tool_calls]
    if action.unparsed:
        fields["unparsed"] = [{"text": u.text, "reason": u.reason} for u in action.unparsed]
    if action.truncated:
        fields["truncated"] = True
    if action.text:
        fields["text"] = action.text
    return strict_json.dumps(fields, ordinary=ordinary if action.tool_calls else True)


def action_from_json(text: str) -> Action:
    """Inverse of `action_to_json`, for text that it wrote."""
    fields = strict_json.loads(text)
    return Action(
        message=fields.get("message", ""),
        tool_calls=tuple(ToolCall(**call) for call in fields.get("tool_calls", ())),
        reasoning=fields.get("reasoning", ""),
        unparsed=tuple(Unparsed(**piece) for piece in fields.get("unparsed", ())),
        truncated=fields.get("truncated", False),
        text=fields.get("text", ""),
    )
