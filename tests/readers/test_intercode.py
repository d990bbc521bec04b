from collections import Counter
from typing import Any

import pytest
from reading import needs_real_data, real_file, records_of, trajectories, turns_of

from pivotmine.readers import grouped
from pivotmine.readers.intercode import matches, read
from pivotmine.readers.trajectory import BadTrajectory, Segment, Trajectory
from pivotmine.sources.json_records import Record

HISTORY: dict[str, Any] = {
    "actions": ["ls", "wc x", "wc y"],
    "observations": ["x y", "no", "2"],
    "rewards": [0.5, 0.75, 1],
    "valid_action": [True, False, True],
}
ENTRY: dict[str, Any] = {"environment": "ic_sql", "query": "Count.", "task_id": 3, "turn_history": HISTORY, "info": {}}
MODELS = ("gpt-3.5", "gpt-4", "text-davinci-003", "vicuna")


def call(number: int, command: str) -> list[dict[str, Any]]:
    function = {"name": "sql", "arguments": f'{{"command":"{command}"}}'}
    return [{"id": f"call_{number}", "type": "function", "function": function}]


def test_an_entry_with_everything() -> None:
    messages = [
        {"role": "user", "content": "Count."},
        {"role": "assistant", "content": None, "tool_calls": call(0, "ls"), "weight": 0},
        {"role": "tool", "content": "x y", "tool_call_id": "call_0"},
        {"role": "assistant", "content": None, "tool_calls": call(1, "wc x"), "weight": 0},
        {"role": "tool", "content": "no", "tool_call_id": "call_1", "is_error": True},
        {"role": "assistant", "content": None, "tool_calls": call(2, "wc y")},
        {"role": "tool", "content": "2", "tool_call_id": "call_2"},
    ]
    assert read(ENTRY) == Trajectory(
        segments=(Segment(messages=messages, rewards=(0.5, 0.75, 1.0)),),
        task_id="3",
        outcome=1.0,
        metadata={"environment": "ic_sql", "info": {}},
    )


@pytest.mark.parametrize(
    ("history", "reason"),
    [
        (None, "no_messages"),
        ({}, "no_messages"),
        ({**HISTORY, "rewards": None}, "no_messages"),
        ({**HISTORY, "rewards": [1]}, "bad_message"),
        ({**HISTORY, "actions": ["ls", 3, "x"]}, "bad_message"),
        ({**HISTORY, "rewards": [1, "good", 1]}, "bad_outcome"),
    ],
)
def test_a_history_that_does_not_fit_is_a_bad_trajectory(history: Any, reason: str) -> None:
    with pytest.raises(BadTrajectory, match=reason):
        read({**ENTRY, "turn_history": history})


def test_a_file_is_its_entries_and_what_is_none_stays() -> None:
    bad = Record(1, None, ("bad_json", "x"))
    records = [Record(0, {"0": ENTRY, "1": ENTRY}), bad, Record(2, ENTRY), Record(3, {"x": 1})]
    whole = [Record(0, ENTRY), Record(1, ENTRY), bad, Record(3, ENTRY), Record(4, {"x": 1})]
    assert list(grouped(iter(records))) == whole


def test_what_matches() -> None:
    assert matches(ENTRY)
    assert matches({"7": ENTRY})
    assert not any(matches(r) for r in ({}, {"7": ENTRY, "8": 1}, [ENTRY], None, {"query": 1}))


@needs_real_data
@pytest.mark.parametrize("model", MODELS)
def test_bash_histories_as_independent_code_reads_them(model: str) -> None:
    path = real_file(f"intercode/bash/ic_bash_multiturn_{model}_10_turns_fs_4.json")
    entries: list[Any] = list(records_of(path).values())  # pyright: ignore[reportAttributeAccessIssue]
    histories = [entry["turn_history"] for entry in entries]
    found = trajectories(path, "intercode")
    assert len(found) == 27
    assert [len(turns_of(t)) for t in found] == [len(h["actions"]) for h in histories]
    assert [t.outcome for t in found] == [e["summary"]["max_reward"] for e in entries]
    assert [t.segments[0].rewards for t in found] == [tuple(map(float, h["rewards"])) for h in histories]
    failed = Counter(m.get("is_error", False) for t in found for m in t.segments[0].messages if m["role"] == "tool")
    assert failed[True] == sum(v is False for h in histories for v in h["valid_action"]) > 0
