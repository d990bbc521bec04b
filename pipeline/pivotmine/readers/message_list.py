"""A file that is a list of messages: a JSON array, or one message per line (also ShareGPT entries and Responses items).

Sources are read record by record, so each message of such a file is a record. Messages are joined again by the id of
their conversation (`conversation_id`, `session_id`, ...); those without an id are one conversation. If these hold a
second system message, it is unclear which messages belong together, and the turns from there on are rejected
(`several_conversations`). An unreadable line may belong to any conversation, so all lose their later turns.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pivotmine.messages import ROLES, SEVERAL_CONVERSATIONS
from pivotmine.readers import openai_messages, response_list, sharegpt
from pivotmine.readers.openai_form import unrecorded
from pivotmine.readers.record_fields import CONVERSATION_KEYS, conversation_of
from pivotmine.readers.trajectory import Reader, Trajectory
from pivotmine.sources.json_records import Record

_RECORDS = ("messages", "conversations", "traj", "trajectory", "request", "response")
"""Keys of records that messages do not have."""


def matches(record: Any) -> bool:
    """Whether a record is a message (a role with content or calls, or `from` and `value`) or an item of a response."""
    if not isinstance(record, dict) or any(key in record for key in _RECORDS):
        return False
    if response_list.is_item(record):
        return True
    is_openai = record.get("role") in ROLES and any(key in record for key in ("content", "tool_calls", "function_call"))
    return is_openai or {"from", "value"} <= record.keys()


def group(records: Iterator[Record]) -> Iterator[Record]:
    """Join the messages of each conversation, in the order in which these begin. Other records come first."""
    conversations: dict[tuple[str, str] | None, _Conversation] = {}
    unread = False
    for record in records:
        if record.problem or not matches(record.value):
            yield record
            # A header may stand before the messages. Anything else that is not a message hides what the model saw.
            if record.problem or (conversations and not any(key in _fields(record) for key in _RECORDS)):
                unread = True
                for conversation in conversations.values():
                    conversation.lose(record.index)
            continue
        key = conversation_of(record.value)
        if key not in conversations:
            conversations[key] = _Conversation(record.index, key)
            if unread:
                conversations[key].lose(None)
        conversations[key].add(record.value)
    for conversation in conversations.values():
        yield conversation.record()


def _fields(record: Record) -> dict[str, Any]:
    return record.value if isinstance(record.value, dict) else {}


class _Conversation:
    """The messages of one conversation."""

    def __init__(self, index: int | None, key: tuple[str, str] | None) -> None:
        self._index, self._key = index, key
        self._messages: list[Any] = []
        self._begun = False
        """Whether a message follows the system prompt."""

    def lose(self, index: int | None) -> None:
        """Note that a record of the file could not be read."""
        where = "a record before them" if index is None else f"record {index}"
        self._messages.append(
            unrecorded("user", f"{where} could not be read: it may be a message of this conversation")
        )

    def add(self, message: dict[str, Any]) -> None:
        """Append a message."""
        is_system = message.get("role", message.get("from")) in ("system", "developer")
        if is_system and self._begun and self._key is None:
            why = "a second system message: the file holds several conversations, and no id tells them apart"
            self._messages.append({"role": "user", "content": None, SEVERAL_CONVERSATIONS: why})
        self._begun = self._begun or not is_system
        self._messages.append({k: v for k, v in message.items() if k not in CONVERSATION_KEYS})

    def record(self) -> Record:
        """The conversation as one record."""
        if self._key is None:
            return Record(self._index, self._messages)
        name, value = self._key
        return Record(self._index, {"messages": self._messages, name: value})


def read(record: Any) -> Trajectory:
    """Read the messages of a conversation, or a single one."""
    messages = record if isinstance(record, list) else [record]
    readers = (response_list, sharegpt)
    return next((one for one in readers if one.matches(messages)), openai_messages).READER.read(messages)


READER = Reader(matches, read, group)
