from typing import Any

import pytest
from reading import needs_real_data, real_file, records_of, trajectories, turns_of

from pivotmine.readers.responses import matches, read
from pivotmine.readers.trajectory import BadTrajectory, Segment, Trajectory

USER = {"role": "user", "content": "go"}
SAID = {"type": "message", "role": "assistant", "content": "hello"}
TOOL = {"type": "function", "name": "find", "parameters": {}, "strict": True}
RECORD: dict[str, Any] = {
    "responses_create_params": {"input": [USER, SAID], "tools": [TOOL], "instructions": "be kind", "temperature": 1},
    "response": {"id": "r", "output": [SAID], "tools": [TOOL]},
    "reward": 0.5,
    "_ng_task_index": 4,
    "domain": "air",
}
TURN = {"role": "assistant", "content": "hello", "extra": {"items": [SAID]}}


def test_a_record_with_everything() -> None:
    instructions = {"role": "system", "content": "be kind", "extra": {"instructions": True}}
    function = {"name": "find", "parameters": {}, "strict": True}
    assert read(RECORD) == Trajectory(
        segments=(
            Segment(
                messages=[instructions, USER, TURN, TURN],
                tools=[{"type": "function", "function": function}],
                num_inherited=3,
                rewards=(0.5,),
            ),
        ),
        task_id="4",
        domain="air",
        outcome=0.5,
        metadata={
            "responses_create_params": {"temperature": 1},
            "response": {"id": "r"},
            "reward": 0.5,
            "_ng_task_index": 4,
        },
    )


def test_the_same_log_in_other_places() -> None:
    whole = Segment(messages=[USER, TURN], num_inherited=1)
    assert read({"responses_create_params": {"input": "go"}, "output": [SAID]}).segments == (whole,)
    rewarded = Segment(messages=[USER, TURN], num_inherited=1, rewards=(1.0,))
    assert read({"input": "go", "output": [SAID], "score": 1}) == Trajectory(
        segments=(rewarded,), outcome=1.0, metadata={"score": 1}
    )


def test_the_reward_of_several_turns_is_none_of_them() -> None:
    result = {"type": "function_call_output", "call_id": "c", "output": "x"}
    found = read({"input": "go", "output": [SAID, result, SAID], "reward": 1})
    assert (found.segments[0].rewards, found.outcome, len(turns_of(found))) == ((), 1.0, 2)


@pytest.mark.parametrize(
    ("fields", "task"),
    [
        ({"uuid": "u", "trajectory_id": "t"}, "t"),
        ({"uuid": "u", "task_id": "t"}, "t"),
        ({"uuid": "u"}, "u"),
        ({"_ng_task_index": None}, None),
    ],
)
def test_rows_of_one_source_trajectory_are_one_task(fields: dict[str, Any], task: str | None) -> None:
    assert read({"input": "go", "output": [SAID], **fields}).task_id == task


def test_a_response_that_was_cut_off_is_masked() -> None:
    response = {"output": [SAID], "incomplete_details": {"reason": "max_output_tokens"}}
    found = read({**RECORD, "response": response}).segments[0].messages[-1]
    assert found == {**TURN, "weight": 0, "extra": {"items": [SAID], "truncated": True}}


def test_what_matches() -> None:
    assert matches(RECORD)
    assert matches({"input": [], "output": []})
    others: list[Any] = [
        {"input": [], "output": "text"},
        {"output": []},
        {**RECORD, "messages": []},
        {**RECORD, "response": {"output": None}},
        [RECORD],
        None,
    ]
    assert not any(matches(record) for record in others)


@pytest.mark.parametrize("params", [None, [], {"input": None}, {}])
def test_parameters_without_input_are_a_bad_trajectory(params: Any) -> None:
    with pytest.raises(BadTrajectory, match="no_messages"):
        read({**RECORD, "responses_create_params": params})


@pytest.mark.parametrize("output", [None, "x", {}])
def test_output_that_is_no_list_is_a_bad_trajectory(output: Any) -> None:
    with pytest.raises(BadTrajectory, match="no_messages"):
        read({"input": "go", "output": output})


@needs_real_data
def test_nemo_gym_rollouts_as_independent_code_reads_them() -> None:
    path = real_file("nemo-gym/swe_pivot/example_rollouts.jsonl")
    records = records_of(path)
    found = trajectories(path, "responses")
    assert len(found) == len(records) == 5
    assert [t.outcome for t in found] == [r["reward"] for r in records] == [0.0] * 5
    outputs = [[i["content"][0]["text"] for i in r["response"]["output"]] for r in records]
    assert [[m["content"] for m in turns_of(t)] for t in found] == outputs
    assert [t.task_id for t in found] == [r["uuid"] for r in records]
