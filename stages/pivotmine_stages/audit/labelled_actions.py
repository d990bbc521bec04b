"""Read an action that a person wrote into a file of labelled pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pivotmine import strict_json
from pivotmine.actions import Action, action_from_json, action_from_message, is_text, read_message
from pivotmine.errors import UserError

_TEXTS = ("message", "reasoning", "text")
_STORED_KEYS = {*_TEXTS, "tool_calls", "unparsed", "truncated"}
_MESSAGE_KEYS = {"content", "tool_calls", "function_call", "refusal"}
_FORMS = "a text, an assistant message in OpenAI form, or an action as the tables store it"


def read_labelled(given: Any, action_format: str, where: str) -> Action:
    """Return the action in a text, an assistant message, or the stored form; its UserError begins with `where`.

    Mistakes that a policy can make are actions too: calls that are not JSON, or markup in the text. A malformed message
    is an error.
    """
    if isinstance(given, str):
        return (
            read_message({"content": given}, action_format) if is_text(action_format) else Action(message=given.strip())
        )
    if not isinstance(given, dict):
        raise UserError(f"{where} must be {_FORMS}")
    if fault := _fault(given):
        raise UserError(f"{where} {fault}")
    try:
        if _is_stored(given):
            return action_from_json(strict_json.dumps(given))
        if is_text(action_format):
            return read_message(given, action_format)
        return action_from_message({"role": "assistant", **given})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{where} cannot be read: {error!r:.200}") from None


def _is_stored(given: Mapping[str, Any]) -> bool:
    return given.keys() <= _STORED_KEYS and all("function" not in call for call in given.get("tool_calls") or ())


def _fault(given: Mapping[str, Any]) -> str:
    """Return the fault in the form of a message or of a stored action; empty if there is no fault."""
    if (role := given.get("role", "assistant")) != "assistant":
        return f"has the role {str(role)[:40]!r}: only an assistant acts"
    if given and not given.keys() & (_STORED_KEYS | _MESSAGE_KEYS):
        return f"has the keys {', '.join(sorted(map(str, given)))[:80]}: it must be {_FORMS}"
    calls = given.get("tool_calls")
    if calls is not None and not (isinstance(calls, list) and all(isinstance(call, dict) for call in calls)):
        return "has tool_calls that are not a list of objects"
    listed: list[dict[str, Any]] = calls or []
    for number, call in enumerate(listed, 1):
        named: Any = call.get("function") if "function" in call else call
        if not isinstance(named, dict) or not isinstance(named.get("name"), str) or not named["name"].strip():
            return f"has a tool call without a name (call {number})"
        if "function" not in call and not isinstance(call.get("arguments"), dict):
            return f"has a stored tool call whose arguments are not an object (call {number})"
    if _is_stored(given) and not all(isinstance(given.get(key, ""), str) for key in _TEXTS):
        return "has a message, reasoning or text that is not a text"
    return ""
