"""Show two actions on one line, with the differences marked: `[-demonstrated-]{+given+}`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from typing import Any

from pivotmine.escape import one_line

MAX_TOKENS = 1_000
"""Maximum number of words and signs of each action that are compared, from its beginning."""
_KEPT = 5
"""Tokens shown on each side of a difference if the equal stretch is longer."""
_TOKEN = re.compile(r"\w+|\s+|[^\w\s]")


def action_text(stored: str) -> str:
    """Write a stored action on one line: its message, its calls, and what could not be read."""
    action: Mapping[str, Any] = json.loads(stored)
    calls = [f"{call['name']}({_arguments(call['arguments'])})" for call in action.get("tool_calls", ())]
    broken = [f"unreadable: {piece['text']}" for piece in action.get("unparsed", ())]
    said = [action["message"]] if action.get("message") else []
    cut = ["(truncated)"] if action.get("truncated") else []
    return one_line(" ".join([*said, *calls, *broken, *cut]) or "(nothing)")


def _arguments(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in arguments.items())


def marked(demonstrated: str, given: str) -> str:
    """Write the difference of two stored actions, with long equal stretches cut to `...`."""
    one, other = (_TOKEN.findall(action_text(stored))[:MAX_TOKENS] for stored in (demonstrated, given))
    if one == other:
        return f"{''.join(one)} (the same but for white space, reasoning or types)"
    steps = SequenceMatcher(None, one, other, autojunk=False).get_opcodes()
    last = len(steps) - 1
    return "".join(
        _same(one[start:end], is_first=number == 0, is_last=number == last)
        if step == "equal"
        else "".join(_changed(one[start:end], other[first:after]))
        for number, (step, start, end, first, after) in enumerate(steps)
    )


def _same(tokens: list[str], *, is_first: bool, is_last: bool) -> str:
    head = [] if is_first else tokens[:_KEPT]
    tail = [] if is_last else tokens[-_KEPT:]
    return "".join(tokens) if len(tokens) <= 2 * _KEPT + 1 else f"{''.join(head)}...{''.join(tail)}"


def _changed(gone: list[str], new: list[str]) -> Iterator[str]:
    if gone:
        yield f"[-{''.join(gone)}-]"
    if new:
        yield f"{{+{''.join(new)}+}}"
