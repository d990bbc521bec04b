"""Rebuild the calls of a model from an event stream, in which one turn is several events.

Both versions of OpenHands build the messages of each call from the live events: a reply with its calls, then the
results in the order of the calls. Calls without a result are left out. A condensation forgets events and puts a summary
in their place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pivotmine.readers.logs.model_calls import ModelCall
from pivotmine.readers.openai_form import unrecorded
from pivotmine.sources.json_records import Record

_HEADLESS = "the stream begins in the middle of a conversation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What one event shows the model."""

    identity: str
    """The event's id."""
    message: dict[str, Any] | None
    """A separate message, a reply of the model, or the result of a call (`answers`); None if it shows nothing."""
    is_reply: bool = False
    answers: str | None = None
    """Id of the call that the message answers."""
    later: dict[str, Any] | None = None
    """What later calls see instead of the reply; None if they see the reply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condensation:
    forgotten: frozenset[str]
    """Ids of events that no later call sees."""
    summary: Shown | None = None
    """What replaces these events; None if nothing does."""
    offset: int = 0
    """Position of the summary among the remaining live events."""


def streams_of(
    records: Iterable[Record],
    is_event: Callable[[Any], bool],
    starts_stream: Callable[[Any, Any], bool],
    lost_event: Callable[[Any], Any],
) -> Iterator[Record]:
    """Join consecutive events into records with a `history`; pass other records unchanged.

    starts_stream(last, event): whether the event begins a new stream. lost_event(last): the event that stands for a
    record that cannot be read; from there on it is unknown what the model saw.
    """
    first: int | None = None
    events: list[Any] = []
    for record in records:
        single = is_event(record.value)
        if events and (starts_stream(events[-1], record.value) if single else not record.problem):
            yield Record(first, {"history": events})
            events = []
        if record.problem and events:
            events.append(lost_event(events[-1]))
        if not single:
            yield record
            continue
        first = first if events else record.index
        events.append(record.value)
    if events:
        yield Record(first, {"history": events})


def calls_of(events: Iterable[Shown | Condensation], tools: list[Any] | None) -> Iterator[ModelCall]:
    """Yield the calls, each with its context, and then the conversation's last state."""
    events = list(events)
    results = _results(event for event in events if isinstance(event, Shown))
    live: list[Shown] = []
    begun = False
    for event in events:
        if isinstance(event, Condensation):
            live = [shown for shown in live if shown.identity not in event.forgotten]
            live[event.offset : event.offset] = [event.summary] if event.summary else []
            continue
        if event.is_reply and event.message is not None:
            answer = tuple(results[c] for c in call_ids(event.message) if c in results)
            context = _messages(live)
            if not context and not begun:  # every later turn lacks the same beginning
                live.insert(0, Shown(identity="", message=unrecorded("user", _HEADLESS)))
                context = _messages(live)
            begun = True
            yield ModelCall(context=context, reply=event.message, answer=answer, tools=tools)
        live.append(event)
    yield ModelCall(context=_messages(live), reply=None)


def call_ids(message: dict[str, Any]) -> list[str]:
    """Ids of a message's calls. Readers of events give every call an id."""
    return [str(call["id"]) for call in message.get("tool_calls", ())]


def _messages(live: list[Shown]) -> list[dict[str, Any]]:
    """The messages of the live events, as a call would see them."""
    results = _results(live)
    seen: list[dict[str, Any]] = []
    for shown in live:
        message = shown.message if shown.later is None else shown.later
        if message is None or shown.answers is not None:
            continue
        if shown.is_reply and (ids := call_ids(message)):
            seen += _answered(message, ids, results)
        else:
            seen.append(message)
    return seen


def _results(shown: Iterable[Shown]) -> dict[str, dict[str, Any]]:
    return {one.answers: one.message for one in shown if one.answers is not None and one.message is not None}


def _answered(message: dict[str, Any], ids: list[str], results: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The reply with the calls that have a result, then the results; empty if no call has one."""
    kept = [call for call, identity in zip(message["tool_calls"], ids, strict=True) if identity in results]
    reply = message if len(kept) == len(ids) else {**message, "tool_calls": kept}
    return [reply, *(results[identity] for identity in ids if identity in results)] if kept else []
