from typing import Any

import pytest

from pivotmine.readers.toolbench import matches, read
from pivotmine.readers.trajectory import BadTrajectory, Segment, Trajectory

FUNCTION = {"name": "find", "parameters": {}}
ASK = [{"role": "system", "content": "Be AutoGPT."}, {"role": "user", "content": "go"}]
RESULT = {"role": "function", "name": "find", "content": "none"}
THOUGHT = {"role": "assistant", "content": "I give up."}


def called(name: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "function_call": {"name": name, "arguments": "{}"}, **more}


def answer(**fields: Any) -> dict[str, Any]:
    found = {"query": "go", "function": [FUNCTION], "valid_data": True, **fields}
    return {"win": True, "answer_generation": found, "forward_args": {"answer": 1}}


def node(kind: str, text: str, *children: Any, **more: Any) -> dict[str, Any]:
    return {"node_type": kind, "description": text, "children": list(children), **more}


def test_calls_with_growing_prefixes_are_one_segment_and_a_thought_is_of_its_call() -> None:
    path = [*ASK, called("find"), RESULT, THOUGHT, called("Finish")]
    calls = [path[:3], path[:5], path]
    assert read(answer(train_messages=calls, total_tokens=3)) == Trajectory(
        segments=(
            Segment(
                messages=[*ASK, called("find"), RESULT, called("Finish", content="I give up.")],
                tools=[{"type": "function", "function": FUNCTION}],
                num_inherited=2,
            ),
        ),
        task_id="go",
        outcome=1.0,
        metadata={"forward_args": {"answer": 1}, "valid_data": True, "total_tokens": 3},
    )


def test_a_context_that_was_rewritten_opens_a_segment() -> None:
    first, other = [*ASK, called("find")], [*ASK, RESULT, called("find"), RESULT, called("Finish")]
    found = read(answer(train_messages=[first, other])).segments
    assert [(len(s.messages), s.num_inherited) for s in found] == [(3, 2), (6, 5)]


def test_a_tree_without_an_answer_is_its_paths() -> None:
    leaf = node("Thought", "No way.")
    second = node("Action", "stop", node("Action Input", "{}", observation="stopped"))
    first = node(
        "Thought", "Hm.", node("Action", "find", node("Action Input", '{"id": 7}', leaf, second, observation="none"))
    )
    record = {**answer(train_messages=[]), "win": False, "tree": {"tree": node("Action Input", "", first)}}
    found = read(record)
    call = {"id": "call_0", "type": "function", "function": {"name": "find", "arguments": '{"id": 7}'}}
    stop = {"id": "call_1", "type": "function", "function": {"name": "stop", "arguments": "{}"}}
    shared = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": "Hm.", "tool_calls": [call]},
        {"role": "tool", "content": "none", "tool_call_id": "call_0"},
    ]
    assert found.outcome == 0.0
    assert [(s.messages, s.num_inherited) for s in found.segments] == [
        ([*shared, {"role": "assistant", "content": "No way."}], 0),
        (
            [
                *shared,
                {"role": "assistant", "content": None, "tool_calls": [stop]},
                {"role": "tool", "content": "stopped", "tool_call_id": "call_1"},
            ],
            3,
        ),
    ]


def test_tries_are_segments_too() -> None:
    chain = [node("Action", "find"), node("Action Input", "{}", observation="none")]
    record = {**answer(train_messages=[]), "trys": [{"chain": chain}, {"chain": None}]}
    assert [len(segment.messages) for segment in read(record).segments] == [3]


@pytest.mark.parametrize(
    "found", [{}, {"train_messages": "x", "tree": 1}, {"train_messages": [[]]}, {"train_messages": [[RESULT]]}]
)
def test_a_file_without_an_action_is_a_bad_trajectory(found: Any) -> None:
    with pytest.raises(BadTrajectory, match="no_messages"):
        read({"answer_generation": found})


def test_what_matches() -> None:
    assert matches(answer())
    assert not any(matches(r) for r in ({"answer_generation": []}, {"tree": {}}, [answer()], None))
