"""Hermes convention (Hermes 2 Pro and later, Qwen2.5, Qwen3, and much that was tuned on them).

    text <tool_call>
    {"name": "search", "arguments": {"query": "tea"}}
    </tool_call> text

There may be any number of calls, with text around them. The JSON is decoded from the opening tag on, so a closing tag
inside a string does not end the call.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from pivotmine import strict_json
from pivotmine.actions import calls, pieces
from pivotmine.actions.action import ToolCall
from pivotmine.actions.pieces import Piece

_OPENING = "<tool_call>"
_CLOSING = "</tool_call>"

_MARKS = re.compile("</?tool_call>")


def split(text: str, tools: Sequence[dict[str, Any]] = ()) -> Iterator[Piece]:
    """Split an answer into messages, calls and unparsed text; `tools` is not needed here."""
    return pieces.split_at_marks(text, _MARKS, (_CLOSING,), _read)


def only_call(text: str) -> ToolCall | None:
    """Fast path: the call, if the text is exactly one valid call; None if it has to be split."""
    text = text.strip()
    if not (
        text.startswith(_OPENING) and text.endswith(_CLOSING) and text.count(_OPENING) == text.count(_CLOSING) == 1
    ):
        return None
    try:
        return calls.read_call(strict_json.loads(text[len(_OPENING) : -len(_CLOSING)]))
    except ValueError:
        return None


def _read(text: str, start: int) -> Iterator[Piece]:
    begin = start + len(_OPENING)
    try:
        value, end = strict_json.raw_loads(text, begin)
    except ValueError as error:
        yield _broken(text, start, begin, f"not JSON: {error}")
        return
    closing = pieces.skip_white_space(text, end)
    if text.startswith(_CLOSING, closing):
        yield pieces.calls(text[start : closing + len(_CLOSING)], lambda: (calls.read_call(value),))
    else:
        yield _broken(text, start, end, f"something between the JSON and {_CLOSING}")


def _broken(text: str, start: int, at: int, reason: str) -> Piece:
    closing = text.find(_CLOSING, at)
    if closing < 0:
        reason = f"not closed by {_CLOSING}" + (f"; {reason}" if reason.startswith("not JSON") else "")
        return pieces.unparsed(text[start:], reason)
    return pieces.unparsed(text[start : closing + len(_CLOSING)], reason)
