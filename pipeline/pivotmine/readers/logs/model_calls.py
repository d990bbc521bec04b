"""From model calls, each with what the model saw, to segments in which the context only grows.

A call whose context continues an open segment grows it; any other opens a new one: a rewritten context, a sub-agent,
a turn taken back. Several segments stay open, so that an agent goes on where it was after its sub-agent is done.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pivotmine.readers.openai_form import masked
from pivotmine.readers.trajectory import Segment


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    context: list[Any]
    """The messages that the model saw."""
    reply: Any
    """What it answered; None: nobody asked it, the context is the conversation's last state."""
    answer: tuple[Any, ...] = ()
    """The environment's answer, if it is known and no later context may show it."""
    tools: list[Any] | None = None
    """The tools it was offered, in OpenAI form; None: not recorded."""


@dataclass(slots=True)
class _Open:
    seen: list[Any]
    """The messages as contexts have them."""
    messages: list[Any]
    """The same as the segment has them: replies are turns, other assistant messages are masked."""
    tools: list[Any] | None
    num_inherited: int
    answer: tuple[Any, ...] = ()
    """Belongs behind the messages, where no later call grows the segment."""


def segments_of(calls: Iterable[ModelCall]) -> tuple[Segment, ...]:
    """The segments of the calls, in the order in which they open; a reply is a turn of exactly one."""
    opened: list[_Open] = []
    for call in calls:
        found = _grown(opened, call)
        if found is None and (call.reply is not None or not opened):
            found = _opened(call, first=not opened)
            opened.append(found)
        if found is not None and call.reply is not None:
            found.seen.append(call.reply)
            found.messages.append(call.reply)
            found.answer = call.answer
    return tuple(
        Segment(messages=[*one.messages, *one.answer], tools=one.tools, num_inherited=one.num_inherited)
        for one in opened
    )


def _grown(opened: list[_Open], call: ModelCall) -> _Open | None:
    """The open segment that the call's context continues, grown to it: the longest, of equals the latest."""
    fitting = [
        one
        for one in opened
        if (call.reply is None or one.tools == call.tools) and call.context[: len(one.seen)] == one.seen
    ]
    if not fitting:
        return None
    found = max(reversed(fitting), key=lambda one: len(one.seen))
    new = call.context[len(found.seen) :]
    found.seen.extend(new)
    found.messages.extend(masked(message) for message in new)
    found.answer = ()
    return found


def _opened(call: ModelCall, *, first: bool) -> _Open:
    """A new segment; what the first one starts with was nobody's turn, what a later one starts with is inherited."""
    messages = [masked(message) for message in call.context] if first else list(call.context)
    return _Open(
        seen=list(call.context),
        messages=messages,
        tools=call.tools,
        num_inherited=0 if first else len(call.context),
    )
