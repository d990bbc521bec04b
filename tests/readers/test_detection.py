from typing import Any

import pytest
from format_samples import EVERY, SAMPLES

from pivotmine.readers import READERS, detect, grouped
from pivotmine.readers.trajectory import BadTrajectory
from pivotmine.sources.json_records import Record


@pytest.mark.parametrize(
    ("record", "name"),
    [
        ({"messages": []}, "openai"),
        ([], "openai"),
        ({"task_id": 1, "reward": 0, "traj": []}, "tau_bench"),
        ({"task_id": 1, "reward": 0, "traj": [], "messages": []}, "tau_bench"),
    ],
)
def test_the_more_particular_format_is_told_first(record: Any, name: str) -> None:
    assert detect(record) == name


NAMED = "name the reader with --format, or the column of messages with --messages-column"


@pytest.mark.parametrize(
    ("record", "detail"),
    [
        (
            {"b": 1, "a": "x", "c": None, "d": True, "e": {}},
            "no reader knows {b: number, a: text, c: null, d: true or false, e: object}; " + NAMED,
        ),
        ({"\x1b[2J": 1}, "no reader knows {\\x1b[2J: number}; " + NAMED),
        ("text", "no reader knows text; a record is an object, or a list of messages"),
        (None, "no reader knows null; a record is an object, or a list of messages"),
        (
            {"prompt": "x"},
            "no reader knows {prompt: text}; the nearest reader is prompt_completion, but it needs completion too; "
            + NAMED,
        ),
        (
            {"prompt": "x", "completion": "y"},
            "no reader knows {prompt: text, completion: text}; the nearest reader is prompt_completion, "
            f"but what stands there has another form; {NAMED}",
        ),
        (
            {"chosen": [{"role": "user"}], "rejected": [{"role": "user"}]},
            "no reader knows {chosen: list of 1 messages, rejected: list of 1 messages}; "
            "a list of messages stands under chosen, rejected: try --messages-column chosen",
        ),
        (
            {"data": [{"a": 1}, {"a": 2}]},
            "no reader knows {data: list of 2}; the record wraps a list under 'data': write its elements one per line "
            "(jq -c '.data[]')",
        ),
    ],
)
def test_a_record_that_no_reader_knows_is_described_with_a_remedy(record: Any, detail: str) -> None:
    with pytest.raises(BadTrajectory) as raised:
        detect(record)
    assert (raised.value.reason, raised.value.detail) == ("unknown_format", detail)


PARTICULAR = {
    "nemo_gym": {"responses"},
    "mini_swe_agent": {"openai"},
    "inspect": {"openai"},
    "request_log": {"openai"},
    "sharegpt": {"openai"},
    "text_calls": {"sharegpt", "openai"},
    "typed_content": {"openai"},
    "tau2": {"openai"},
    "swift": {"openai"},
    "langchain": {"openai"},
    "response_list": {"openai"},
    "anthropic_messages": {"openai"},
}
"""Formats that are others but for something in them, and those others: the particular one comes first."""


def test_every_format_has_a_sample() -> None:
    assert SAMPLES.keys() == READERS.keys()


@pytest.mark.parametrize(("name", "record"), EVERY)
def test_one_reader_takes_each_format(name: str, record: Any) -> None:
    taking = [known for known, reader in READERS.items() if reader.matches(record)]
    assert taking[0] == name
    assert set(taking[1:]) <= PARTICULAR.get(name, set())
    whole = [joined.value for joined in grouped(iter([Record(0, record)]))]
    assert all(READERS[name].read(value).segments for value in whole)
