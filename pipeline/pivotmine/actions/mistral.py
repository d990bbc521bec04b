"""Mistral's conventions, old and new, all behind the `[TOOL_CALLS]` token.

    [TOOL_CALLS][{"name": "search", "arguments": {"query": "tea"}}, ...]
    [TOOL_CALLS]search{"query": "tea"}[TOOL_CALLS]...
    [TOOL_CALLS]search[ARGS]{"query": "tea"}[TOOL_CALLS]...
    [TOOL_CALLS]search[CALL_ID]abc123def[ARGS]{"query": "tea"}[TOOL_CALLS]...

One unreadable call in a list makes the whole list unparsed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from pivotmine import strict_json
from pivotmine.actions import calls, pieces
from pivotmine.actions.action import ToolCall
from pivotmine.actions.pieces import Piece

_OPENING = "[TOOL_CALLS]"
# Possessive quantifiers: no backtracking over long white space.
_HEADER = re.compile(r"([^\s\[\]{}]++)\s*+(?:\[CALL_ID\][^\[\]{}]*+)?+(?:\[ARGS\]\s*+)?+")

_MARKS = re.compile(r"\[TOOL_CALLS\]|\[ARGS\](?=\s*+\{)")


def split(text: str, tools: Sequence[dict[str, Any]] = ()) -> Iterator[Piece]:
    """Split an answer into messages, calls and unparsed text; `tools` is not needed here."""
    return pieces.split_at_marks(text, _MARKS, ("[ARGS]",), _read)


def _read(text: str, start: int) -> Iterator[Piece]:
    begin = pieces.skip_white_space(text, start + len(_OPENING))
    header = _HEADER.match(text, begin)
    if header is None and not text.startswith("[", begin):
        yield _broken(text, start, begin, f"neither a name nor a list behind {_OPENING}")
        return
    try:
        value, end = strict_json.raw_loads(text, header.end() if header else begin)
    except ValueError as error:
        yield _broken(text, start, begin, f"not JSON: {error}")
        return
    if header:
        name = header[1]
        yield pieces.calls(text[start:end], lambda: (calls.make_call(name, value),))
    else:
        yield pieces.calls(text[start:end], lambda: _read_list(value))


def _read_list(values: list[Any]) -> tuple[ToolCall, ...]:
    if not values:
        raise ValueError("an empty list of calls")
    return tuple(calls.read_call(value) for value in values)


def _broken(text: str, start: int, at: int, reason: str) -> Piece:
    following = text.find(_OPENING, at)
    return pieces.unparsed(text[start:] if following < 0 else text[start:following], reason)
