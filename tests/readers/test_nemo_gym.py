import json
from collections import Counter
from typing import Any

import pytest
from reading import needs_real_data, real_file, records_of, trajectories, turns_of

from pivotmine.readers.nemo_gym import matches, read
from pivotmine.readers.trajectory import BadTrajectory, Segment, Trajectory

USER = {"role": "user", "content": "go"}
SAID = {"type": "message", "role": "assistant", "content": "hello"}
CALL = {"type": "function_call", "name": "find", "arguments": '{"id": 1}'}
FUNCTION = {"name": "find", "arguments": '{"id": 1}'}
ROW: dict[str, Any] = {
    "responses_create_params": {"input": [USER, SAID, USER], "tools": None, "tool_choice": "auto"},
    "expected_action": CALL,
    "agent_ref": {"type": "responses_api_agents", "name": "a"},
    "trajectory_id": "t1",
    "reward": 0.0,
}


def expected(action: Any) -> dict[str, Any]:
    return read({**ROW, "expected_action": action}).segments[0].messages[-1]


def test_a_row_is_one_turn_and_its_reward_is_of_another_action() -> None:
    turn = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": None, "type": "function", "function": FUNCTION}],
        "extra": {"expected_action": CALL},
    }
    before = [USER, {"role": "assistant", "content": "hello", "extra": {"items": [SAID]}}, USER]
    assert read(ROW) == Trajectory(
        segments=(Segment(messages=[*before, turn], num_inherited=3),),
        task_id="t1",
        metadata={
            "responses_create_params": {"tools": None, "tool_choice": "auto"},
            "agent_ref": ROW["agent_ref"],
            "trajectory_id": "t1",
            "reward": 0.0,
        },
    )


def test_every_kind_of_expected_action() -> None:
    assert expected({"type": "message", "content": "bye"})["content"] == "bye"
    batch = expected({"type": "function_call_batch", "calls": [CALL, CALL]})
    assert [call["function"] for call in batch["tool_calls"]] == [FUNCTION, FUNCTION]
    answer = read({"responses_create_params": {"input": [USER]}, "expected_answer": "bye"}).segments[0].messages[-1]
    assert answer == {"role": "assistant", "content": "bye", "extra": {"expected_answer": "bye"}}


@pytest.mark.parametrize(
    "action", ["x", {"type": "dance"}, {}, [], {"type": "function_call_batch", "calls": []}, {"type": ["message"]}]
)
def test_an_action_that_is_none_is_a_bad_trajectory(action: Any) -> None:
    with pytest.raises(BadTrajectory, match="bad_expected_action"):
        expected(action)
    with pytest.raises(BadTrajectory, match="bad_expected_action"):
        expected({"type": "function_call_batch", "calls": ["x"]})
    with pytest.raises(BadTrajectory, match="bad_expected_action"):
        read({**ROW, "expected_action": None, "expected_answer": {"a": 1}})


def test_what_matches() -> None:
    assert matches(ROW)
    assert not matches({**ROW, "expected_action": None})
    assert not matches({**ROW, "expected_action": None, "expected_answer": ""})
    assert not any(matches(r) for r in ({"expected_action": CALL}, [ROW], None, "responses_create_params"))


@needs_real_data
@pytest.mark.parametrize(
    ("name", "calls", "inherited"),
    [
        ("single_step_tool_use_with_argument_comparison/example.jsonl", 3, 15),
        ("single_step_tool_use_with_argument_comparison/example_rollouts.jsonl", 3, 15),
        ("single_step_tool_use_with_argument_comparison/parallel_example.jsonl", 8, 0),
        ("swe_pivot/example.jsonl", 5, 0),
        ("terminus_judge/example.jsonl", 0, 0),
        ("terminus_judge/example_rollouts.jsonl", 0, 0),
    ],
)
def test_pivot_rows_as_independent_code_reads_them(name: str, calls: int, inherited: int) -> None:
    path = real_file(f"nemo-gym/{name}")
    records = records_of(path)
    found = trajectories(path, "nemo_gym")
    assert [len(turns_of(t)) for t in found] == [1] * len(records) == [1] * 5
    actions = [r.get("expected_action") or {"type": "message", "content": r["expected_answer"]} for r in records]
    wanted: list[Any] = [c for a in actions for c in a.get("calls", [a]) if "name" in c]
    given = [c["function"] for t in found for m in turns_of(t) for c in m.get("tool_calls", ())]
    assert given == [{"name": c["name"], "arguments": c["arguments"]} for c in wanted]
    assert len(given) == calls
    assert [m["content"] for t in found for m in turns_of(t) if m["content"]] == [
        a["content"] for a in actions if a["type"] == "message"
    ]
    # Each reasoning item of these files is the first of one turn that was taken before.
    kinds = Counter(i.get("type") for r in records for i in r["responses_create_params"]["input"])
    before = [m for t in found for m in t.segments[0].messages[:-1] if m["role"] == "assistant"]
    assert len(before) == kinds["reasoning"] == inherited
    assert sum(len(m.get("tool_calls", ())) for m in before) == kinds["function_call"]
    assert [t.outcome for t in found] == [None] * 5
    tools = [r["responses_create_params"].get("tools") or None for r in records]
    assert [json.dumps(t.segments[0].tools) for t in found] == [
        json.dumps(ts and [{"type": "function", "function": {k: t[k] for k in t if k != "type"}} for t in ts])
        for ts in tools
    ]
