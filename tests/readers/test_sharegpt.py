import json
from typing import Any

import pytest
from reading import needs_real_data, real_file, records_of, trajectories, turns_of

from pivotmine import messages
from pivotmine.readers.sharegpt import matches, read
from pivotmine.readers.trajectory import BadTrajectory, Segment, Trajectory

FIND = {"name": "find", "arguments": {"id": 1}}
STOP = {"name": "stop", "arguments": "{}"}


def said(who: Any, value: Any, **more: Any) -> dict[str, Any]:
    return {"from": who, "value": value, **more}


def called(number: int, name: str, arguments: str) -> dict[str, Any]:
    return {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": arguments}}


def result(number: int, content: str) -> dict[str, Any]:
    return {"role": "tool", "content": content, "tool_call_id": f"call_{number}"}


def read_entries(*entries: Any) -> list[Any]:
    return read({"conversations": list(entries)}).segments[0].messages


def test_a_record_with_everything() -> None:
    record = {
        "conversations": [
            said("human", "go"),
            said("function_call", json.dumps([FIND, STOP])),
            said("observation", '{"found": 1}'),
            said("observation", {"stopped": True}),
            said("gpt", "done", weight=0),
        ],
        "system": "be kind",
        "tools": json.dumps([{"name": "find", "parameters": {}}]),
        "task_id": 4,
        "resolved": True,
        "source": "s",
    }
    assert read(record) == Trajectory(
        segments=(
            Segment(
                messages=[
                    {"role": "system", "content": "be kind"},
                    {"role": "user", "content": "go"},
                    {
                        "role": "assistant",
                        "content": None,
                        "tool_calls": [called(0, "find", '{"id":1}'), called(1, "stop", "{}")],
                    },
                    result(0, '{"found": 1}'),
                    result(1, '{"stopped":true}'),
                    {"role": "assistant", "content": "done", "weight": 0},
                ],
                tools=[{"type": "function", "function": {"name": "find", "parameters": {}}}],
            ),
        ),
        task_id="4",
        outcome=1.0,
        metadata={"task_id": 4, "resolved": True, "source": "s"},
    )


def test_text_and_calls_without_anything_between_them_are_one_turn() -> None:
    entries = [said("gpt", "I look."), said("function_call", json.dumps(FIND)), said("function_call", json.dumps(STOP))]
    calls = [called(0, "find", '{"id":1}'), called(1, "stop", "{}")]
    assert read_entries(*entries) == [{"role": "assistant", "content": "I look.", "tool_calls": calls}]
    found = read_entries(said("human", "x"), *entries[1:], said("observation", "a"), said("observation", "b"))
    assert found[1:] == [{"role": "assistant", "content": None, "tool_calls": calls}, result(0, "a"), result(1, "b")]
    assert [m["content"] for m in read_entries(said("gpt", "a"), said("gpt", "b"))] == ["a", "b"]


def test_orphans_stay_orphans() -> None:
    """A result without a call has no id; a call that was never answered does not take a later result."""
    found = read_entries(
        said("observation", "first"),
        said("function_call", json.dumps(FIND)),
        said("human", "and?"),
        said("function_call", json.dumps(STOP)),
        said("observation", "second"),
        said("observation", "third"),
    )
    assert found[0] == {"role": "tool", "content": "first"}
    assert found[4:] == [result(1, "second"), {"role": "tool", "content": "third"}]


@pytest.mark.parametrize(
    ("value", "calls"),
    [
        (json.dumps({**FIND, "extra": 1}), [{**called(0, "find", '{"id":1}')["function"], "extra": 1}]),
        (json.dumps({"name": "find"}), [{"name": "find", "arguments": "{}"}]),
        (FIND, [{"name": "find", "arguments": '{"id":1}'}]),
    ],
)
def test_calls_keep_what_they_hold(value: Any, calls: list[Any]) -> None:
    (message,) = read_entries(said("function_call", value))
    assert [call["function"] for call in message["tool_calls"]] == calls


@pytest.mark.parametrize(
    "value", ["{oops", "[]", "5", '{"arguments": {}}', '[{"name": "f"}, 3]', '{"name": 1}', None, []]
)
def test_a_call_that_cannot_be_read_ends_the_state(value: Any) -> None:
    found = read_entries(said("human", "x"), said("function_call", value), said("function_call", json.dumps(FIND)))
    assert messages.problem(found[0]) is None
    assert messages.problem(found[1]) == ("bad_message", "tool_calls is a list, not str")


@pytest.mark.parametrize("entry", ["text", None, said("narrator", "x"), said(["human"], "x"), said("human", {"a": 1})])
def test_an_entry_that_is_no_message_ends_the_state(entry: Any) -> None:
    (message,) = read_entries(entry)
    assert messages.problem(message) is not None


def test_masks_and_other_keys_beside_an_entry() -> None:
    found = read_entries(
        said("gpt", "a", train=False), said("gpt", "b", train=True, weight=1), said("gpt", "c", mood=3)
    )
    beside = [{key: value for key, value in m.items() if key not in ("role", "content")} for m in found]
    assert beside == [{"train": False}, {"train": True, "weight": 1}, {"extra": {"mood": 3}}]


def test_what_matches() -> None:
    assert matches({"conversations": "anything"})
    assert matches([said("human", "x")])
    others: list[Any] = [
        {"conversations": [], "messages": []},
        [],
        [{"role": "user", "content": "x"}],
        "conversations",
        3,
    ]
    assert not any(matches(record) for record in others)


def test_a_record_in_other_forms() -> None:
    entries = [said("human", "x"), said("gpt", "y")]
    assert read({"conversations": json.dumps(entries)}) == read(entries) == read({"conversations": entries})
    openai = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    assert read_entries(*openai) == openai == read_entries(*entries)
    with pytest.raises(BadTrajectory, match="no_messages"):
        read({"conversations": {"from": "human"}})


@needs_real_data
def test_glaive_as_independent_code_reads_it() -> None:
    path = real_file("llama-factory/glaive_toolcall_en_demo.json")
    records = records_of(path)
    found = trajectories(path, "sharegpt")
    spoken = [[e["from"] for e in r["conversations"]] for r in records]
    taken = [sum(who in ("gpt", "function_call") for who in entries) for entries in spoken]
    assert (len(records), sum(taken)) == (300, 957)
    assert [len(turns_of(t)) for t in found] == taken
    calls = [json.loads(e["value"]) for r in records for e in r["conversations"] if e["from"] == "function_call"]
    read_calls = [c["function"] for t in found for m in turns_of(t) for c in m.get("tool_calls", ())]
    assert [{**c, "arguments": json.loads(c["arguments"])} for c in read_calls] == calls
    # Every result of this file answers the one call before it.
    for trajectory in found:
        before: dict[str, Any] = {}
        for message in trajectory.segments[0].messages:
            if message["role"] == "tool":
                assert message["tool_call_id"] == before["tool_calls"][0]["id"]
            before = message
    assert [len(t.segments[0].tools or ()) for t in found] == [len(json.loads(r["tools"])) for r in records]
    texts = [[e["value"] for e in r["conversations"] if e["from"] != "function_call"] for r in records]
    assert [[m["content"] for m in t.segments[0].messages if m["content"] is not None] for t in found] == texts
    assert {t.outcome for t in found} == {None}


def test_entries_may_stand_under_messages() -> None:
    record = {"messages": [said("human", "x"), said("gpt", "y")], "n": 1}
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    assert matches(record)
    assert read(record) == Trajectory(segments=(Segment(messages=messages),), metadata={"n": 1})
