"""Qwen3-Coder's convention (also Qwen3.5): a call as tags, each value as plain text.

    <tool_call>
    <function=search>
    <parameter=query>
    tea
    </parameter>
    </function>
    </tool_call>

These models sometimes forget the opening `<tool_call>` or both outer tags: that is accepted. Any other deviation makes
the whole call unparsed: an unclosed or repeated parameter, text between parameters. A value may contain `</parameter>`
or `<parameter=` only if it is JSON and the parameter's declared type is not string. `schema_values` converts text to
JSON values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from pivotmine.actions import calls, pieces, schema_values
from pivotmine.actions.pieces import Piece

_OPENING = "<tool_call>"
_CLOSING = "</tool_call>"
_FUNCTION_END = "</function>"
_PARAMETER_END = "</parameter>"
_STRAYS = (_CLOSING, _FUNCTION_END, _PARAMETER_END, "<parameter=")
_FUNCTION = re.compile(r"<function=([^<>\n]++)>")
_PARAMETER = re.compile(r"<parameter=([^<>\n]++)>")
_PARAMETER_TAG = re.compile("</parameter>|<parameter=")

_MARKS = re.compile("</?tool_call>|<function=|</function>|</parameter>|<parameter=")


class _MalformedError(Exception):
    """A malformed call. Its arguments: the index up to which it is well formed, and the reason."""


def split(text: str, tools: Sequence[dict[str, Any]] = ()) -> Iterator[Piece]:
    """Split an answer into messages, calls and unparsed text; `tools` give the values' types."""
    types = schema_values.declared_types(tools)
    return pieces.split_at_marks(text, _MARKS, _STRAYS, lambda text, start: _read(text, start, types))


def _read(text: str, start: int, types: schema_values.Types) -> Iterator[Piece]:
    tagged = text.startswith(_OPENING, start)
    try:
        name, arguments, end = _read_function(text, start + len(_OPENING) if tagged else start, types)
        closing = pieces.skip_white_space(text, end)
        if text.startswith(_CLOSING, closing):
            end = closing + len(_CLOSING)
        elif tagged:
            raise _MalformedError(end, f"{_FUNCTION_END} is not followed by {_CLOSING}")
    except _MalformedError as error:
        at, reason = error.args
        closer = _CLOSING if tagged else _FUNCTION_END
        found = text.find(closer, at)
        yield pieces.unparsed(text[start:] if found < 0 else text[start : found + len(closer)], reason)
    else:
        yield pieces.calls(text[start:end], lambda: (calls.make_call(name, arguments),))


def _read_function(text: str, at: int, types: schema_values.Types) -> tuple[str, dict[str, Any], int]:
    """Name, arguments, and the index behind `</function>`."""
    at = pieces.skip_white_space(text, at)
    function = _FUNCTION.match(text, at)
    if function is None:
        raise _MalformedError(at, "no <function=NAME>")
    name, at = function[1].strip(), pieces.skip_white_space(text, function.end())
    arguments: dict[str, Any] = {}
    while parameter := _PARAMETER.match(text, at):
        key = parameter[1].strip()
        if key in arguments:
            raise _MalformedError(at, f"parameter {key[:80]!r} is given twice")
        arguments[key], end = _read_value(text, parameter.end(), types.get(name, {}).get(key))
        at = pieces.skip_white_space(text, end)
    if not text.startswith(_FUNCTION_END, at):
        raise _MalformedError(at, f"neither a parameter nor {_FUNCTION_END}")
    return name, arguments, at + len(_FUNCTION_END)


def _read_value(text: str, start: int, declared: frozenset[str] | None) -> tuple[Any, int]:
    """The value and the index behind `</parameter>`."""
    if declared is not None and "string" not in declared:
        value = schema_values.json_before(text, start, _PARAMETER_END)
        if value is not None:
            return value
    tag = _PARAMETER_TAG.search(text, start)
    if tag is None or tag[0] != _PARAMETER_END:
        raise _MalformedError(start, f"a parameter is not closed by {_PARAMETER_END}")
    written = text[start : tag.start()].removeprefix("\n").removesuffix("\n")
    return schema_values.value_of(written, declared), tag.end()
