"""Event streams, in which one turn is several events: from what each event shows the model to its calls.

Both versions of OpenHands build the messages of a call again from the live events: a reply with its calls, the results
behind it in the order of the calls, calls without a result left out. A condensation forgets events and puts a summary
in their place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pivotmine.readers.logs.model_calls import ModelCall
from pivotmine.readers.openai_form import unrecorded

_HEADLESS = "the stream begins in the middle of a conversation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What one event shows the model."""

    identity: str
    """The event's id."""
    message: dict[str, Any] | None
    """A separate message, a reply of the model, or the result of a call (`answers`); None: it shows nothing."""
    is_reply: bool = False
    answers: str | None = None
    """Id of the call that the message answers."""
    later: dict[str, Any] | None = None
    """What later calls see instead of the reply; None: the reply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condensation:
    forgotten: frozenset[str]
    """Ids of events that no later call sees."""
    summary: Shown | None = None
    """What stands for them, where something does."""
    offset: int = 0
    """Its place among the live events that are left."""


def calls_of(events: Iterable[Shown | Condensation], tools: list[Any] | None) -> Iterator[ModelCall]:
    """The calls, each with its context, and the conversation's last state."""
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
    """Ids of the calls of a message that a reader of events made: every call has one."""
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
    """The reply with those of its calls that have a result, and the results; nothing where none has one."""
    kept = [call for call, identity in zip(message["tool_calls"], ids, strict=True) if identity in results]
    reply = message if len(kept) == len(ids) else {**message, "tool_calls": kept}
    return [reply, *(results[identity] for identity in ids if identity in results)] if kept else []
