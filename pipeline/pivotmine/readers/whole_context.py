"""Check that the file holds the whole context of each turn.

A turn demonstrates something only in a state that the file holds completely. `prepare` brings common shapes into one
form. `find_gap` finds the first place after which states are incomplete. Both work on messages in OpenAI form, from any
reader.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from pivotmine import strict_json
from pivotmine.messages import ROLES
from pivotmine.readers.trajectory import Segment, Trajectory

MEDIA_COLUMNS = {
    **dict.fromkeys(("images", "image"), "image"),
    **dict.fromkeys(("videos", "video"), "video"),
    **dict.fromkeys(("audios", "audio"), "audio"),
}
"""Columns next to the messages that hold media, with the kind of medium."""
_PLACEHOLDERS = {"<image>": "image", "<video>": "video", "<audio>": "audio"}
_MEDIA_FILE = re.compile(
    r"data:(?:image|video|audio)/|\S+\.(?:png|jpe?g|gif|webp|bmp|tiff?|mp4|avi|mov|webm|wav|mp3|flac)$", re.IGNORECASE
)
_RESULT_ROLES = ("tool", "function")


class Part(NamedTuple):
    """What part a message has in the exchange of calls and results."""

    role: str | None
    calls: tuple[str | None, ...] = ()
    """Ids of the calls that an assistant message makes; None for a call without an id."""
    answers: str | None = None
    """Id of the call that a result names; None if it names none."""


class Gap(NamedTuple):
    """The first place after which no state is complete."""

    position: int
    """Position of the message; turns from there on are rejected."""
    reason: str
    detail: str


_PARTS = {role: Part(role) for role in ROLES}
"""Parts of messages that neither make nor answer a call."""


def part_of(message: Any) -> Part:
    """The part of a message that has no `problem`."""
    role = message["role"]
    if role == "assistant":
        if calls := message.get("tool_calls"):
            ids = [call.get("id") for call in calls]
            return Part(role, tuple([None if i is None else str(i) for i in ids]))
        return Part(role, (None,)) if message.get("function_call") else _PARTS[role]
    if role in _RESULT_ROLES and (answers := message.get("tool_call_id")) is not None:
        return Part(role, (), str(answers))
    return _PARTS[role]


def find_gap(parts: Sequence[Part], segment: Segment) -> Gap | None:
    """Find the first gap in a segment; None if every turn has its whole context.

    parts: those of the segment's messages, up to the first that no state can hold. A gap is a turn with nothing before
    it, a turn after a call without a result, or a result that no call of the last turn asked for (`orphan_result`, or
    `early_result` if a later call has its id). Inherited messages and `verbatim` segments have no gaps, because they
    are what the model was sent.
    """
    if segment.verbatim:
        return None
    waiting, made_at, num_inherited = list[str | None](), -1, segment.num_inherited
    answered = set[str | None]()
    for position, (role, calls, answers) in enumerate(parts):
        if role == "assistant":
            lacking = position >= num_inherited and (waiting or not position)
            if lacking and (gap := _before_turn(position, waiting, made_at, segment)):
                return gap
            waiting, made_at = list(calls), position
            answered.clear()
        elif role not in _RESULT_ROLES:
            continue
        elif _answered(waiting, answers):
            answered.add(answers)
        elif answers not in answered and position >= num_inherited:
            named = f"call {answers!r:.80}" if answers is not None else "a call"
            if answers is not None and any(answers in later.calls for later in parts[position + 1 :]):
                return Gap(position, "early_result", f"the result of {named} stands before the call")
            return Gap(position, "orphan_result", f"the result of an unknown call: no open {named}")
    return None


def _before_turn(position: int, waiting: list[str | None], made_at: int, segment: Segment) -> Gap | None:
    if position == 0:
        return Gap(0, "unrecorded_context", "nothing stands before the first turn: the file begins in the middle")
    if waiting and made_at >= segment.num_inherited:
        detail = f"{len(waiting)} of the calls of message {made_at} without a result before the next turn"
        return Gap(position, "unrecorded_context", detail)
    return None


def _answered(waiting: list[str | None], call_id: str | None) -> bool:
    """Close the open call that a result answers, and return whether there is one."""
    if call_id in waiting:
        waiting.remove(call_id)
    elif waiting and (call_id is None or None in waiting):
        waiting.pop(0 if call_id is None else waiting.index(None))
    else:
        return False
    return True


def prepare(found: Trajectory) -> Trajectory:
    """Turn results into text, mark media, and make leading greetings part of the context.

    The content of a result becomes JSON text if it is an object, a number or a list of anything but blocks. The message
    that shows a medium becomes one that no state can hold. Assistant messages without calls that open a conversation
    are a greeting, not turns.
    """
    medium = _medium_of(found.metadata)
    segments = tuple([_prepared(segment, medium) for segment in found.segments])
    return (
        found
        if all(a is b for a, b in zip(segments, found.segments, strict=True))
        else replace(found, segments=segments)
    )


def _prepared(segment: Segment, medium: str | None) -> Segment:
    roles = [message.get("role") if type(message) is dict else None for message in segment.messages]
    messages = _with_media(_with_texts(segment.messages, roles), roles, medium)
    num_greetings = _num_greetings(messages) if not segment.num_inherited and not segment.verbatim else 0
    if num_greetings:
        rewards = segment.rewards[num_greetings:]
        return replace(segment, messages=messages, num_inherited=num_greetings, rewards=rewards)
    return segment if messages is segment.messages else replace(segment, messages=messages)


def _with_texts(messages: list[Any], roles: list[Any]) -> list[Any]:
    """Turn results into text; return the same list if nothing changes."""
    made = messages
    for position, role in enumerate(roles):
        if role not in _RESULT_ROLES:
            continue
        content = messages[position].get("content")
        if content is None or isinstance(content, str) or _are_blocks(content):
            continue
        made = [*made] if made is messages else made
        made[position] = {**messages[position], "content": strict_json.dumps(content)}
    return made


def _are_blocks(content: Any) -> bool:
    return isinstance(content, list) and all(isinstance(block, dict) and "type" in block for block in content)


def _with_media(messages: list[Any], roles: list[Any], medium: str | None) -> list[Any]:
    """Mark the first message that shows a medium by a block of that kind."""
    for position, role in enumerate(roles):
        if role != "user":
            continue
        text = messages[position].get("content")
        if isinstance(text, str) and "<" in text:
            for placeholder, kind in _PLACEHOLDERS.items():
                if placeholder in text:
                    return _marked(messages, position, kind)
    first_user = roles.index("user") if "user" in roles else 0
    return _marked(messages, first_user, medium) if medium and messages else messages


def _marked(messages: list[Any], position: int, kind: str) -> list[Any]:
    message = messages[position]
    content = message.get("content") if isinstance(message, dict) else None
    text = [{"type": "text", "text": content}] if isinstance(content, str) else []
    role = message.get("role") if isinstance(message, dict) else "user"
    marked = {**(message if isinstance(message, dict) else {}), "role": role, "content": [{"type": kind}, *text]}
    return [*messages[:position], marked, *messages[position + 1 :]]


def _medium_of(fields: Mapping[str, Any]) -> str | None:
    """The kind of medium in a record's columns; a text counts only if it names a media file."""
    for column, kind in MEDIA_COLUMNS.items():
        value = fields.get(column)
        if isinstance(value, list | dict):
            if value:
                return kind
        elif isinstance(value, str) and _MEDIA_FILE.match(value):
            return kind
    return None


def _num_greetings(messages: Sequence[Any]) -> int:
    """Number of assistant messages without calls at the start, if a message of another role follows them."""
    for number, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") != "assistant":
            return number if isinstance(message, dict) else 0
        if message.get("tool_calls") or message.get("function_call"):
            return 0
    return 0
