from typing import Any

from format_samples import OPENAI

from pivotmine.readers import READERS, detect, grouped
from pivotmine.readers.message_list import matches, read
from pivotmine.readers.trajectory import Segment, Trajectory
from pivotmine.sources.json_records import Record


def test_a_file_of_messages_is_one_conversation() -> None:
    bad, strange = Record(2, None, ("bad_json", "x")), Record(5, {"x": 1})
    pieces = [Record(number, message) for number, message in enumerate(OPENAI[:2])]
    rest = [Record(number, message) for number, message in enumerate(OPENAI[2:], 6)]
    found = list(grouped(iter([*pieces, bad, strange, *rest])))
    assert found == [bad, strange, Record(0, OPENAI)]
    assert READERS[detect(found[-1].value)].read(OPENAI) == read(OPENAI)
    assert read(OPENAI) == Trajectory(segments=(Segment(messages=OPENAI),))


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
