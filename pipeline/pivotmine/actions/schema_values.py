"""Convert values that are written as plain text to JSON: the schema says whether `3` is a number or a word.

The first rule that applies decides:
- The schema does not know the tool or the parameter: text.
- `null` or `None`, and null is a declared type: null.
- String is a declared type: text.
- `True` or `False`, and boolean is a declared type: that boolean. Chat templates of this convention write Python's
  words into the history that the policy imitates.
- Otherwise the JSON value if the text is strict JSON, else the text. The verdict then shows its wrong type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from pivotmine import strict_json
from pivotmine.actions import pieces

Types = Mapping[str, Mapping[str, frozenset[str]]]
"""Tool name -> parameter name -> JSON schema types; an empty set if the parameter has no declared type."""

_PYTHON_BOOLEANS = {"True": True, "False": False}


def declared_types(tools: Sequence[dict[str, Any]]) -> Types:
    """Types of all parameters of tools in OpenAI form; malformed definitions declare nothing."""
    types: dict[str, dict[str, frozenset[str]]] = {}
    for tool in tools:
        function = _object(_object(tool).get("function"))
        properties = _object(_object(function.get("parameters")).get("properties"))
        types[str(function.get("name"))] = {name: schema_types(schema) for name, schema in properties.items()}
    return types


def schema_types(schema: Any) -> frozenset[str]:
    """Every type that a schema, its branches or its listed values allow; empty if it declares none."""
    fields = _object(schema)
    declared = fields.get("type")
    types = {name for name in (declared if isinstance(declared, list) else [declared]) if isinstance(name, str)}
    for branch in ("anyOf", "oneOf", "allOf"):
        for part in _list(fields.get(branch)):
            types |= schema_types(part)
    if not types:
        values = [fields["const"]] if "const" in fields else _list(fields.get("enum"))
        types = {_type_of(value) for value in values}
    return frozenset(types)


def value_of(text: str, declared: frozenset[str] | None) -> Any:
    """The JSON value of a text; never raises. declared: the parameter's types, None if the schema does not know it."""
    word = text.strip()
    if declared is None:
        return text
    if "null" in declared and word in ("null", "None"):
        return None
    if "string" in declared:
        return text
    if "boolean" in declared and word in _PYTHON_BOOLEANS:
        return _PYTHON_BOOLEANS[word]
    try:
        return strict_json.loads(text)
    except ValueError:
        return text


def json_before(text: str, start: int, closing: str) -> tuple[Any, int] | None:
    """The array or object between `start` and `closing`, and the index behind `closing`; else None.

    Tags inside its strings do not end it.
    """
    at = pieces.skip_white_space(text, start)
    if not text.startswith(("[", "{"), at):
        return None
    try:
        value, end = strict_json.raw_loads(text, at)
    except ValueError:
        return None
    end = pieces.skip_white_space(text, end)
    return (value, end + len(closing)) if text.startswith(closing, end) else None


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int | float):
        return "number"
    return "array" if isinstance(value, list) else "object"


def _object(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []
