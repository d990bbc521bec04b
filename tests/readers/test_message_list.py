from typing import Any

from format_samples import OPENAI, USER

from pivotmine.messages import problem
from pivotmine.readers import READERS, detect, grouped
from pivotmine.readers.message_list import matches, read
from pivotmine.readers.trajectory import Segment, Trajectory
from pivotmine.sources.json_records import Record

SAID = {"role": "assistant", "content": "b"}


def joined(*values: Any) -> list[Record]:
    """The records of a file of these values; None: a line that could not be read."""
    bad = ("bad_json", "x")
    return list(grouped(Record(n, value, None if value else bad) for n, value in enumerate(values)))


def problems(messages: list[Any]) -> list[str | None]:
    return [None if (found := problem(message)) is None else found[0] for message in messages]


def test_a_file_of_messages_is_one_conversation() -> None:
    (found,) = joined(*OPENAI)
    assert found == Record(0, OPENAI)
    assert READERS[detect(found.value)].read(OPENAI) == read(OPENAI)
    assert read(OPENAI) == Trajectory(segments=(Segment(messages=OPENAI),))


def test_a_line_that_could_not_be_read_ends_the_conversation_and_a_header_does_not() -> None:
    header, strange = {"about": 1}, {"x": 1}
    for unread in (None, strange):
        first, lost, found = joined(header, USER, unread, SAID)
        assert (first.value, lost.index, lost.value) == (header, 2, unread)
        assert problems(found.value) == [None, "unrecorded_context", None]
    lost, found = joined(None, USER, SAID)
    assert problems(found.value) == ["unrecorded_context", None, None]


def test_conversations_are_told_apart_by_their_ids_also_interleaved() -> None:
    lines = [{**message, "session_id": n} for message in (USER, SAID) for n in (1, 2)]
    assert joined(*lines) == [
        Record(0, {"messages": [USER, SAID], "session_id": "1"}),
        Record(1, {"messages": [USER, SAID], "session_id": "2"}),
    ]
    *_, last = joined(lines[0], None, *lines[1:])
    assert problems(last.value["messages"]) == ["unrecorded_context", None, None]


def test_without_ids_a_second_system_message_ends_what_can_be_told() -> None:
    system = {"role": "system", "content": "s"}
    (found,) = joined(system, system, USER, SAID, system, USER, SAID)
    assert problems(found.value) == [None] * 4 + ["several_conversations"] + [None] * 3


def test_a_file_of_sharegpt_entries_likewise() -> None:
    entries = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    (found,) = grouped(iter([Record(number, entry) for number, entry in enumerate(entries)]))
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert read(found.value).segments[0].messages == messages


def test_what_matches() -> None:
    assert all(matches(message) for message in OPENAI)
    others: list[Any] = [
        {"role": "user"},
        {"role": "wizard", "content": "x"},
        {"messages": [], "role": "user"},
        [],
        "x",
    ]
    assert not any(matches(record) for record in others)
