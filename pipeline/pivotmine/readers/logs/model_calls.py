"""Turn model calls, each with what the model saw, into segments in which the context only grows.

A call whose context continues an open segment extends it. Any other call opens a new one: a rewritten context, a
sub-agent, a turn that was taken back. Several segments stay open, so that an agent can continue its segment after its
sub-agent is done.
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
    """What it answered; None if it was not called and the context is the conversation's last state."""
    answer: tuple[Any, ...] = ()
    """The environment's answer, for the case that no later context shows it."""
    tools: list[Any] | None = None
    """The tools it was offered, in OpenAI form; None if they are not recorded."""


@dataclass(slots=True)
class _Open:
    seen: list[Any]
    """The messages as contexts have them."""
    messages: list[Any]
    """The same messages in the segment: replies are turns, other assistant messages are masked."""
    tools: list[Any] | None
    num_inherited: int
    answer: tuple[Any, ...] = ()
    """Follows the messages if no later call extends the segment."""


def segments_of(calls: Iterable[ModelCall]) -> tuple[Segment, ...]:
    """The segments of the calls, in the order in which they open. A reply is a turn of exactly one."""
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
    """Extend the open segment that the call's context continues (the longest, then the latest); None without one."""
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
    """A new segment. The first one starts with messages that are not turns, a later one with inherited messages."""
    messages = [masked(message) for message in call.context] if first else list(call.context)
    return _Open(
        seen=list(call.context),
        messages=messages,
        tools=call.tools,
        num_inherited=0 if first else len(call.context),
    )
