"""What a message is: found out once for all places where a block of records holds it.

A process remembers messages from block to block: the same system prompts and requests return all over a source.
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
"""Memory of the messages that a process remembers from block to block, about."""
_FACTS_BYTES = 6000
"""Of it for a message, apart from its text, which is held up to three times."""


class MessageFacts:
    """A message, kept or not."""

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
        """Why no state can hold it: (reason, detail); None: it can."""
        self.seen: messages.Seen | None = None
        """What a state's id takes from it; None: no state can hold it."""
        self.demonstration: Demonstration | None = None
        """Of an assistant message: the action, and why it is not worth imitating."""
        self.undocumented_mask = self.role == "assistant" and message.get("mask") is False
        """Whether it is an assistant message under a false `mask`."""
        self.failure: str | None = None
        """Of a tool result that reports a failure: its beginning."""
        self.part = Part(None) if self.problem else part_of(message)
        """What it is in the exchange of calls and results."""
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
        # A text harness answers an action with a message of the user.
        if self.role in ("tool", "function") or (self.role == "user" and is_text(action_format)):
            self.failure = result_failure(message)


class KnownMessages:
    """The messages of a block of records, and those of earlier blocks that may return."""

    def __init__(self) -> None:
        self._known: dict[str, dict[bytes, MessageFacts]] = {}
        """By action format, which decides what a message demonstrates."""

    def describe(self, found: Iterable[Any], action_format: str = NATIVE) -> list[MessageFacts]:
        """What each message is in a segment of this action format."""
        known, answers = self._known.setdefault(action_format, {}), list[MessageFacts]()
        for message in found:
            key = strict_json.fingerprint(message)
            one = known.get(key)
            if one is None:
                one = known[key] = MessageFacts(message, key, action_format)
            answers.append(one)
        return answers

    def end_block(self) -> None:
        """Forget the messages with ids of calls, which belong to one conversation, and all if the rest is large."""
        size = 0
        for action_format, known in self._known.items():
            kept = {key: one for key, one in known.items() if not one.part.calls and one.part.answers is None}
            self._known[action_format] = kept
            size += sum(3 * len(key) + _FACTS_BYTES for key in kept)
        if size > _KEPT_BYTES:
            self._known.clear()


@cache
def known_messages() -> KnownMessages:
    """Those of this process."""
    return KnownMessages()


def _read(message: dict[str, Any], canonical: bytes, *, ordinary: bool) -> tuple[messages.Seen, Demonstration]:
    """What a state's id takes from an assistant message, and what it demonstrates: its arguments are read once."""
    action = action_from_message(message)
    arguments = [call.arguments for call in action.tool_calls]
    ordinary = ordinary and strict_json.is_ordinary(arguments)
    whole = bool(arguments) and not action.unparsed and "function_call" not in message
    seen = messages.seen(message, canonical, (arguments, ordinary) if whole else None)
    return seen, demonstration(message, action, ordinary=ordinary)


def _holds_texts(message: Any) -> bool:
    """Whether a message is an object of texts, as most are: spares them the walk."""
    return type(message) is dict and {*map(type, message.values())} == {str}
