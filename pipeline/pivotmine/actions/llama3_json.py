"""Llama 3's JSON convention: the message is the call.

    {"name": "search", "parameters": {"query": "tea"}}
    <|python_tag|>{"type": "function", "name": "search", "parameters": {}}; {"name": ..., "parameters": ...}

Several calls are separated by `;` or white space. `arguments` is accepted for `parameters`, as servers do.
Without the tag, an object is a call where the message begins with it, or, behind other text, where it begins
with a name and parameters. An object that has none of a call's keys is an answer in JSON, a message. Nothing
marks a broken call's end, so it goes to the end of the text. Python-style calls (`[search(query="tea")]`) are
another convention.
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

# Possessive throughout: a run of white space is read only once.
_CALL_OBJECT = (
    r'\{\s*+"(?:type"\s*+:\s*+"function"\s*+,\s*+")?+'
    r'name"\s*+:\s*+"[^"\\]*+"\s*+,\s*+"(?:parameters|arguments)"'
)
MARKS = re.compile(rf"<\|python_tag\|>|{_CALL_OBJECT}")
"""What announces a call anywhere in a text."""
_MARKS_OR_START = re.compile(rf"\A\s*+\{{|{MARKS.pattern}")


def split(text: str, tools: Sequence[dict[str, Any]] = ()) -> Iterator[Piece]:
    """Split an answer into messages, calls and unparsed text; `tools` is not needed here."""
    return pieces.split_at_marks(text, _MARKS_OR_START, (), _read)


def _read(text: str, start: int) -> Iterator[Piece]:
    """A run of calls; `begin` is where the piece begins, `at` where its JSON does."""
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
