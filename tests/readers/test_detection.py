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


@pytest.mark.parametrize(
    ("record", "detail"),
    [
        ({"b": 1, "a": 2}, "no reader knows ['a', 'b']"),
        ({"\x1b[2J": 1}, "no reader knows ['\\x1b[2J']"),
        ("text", "no reader knows str"),
        (None, "no reader knows NoneType"),
    ],
)
def test_a_record_that_no_reader_knows(record: Any, detail: str) -> None:
    with pytest.raises(BadTrajectory) as raised:
        detect(record)
    assert (raised.value.reason, raised.value.detail) == ("unknown_format", f"{detail}; known: {', '.join(READERS)}")


PARTICULAR = {
    "nemo_gym": {"responses"},
    "mini_swe_agent": {"openai"},
    "inspect": {"openai"},
    "request_log": {"openai"},
    "sharegpt": {"openai"},
    "text_calls": {"sharegpt", "openai"},
    "typed_content": {"openai"},
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
