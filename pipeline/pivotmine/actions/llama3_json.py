"""Llama 3's JSON convention: the message is the call.

    {"name": "search", "parameters": {"query": "tea"}}
    <|python_tag|>{"type": "function", "name": "search", "parameters": {}}; {"name": ..., "parameters": ...}

Several calls are separated by `;` or white space. As in servers, `arguments` is accepted instead of `parameters`.
Without the tag, an object is a call if the text begins with it, or if the object begins with a name and parameters. An
object without any of a call's keys is an answer in JSON, so a message. A broken call has no end mark: it extends to the
end of the text. Python-style calls (`[search(query="tea")]`) are another convention.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, cast

from pivotmine import strict_json
from pivotmine.actions import calls, pieces
from pivotmine.actions.pieces import Piece

_TAG = "<|python_tag|>"
_CALL_KEYS = frozenset({"name", "function", "parameters", "arguments"})
_SEPARATOR = re.compile(r"\s*+;?+\s*+")

# Possessive quantifiers: no backtracking over long white space.
_CALL_OBJECT = (
    r'\{\s*+"(?:type"\s*+:\s*+"function"\s*+,\s*+")?+'
    r'name"\s*+:\s*+"[^"\\]*+"\s*+,\s*+"(?:parameters|arguments)"'
)
MARKS = re.compile(rf"<\|python_tag\|>|{_CALL_OBJECT}")
"""The start of a call, anywhere in a text."""
_MARKS_OR_START = re.compile(rf"\A\s*+\{{|{MARKS.pattern}")


def split(text: str, tools: Sequence[dict[str, Any]] = ()) -> Iterator[Piece]:
    """Split an answer into messages, calls and unparsed text; `tools` is not needed here."""
    return pieces.split_at_marks(text, _MARKS_OR_START, (), _read)


def _read(text: str, start: int) -> Iterator[Piece]:
    """Split a run of calls. `begin` is the start of a piece, `at` the start of its JSON."""
    tagged = text.startswith(_TAG, start)
    begin, at = start, pieces.skip_white_space(text, start + len(_TAG) if tagged else start)
    while True:
        try:
            value, end = strict_json.raw_loads(text, at)
        except ValueError as error:
            yield pieces.unparsed(text[begin:], f"not JSON: {error}")
            return
        if not tagged and not _CALL_KEYS & cast("dict[str, Any]", value).keys():
            yield pieces.message(text[begin:end])
            return
        following = _behind_separator(text, end)
        more = text.startswith("{", following)
        yield _read_call(text[begin : following if more else end], value)
        if not more:
            return
        begin = at = following


def _read_call(text: str, value: Any) -> Piece:
    return pieces.calls(text, lambda: (calls.read_call(value, argument_keys=("parameters", "arguments")),))


def _behind_separator(text: str, at: int) -> int:
    found = _SEPARATOR.match(text, at)
    assert found is not None
    return found.end()
