import json
from typing import Any

import pytest
from hostile import broken, check_broken
from hypothesis import given, settings

from pivotmine.messages import problem
from pivotmine.readers import detect
from pivotmine.readers.mini_swe_agent import READER
from pivotmine.readers.trajectory import Segment, Trajectory

# As mini-swe-agent 1 and 2 write them: https://mini-swe-agent.com/latest/usage/output_files/
SYSTEM: dict[str, Any] = {"role": "system", "content": "You solve tasks."}
TASK: dict[str, Any] = {"role": "user", "content": "Fix it."}
INFO: dict[str, Any] = {"exit_status": "Submitted", "submission": "diff", "mini_version": "2.0.0"}
EXIT: dict[str, Any] = {"role": "exit", "content": "diff", "extra": {"exit_status": "Submitted", "submission": "diff"}}
CALL: dict[str, Any] = {"id": "c1", "type": "function", "function": {"name": "bash", "arguments": '{"command": "ls"}'}}

VERSION_1: dict[str, Any] = {
    "info": {**INFO, "mini_version": "1.13.0"},
    "messages": [
        {**SYSTEM, "timestamp": 1.5},
        {**TASK, "timestamp": 1.5},
        {
            "role": "assistant",
            "content": "THOUGHT: look\n\n```bash\nls\n```",
            "timestamp": 2.0,
            "extra": {"response": {}},
        },
        {"role": "user", "content": "<returncode>0</returncode>", "timestamp": 2.5},
    ],
    "trajectory_format": "mini-swe-agent-1",
    "instance_id": "django__django-1",
}
VERSION_2: dict[str, Any] = {
    "info": INFO,
    "messages": [
        SYSTEM,
        TASK,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [CALL],
            "function_call": None,
            "reasoning_content": "Look.",
            "extra": {"actions": [{"command": "ls", "tool_call_id": "c1"}], "response": {}},
        },
        {"role": "tool", "tool_call_id": "c1", "content": "a.py", "extra": {"returncode": 0}},
        EXIT,
    ],
    "trajectory_format": "mini-swe-agent-1.1",
}
RESPONSES: dict[str, Any] = {
    "info": INFO,
    "messages": [
        SYSTEM,
        TASK,
        {
            "object": "response",
            "id": "r",
            "output": [
                {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "Look."}]},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
                {"type": "function_call", "call_id": "c1", "name": "bash", "arguments": '{"command": "ls"}'},
                {"type": "function_call", "call_id": "c2", "name": "bash", "arguments": "{}"},
            ],
            "extra": {"cost": 0.1},
        },
        {"type": "function_call_output", "call_id": "c1", "output": "a.py", "extra": {}},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "b.py"}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Say more."}]},
    ],
    "trajectory_format": "mini-swe-agent-1.1",
}


def read(record: Any) -> Trajectory:
    assert detect(record) == "mini_swe_agent"
    return READER.read(record)


def test_version_1_acts_in_its_content() -> None:
    expected = [{k: m[k] for k in ("role", "content")} for m in VERSION_1["messages"]]
    left = {k: VERSION_1[k] for k in ("info", "trajectory_format")}
    assert read(VERSION_1) == Trajectory(
        segments=(Segment(messages=expected, action_format="fenced_command"),),
        task_id="django__django-1",
        metadata=left,
    )


def test_version_2_calls_tools() -> None:
    found = read(VERSION_2)
    reply = {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_content": "Look."}
    result = {"role": "tool", "tool_call_id": "c1", "content": "a.py"}
    assert found.segments == (Segment(messages=[SYSTEM, TASK, reply, result], action_format="native"),)
    assert found.metadata["exit"] == [EXIT]


def test_a_response_is_one_message() -> None:
    _, _, reply, first, second, more = read(RESPONSES).segments[0].messages
    other = {**CALL, "id": "c2", "function": {"name": "bash", "arguments": "{}"}}
    assert reply == {
        "role": "assistant",
        "content": "I look.",
        "reasoning_content": "Look.",
        "tool_calls": [CALL, other],
    }
    assert first == {"role": "tool", "tool_call_id": "c1", "content": "a.py"}
    assert second == {"role": "tool", "tool_call_id": "c2", "content": "b.py"}
    assert more == {**RESPONSES["messages"][5]}
    assert not any(problem(m) for m in (reply, first, second, more))


@pytest.mark.parametrize("output", [None, "x", [5], [{"type": "web_search_call"}], {}])
def test_a_response_that_cannot_be_read_ends_what_can_be_used(output: Any) -> None:
    messages = [SYSTEM, TASK, {"object": "response", "output": output}]
    found = read({**VERSION_2, "messages": messages}).segments[0].messages
    assert found[2]["role"] == "assistant"
    assert [problem(m) and problem(m)[0] for m in found] == [None, None, "bad_message"]  # pyright: ignore[reportOptionalSubscript]


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({}, None),
        ({"info": {**INFO, "exit_status": "LimitsExceeded"}}, 0.0),
        ({"info": {**INFO, "exit_status": ""}}, None),
        ({"info": {**INFO, "exit_status": "LimitsExceeded", "resolved": True}}, 1.0),
        ({"resolved": False}, 0.0),
        ({"reward": 0.5}, 0.5),
        ({"report": {"resolved": True}}, 1.0),
    ],
)
def test_the_outcome_is_the_report_or_that_nothing_was_submitted(fields: dict[str, Any], outcome: float | None) -> None:
    assert read({**VERSION_2, **fields}).outcome == outcome


def test_what_matches() -> None:
    assert READER.matches({"messages": [], "info": {"mini_version": "1"}})
    others = ({"messages": []}, {"trajectory_format": "mini-swe-agent-1"}, {"messages": [], "info": 5}, [], None)
    assert not any(READER.matches(record) for record in others)


@settings(max_examples=60)
@given(broken([VERSION_1, VERSION_2, RESPONSES]))
def test_a_broken_record_never_raises(records: list[Any]) -> None:
    json.dumps(records)
    check_broken(records)
    check_broken(records, "mini_swe_agent")
