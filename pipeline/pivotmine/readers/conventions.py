"""Decide the action format of each segment, and turn calls in text into native calls where that is right.

The first rule that applies decides:

1. the convention that the reader names, because the format says so;
2. the convention that the user declares (`--action-format`), for segments without native calls;
3. a harness's convention that the whole segment shows (`recognition`), if it offers no native tools;
4. calls that are only serialised in the text (`<tool_call>`, `[TOOL_CALLS]`). They become native calls if the tools'
   schemas are known, and stay text otherwise;
5. `native`.

`--calls native` turns the calls of every text convention into native ones, with the tools that it implies.
`--calls verbatim` leaves all text as it is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pivotmine.actions import NATIVE, is_text, read_message
from pivotmine.actions.conventions import implied_tools
from pivotmine.actions.conventions.recognition import SERIALISED, own_turns, recognise, serialised
from pivotmine.errors import UserError
from pivotmine.readers import text_calls
from pivotmine.readers.pairing import CallIds
from pivotmine.readers.trajectory import Segment, Trajectory

CALLS = ("native", "verbatim")


def require_calls(name: str | None) -> None:
    """Raise UserError if the value of `--calls` is not in CALLS; None if it is not given."""
    if name is not None and name not in CALLS:
        raise UserError(f"--calls {name}: choose from {', '.join(CALLS)}")


def settle(
    found: Trajectory, *, tools: list[Any] | None = None, calls: str | None = None, action_format: str | None = None
) -> Trajectory:
    """Return the trajectory with the action format and the tools of every segment.

    tools: those of `--tools`, for native segments without tools. calls, action_format: as on the command line.
    """
    return replace(found, segments=tuple(_settled(segment, tools, calls, action_format) for segment in found.segments))


def _settled(segment: Segment, tools: list[Any] | None, calls: str | None, declared: str | None) -> Segment:
    turns = own_turns(segment.messages, segment.num_inherited)
    name = segment.action_format or _declared(segment, turns, declared)
    if name is None and not segment.tools:
        name = recognise(segment.messages, turns)
    if is_text(name):
        return _as_native(segment, name) if calls == "native" else replace(segment, action_format=name)
    if tools and not segment.tools:
        segment = replace(segment, tools=tools)
    return replace(segment, action_format=NATIVE) if name else _serialised(segment, turns, calls)


def _declared(segment: Segment, turns: list[int], declared: str | None) -> str | None:
    """The declared convention; None for a segment with native calls, which a text convention cannot describe."""
    if not is_text(declared):
        return declared
    found = [segment.messages[place] for place in turns]
    has_calls = any(turn.get("tool_calls") or turn.get("function_call") for turn in found)
    return None if has_calls else declared


def _serialised(segment: Segment, turns: list[int], calls: str | None) -> Segment:
    known = segment.tools or text_calls.listed_tools(segment.messages)
    if calls == "native" or (known and calls != "verbatim"):
        return replace(text_calls.with_native_calls(segment), action_format=NATIVE)
    return replace(segment, action_format=serialised(segment.messages, turns) or NATIVE)


def _as_native(segment: Segment, name: str) -> Segment:
    """Turn the calls of each turn into native ones, and the user messages after them into results."""
    if name in SERIALISED:
        return replace(text_calls.with_native_calls(segment), action_format=NATIVE)
    ids, made, waiting = CallIds(), list[Any](), 0
    actions = {place: read_message(segment.messages[place], name) for place in own_turns(segment.messages)}
    for place, message in enumerate(segment.messages):
        role = message.get("role") if isinstance(message, dict) else None
        action = actions.get(place)
        if action is not None and action.tool_calls:
            made.append(text_calls.native_turn(message, action, ids))
            waiting = len(action.tool_calls)
        elif role == "user" and waiting == 1:
            made.append({**message, **ids.result(message.get("content"))})
            waiting = 0
        else:
            made.append(message)
            waiting = 0
    tools = segment.tools or list(implied_tools(name, actions.values())) or None
    return replace(segment, messages=made, tools=tools, action_format=NATIVE)
