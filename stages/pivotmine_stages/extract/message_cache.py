"""Facts about a message, computed once for all its places in a block of records.

A process keeps them from block to block, because the same system prompts and requests recur throughout a source.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from pivotmine import messages, strict_json
from pivotmine.actions import NATIVE, action_from_message, is_text, read_message
from pivotmine.readers.whole_context import Part, part_of
from pivotmine_stages.extract.demonstrations import Demonstration, demonstration, result_failure

_KEPT_BYTES = 32 << 20
"""Approximate memory of the messages that a process keeps from block to block."""
_FACTS_BYTES = 6000
"""Approximate memory of one message without its text, which is held up to three times."""


class MessageFacts:
    """A message, usable or not."""

    __slots__ = (
        "demonstration",
        "failure",
        "message_id",
        "part",
        "problem",
        "role",
        "seen",
        "text",
        "undocumented_mask",
    )

    def __init__(self, message: Any, key: bytes, action_format: str = NATIVE) -> None:
        ordinary = _holds_texts(message) or strict_json.is_ordinary(message)
        self.text = key if ordinary else strict_json.dump_bytes(message)
        """The message as JSON."""
        canonical = strict_json.canonical_bytes(message, ordinary=ordinary)
        self.message_id = messages.digest(canonical)
        self.role: str | None = message.get("role") if isinstance(message, dict) else None
        self.problem = messages.problem(message)
        """Why no state can hold it: (reason, detail); None if a state can."""
        self.seen: messages.Seen | None = None
        """What it adds to a state's id; None if no state can hold it."""
        self.demonstration: Demonstration | None = None
        """The action of an assistant message, and why it is not worth imitating, if so."""
        self.undocumented_mask = self.role == "assistant" and message.get("mask") is False
        """Whether it is an assistant message with `mask: false`."""
        self.failure: str | None = None
        """The beginning of a tool result that reports a failure."""
        self.part = Part(None) if self.problem else part_of(message)
        """Its part in the exchange of calls and results."""
        if self.problem:
            return
        if self.role == "assistant":
            if is_text(action_format):
                self.seen = messages.seen(message, canonical)
                self.demonstration = demonstration(message, read_message(message, action_format))
            else:
                self.seen, self.demonstration = _read(message, canonical, ordinary=ordinary)
            return
        self.seen = messages.seen(message, canonical)
        # A text harness returns the result of an action in a user message.
        if self.role in ("tool", "function") or (self.role == "user" and is_text(action_format)):
            self.failure = result_failure(message)


class KnownMessages:
    """The messages of a block of records, and those of earlier blocks that may recur."""

    def __init__(self) -> None:
        self._known: dict[str, dict[bytes, MessageFacts]] = {}
        """By action format, which decides what a message demonstrates."""

    def describe(self, found: Iterable[Any], action_format: str = NATIVE) -> list[MessageFacts]:
        """Return the facts about each message in a segment of this action format."""
        known, answers = self._known.setdefault(action_format, {}), list[MessageFacts]()
        for message in found:
            key = strict_json.fingerprint(message)
            one = known.get(key)
            if one is None:
                one = known[key] = MessageFacts(message, key, action_format)
            answers.append(one)
        return answers

    def end_block(self) -> None:
        """Forget messages with call ids, which belong to one conversation; forget all if the rest is large."""
        size = 0
        for action_format, known in self._known.items():
            kept = {key: one for key, one in known.items() if not one.part.calls and one.part.answers is None}
            self._known[action_format] = kept
            size += sum(3 * len(key) + _FACTS_BYTES for key in kept)
        if size > _KEPT_BYTES:
            self._known.clear()


@cache
def known_messages() -> KnownMessages:
    """Return the known messages of this process."""
    return KnownMessages()


def _read(message: dict[str, Any], canonical: bytes, *, ordinary: bool) -> tuple[messages.Seen, Demonstration]:
    """Return what an assistant message adds to a state's id and what it demonstrates; parse its arguments once."""
    action = action_from_message(message)
    arguments = [call.arguments for call in action.tool_calls]
    ordinary = ordinary and strict_json.is_ordinary(arguments)
    whole = bool(arguments) and not action.unparsed and "function_call" not in message
    seen = messages.seen(message, canonical, (arguments, ordinary) if whole else None)
    return seen, demonstration(message, action, ordinary=ordinary)


def _holds_texts(message: Any) -> bool:
    """Return whether all values of a message are texts. Most messages are like this, and skip the recursive check."""
    return type(message) is dict and {*map(type, message.values())} == {str}
