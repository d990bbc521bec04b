"""Text conventions: how a harness without native tool calls finds the action in the model's text.

An action is what the harness executes. If a segment's `action_format` names a convention, its history is kept word for
word. That convention alone parses its turns, demonstrations and samples alike. The policy's reasoning block is split
off, the thought becomes reasoning, and the command becomes a call of the tool that the convention implies. Only the
verifier sees the implied tools; the prompt never shows them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeGuard

from pivotmine import strict_json
from pivotmine.actions.action import Action, ToolCall, Unparsed
from pivotmine.actions.conventions import command_blocks, function_tags, react, serialised, terminus
from pivotmine.actions.conventions.convention import Convention
from pivotmine.actions.pieces import Piece, assemble
from pivotmine.actions.reasoning import split_end_tokens, split_reasoning
from pivotmine.errors import UserError
from pivotmine.messages import reasoning_of

NATIVE = "native"
"""The action format of native tool calls and messages. The parser of the policy's chat template parses them."""
CONVENTIONS: dict[str, Convention] = {
    "function_tags": function_tags.FUNCTION_TAGS,
    "swe_agent_function_tags": function_tags.SWE_AGENT_FUNCTION_TAGS,
    "swe_agent_xml": command_blocks.SWE_AGENT_XML,
    "fenced_command": command_blocks.FENCED_COMMAND,
    "swe_agent_thought": command_blocks.SWE_AGENT_THOUGHT,
    "react": react.REACT,
    "terminus_1": terminus.TERMINUS_1,
    "terminus_2": terminus.TERMINUS_2,
    "qwen3_xml": serialised.QWEN3_XML,
    "hermes": serialised.HERMES,
    "mistral": serialised.MISTRAL,
}
"""By name. Specific conventions come first, because the first that fits is recognised. A new one is a `Convention` and
a line here."""
PARSED = "parsed_action"
"""Key under a message's `extra`: the turn's action as stored JSON, if the source does not have the turn's text."""


def require_action_format(name: str) -> None:
    """Raise UserError if the name is neither `native` nor a convention."""
    if name != NATIVE and name not in CONVENTIONS:
        raise UserError(f"--action-format {name}: choose from {NATIVE}, {', '.join(CONVENTIONS)}")


def is_text(action_format: str | None) -> TypeGuard[str]:
    """Whether turns of this action format are parsed from text. None, from runs before format 2, counts as native."""
    return action_format is not None and action_format != NATIVE


def read_text(text: str, action_format: str, *, opened_reasoning: bool = False, truncated: bool = False) -> Action:
    """The action in a policy's text, which may contain special tokens. Every text gives an action.

    opened_reasoning: whether the prompt ends inside a reasoning block. ValueError if no convention has the name.
    """
    body, _ = split_end_tokens(text)
    reasoning, answer = split_reasoning(body, opened=opened_reasoning)
    return _assemble(
        action_format, [*reasoning, *_convention(action_format).split(answer)], answer, truncated=truncated
    )


def read_message(message: dict[str, Any], action_format: str) -> Action:
    """The action in an assistant message, recorded or from a chat server."""
    extra = message.get("extra")
    if isinstance(extra, dict) and isinstance(parsed := extra.get(PARSED), dict):
        calls = tuple(ToolCall(name=call["name"], arguments=call["arguments"]) for call in parsed["tool_calls"])
        return Action(tool_calls=calls, reasoning=parsed.get("reasoning", ""))
    if message.get("tool_calls") or message.get("function_call"):
        calls = strict_json.dumps(message.get("tool_calls") or message.get("function_call"))
        return Action(unparsed=(Unparsed(text=calls, reason=f"native calls, the action format is {action_format}"),))
    content = message.get("content")
    text = "".join(block.get("text", "") for block in content) if isinstance(content, list) else content or ""
    reasoning, answer = split_reasoning(text)
    said = [Piece(kind="reasoning", text=found)] if (found := reasoning_of(message)) else []
    return _assemble(action_format, [*said, *reasoning, *_convention(action_format).split(answer)], answer)


def implied_tools(action_format: str, demonstrations: Iterable[Action]) -> tuple[dict[str, Any], ...]:
    """The tools that the harness executes, in OpenAI form. Verifiers see them, prompts do not.

    Tools that a demonstration calls and the convention does not define are added. They take the convention's
    `argument`, or any arguments if it has none.
    """
    convention = _convention(action_format)
    if not convention.tools:
        return ()
    known = {definition["function"]["name"] for definition in convention.tools}
    others = {call.name for action in demonstrations for call in action.tool_calls} - known
    return (*convention.tools, *(_open_tool(name, convention.argument) for name in sorted(others)))


def _open_tool(name: str, argument: str | None) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": {argument: {"type": "string"}} if argument else {}}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


def _convention(action_format: str) -> Convention:
    if action_format not in CONVENTIONS:
        raise ValueError(f"no action format {action_format[:80]!r}")
    return CONVENTIONS[action_format]


def _assemble(action_format: str, pieces: Sequence[Piece], answer: str, *, truncated: bool = False) -> Action:
    action, thought = assemble(pieces, truncated=truncated), CONVENTIONS[action_format].thought
    said = action.reasoning
    if thought is not None and action.tool_calls:
        said = "\n".join(text for text in (said, thought(answer)) if text)
    return replace(action, reasoning=said, text=answer.strip())
