"""The strict rule by which a decoded JSON value is a tool call, the same for every convention.

A surplus key could be an argument that no verifier checks, so the call is refused. Only `id` (a string) and `type`
(`function`) are allowed next to the name and the arguments. Both are common and do not change the call.
"""

from __future__ import annotations

from typing import Any

from pivotmine import strict_json
from pivotmine.actions.action import ToolCall

MAX_ARGUMENTS_DEPTH = 64
"""Maximum nesting of arguments, in levels. It leaves room to store them inside other JSON (`strict_json` reads 100)."""


def read_call(value: Any, *, argument_keys: tuple[str, ...] = ("arguments",)) -> ToolCall:
    """The call in an object `{"name": ..., "arguments": {...}}`; ValueError with the reason if it is not a call.

    Exactly one of `argument_keys` holds the arguments: an object, or a JSON string that holds one.
    """
    if not isinstance(value, dict):
        raise ValueError("the call is not an object")
    fields: dict[str, Any] = value
    if len(fields) == 2 and argument_keys[0] in fields and isinstance(fields.get("name"), str):
        return make_call(fields["name"], _decoded(fields[argument_keys[0]]))  # the usual call
    _check_fields(fields, argument_keys)
    given = [key for key in argument_keys if key in fields]
    if not given:
        raise ValueError(f"no {argument_keys[0]}")
    if len(given) > 1:
        raise ValueError(f"both {given[0]} and {given[1]}")
    return make_call(fields["name"], _decoded(fields[given[0]]))


def make_call(name: str, arguments: Any) -> ToolCall:
    """The call; ValueError if the name is empty, or if the arguments are not an object or are nested too deeply."""
    if not name.strip():
        raise ValueError("the name is empty")
    if not isinstance(arguments, dict):
        raise ValueError("the arguments are not an object")
    if strict_json.exceeds_depth(arguments, MAX_ARGUMENTS_DEPTH):
        raise ValueError("the arguments are nested too deeply")
    return ToolCall(name=name, arguments=arguments)


def _check_fields(fields: dict[str, Any], argument_keys: tuple[str, ...]) -> None:
    if "name" not in fields:
        raise ValueError("no name")
    if not isinstance(fields["name"], str):
        raise ValueError("the name is not a string")
    if surplus := sorted(fields.keys() - {"name", "id", "type", *argument_keys}):
        raise ValueError(f"surplus key {surplus[0][:80]!r}")
    if fields.get("type", "function") != "function":
        raise ValueError("the type is not function")
    if not isinstance(fields.get("id", ""), str):
        raise ValueError("the id is not a string")


def _decoded(arguments: Any) -> Any:
    if not isinstance(arguments, str):
        return arguments
    try:
        return strict_json.loads(arguments)
    except ValueError as error:
        raise ValueError(f"the arguments are not JSON: {error}") from None
