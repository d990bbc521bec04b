import json
from typing import Any

import pytest

from pivotmine.readers import openai_messages
from pivotmine.readers.openai_messages import matches, read
from pivotmine.readers.record_fields import tool_definitions
from pivotmine.readers.trajectory import BadTrajectory, Segment, Trajectory

MESSAGES = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
FUNCTION: dict[str, Any] = {"name": "f", "parameters": {"type": "object"}}
TOOL = {"type": "function", "function": FUNCTION}


def test_a_record_with_everything() -> None:
    record = {"messages": MESSAGES, "tools": [TOOL], "reward": 1, "task_id": 7, "domain": "air", "split": "train"}
    assert read(record) == Trajectory(
        segments=(Segment(messages=MESSAGES, tools=[TOOL]),),
        task_id="7",
        domain="air",
        outcome=1.0,
        metadata={"reward": 1, "task_id": 7, "split": "train"},
    )
    assert record["messages"] is MESSAGES  # what was given is left as it was


def test_a_bare_list_is_its_messages() -> None:
    assert read(MESSAGES) == Trajectory(segments=(Segment(messages=MESSAGES),))


@pytest.mark.parametrize("key", ["system", "system_prompt"])
def test_a_system_prompt_beside_the_messages_is_what_the_model_saw(key: str) -> None:
    told = {"role": "system", "content": "Be kind."}
    assert read({"messages": MESSAGES, key: "Be kind."}) == Trajectory(segments=(Segment(messages=[told, *MESSAGES]),))
    blocks = [{"type": "text", "text": "Be kind."}]
    assert read({"messages": MESSAGES, key: blocks}).segments[0].messages == [{**told, "content": blocks}, *MESSAGES]


@pytest.mark.parametrize("system", ["", None, 5, []])
def test_what_is_no_system_prompt_is_metadata(system: Any) -> None:
    assert read({"messages": MESSAGES, "system": system}) == Trajectory(
        segments=(Segment(messages=MESSAGES),), metadata={"system": system}
    )


@pytest.mark.parametrize("role", ["system", "developer"])
def test_a_system_prompt_among_the_messages_is_the_one(role: str) -> None:
    messages = [{"role": role, "content": "Be brief."}, *MESSAGES]
    assert read({"messages": messages, "system": "Be kind."}) == Trajectory(
        segments=(Segment(messages=messages),), metadata={"system": "Be kind."}
    )


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({}, None),
        ({"outcome": 0.5, "reward": 1}, 0.5),
        ({"outcome": None, "score": 3}, 3.0),
        ({"success": True}, 1.0),
        ({"resolved": False}, 0.0),
        ({"reward": "1.0"}, 1.0),
        ({"resolved": " False"}, 0.0),
        ({"is_correct": False, "passed": True}, 0.0),
        ({"solved": 1}, 1.0),
        ({"correct": "Paris", "target": "x", "status": "ok"}, None),  # these also name other things
    ],
)
def test_the_first_label_there_is_is_the_outcome(fields: dict[str, Any], outcome: float | None) -> None:
    assert read({"messages": MESSAGES, **fields}).outcome == outcome


@pytest.mark.parametrize("label", ["no", "", {"a": 1}, [1], 10**400, "nan", "inf"])
def test_a_label_that_cannot_be_read_is_never_taken_for_a_good_one(label: object) -> None:
    with pytest.raises(BadTrajectory, match="bad_outcome"):
        read({"messages": MESSAGES, "reward": label, "score": 1})


@pytest.mark.parametrize(
    ("fields", "task_id"),
    [
        ({}, None),
        ({"instance_id": "i", "problem_id": "p"}, "i"),
        ({"task_id": None, "problem_id": "p"}, "p"),
        ({"task_id": 0}, "0"),
    ],
)
def test_the_first_id_there_is_names_the_task(fields: dict[str, Any], task_id: str | None) -> None:
    assert read({"messages": MESSAGES, **fields}).task_id == task_id


@pytest.mark.parametrize("tools", [[TOOL], json.dumps([TOOL]), [FUNCTION], [{"type": "function", **FUNCTION}]])
def test_tools_in_every_form_are_openai_tools(tools: Any) -> None:
    assert tool_definitions(tools) == [TOOL]
    assert read({"messages": MESSAGES, "tools": tools}).segments[0].tools == [TOOL]
    assert read({"messages": MESSAGES, "functions": tools, "tools": None}).segments[0].tools == [TOOL]


@pytest.mark.parametrize("key", ["input_schema", "inputSchema"])
def test_a_schema_under_another_api_s_key_is_the_parameters(key: str) -> None:
    assert tool_definitions([{"name": "f", key: {"type": "object"}}]) == [TOOL]


@pytest.mark.parametrize("tools", [None, [], "", "  ", "[]", "null"])
def test_no_tools_are_none(tools: Any) -> None:
    assert tool_definitions(tools) is None


@pytest.mark.parametrize(
    ("tools", "detail"),
    [
        (
            "{oops",
            "the tools are no JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        ),
        ({"f": 1}, "tools are a list, not dict"),
        (5, "tools are a list, not int"),
        ([5], "a tool without a name"),
        ([{"function": {"parameters": {}}}], "a tool without a name"),
        ([{"name": ["f"]}], "a tool without a name"),
    ],
)
def test_tools_that_are_none_are_a_bad_trajectory(tools: Any, detail: str) -> None:
    with pytest.raises(BadTrajectory) as raised:
        tool_definitions(tools)
    assert (raised.value.reason, raised.value.detail) == ("bad_tools", detail)


@pytest.mark.parametrize("messages", [None, "[{", {"role": "user"}, 5])
def test_messages_that_are_no_list_are_a_bad_trajectory(messages: Any) -> None:
    record = {"messages": messages}
    assert matches(record)
    with pytest.raises(BadTrajectory) as raised:
        read(record)
    detail = f"`messages` is not a list but {type(messages).__name__}"
    if isinstance(messages, str):
        why = "Expecting property name enclosed in double quotes: line 1 column 3 (char 2)"
        detail = f"`messages` is text and no JSON: {why}"
    assert (raised.value.reason, raised.value.detail) == ("no_messages", detail)


def test_messages_may_be_json_text() -> None:
    assert read({"messages": json.dumps(MESSAGES), "reward": 1}) == read({"messages": MESSAGES, "reward": 1})


def test_functions_beside_tools_are_metadata() -> None:
    assert read({"messages": MESSAGES, "tools": [TOOL], "functions": [FUNCTION]}).metadata == {"functions": [FUNCTION]}
    assert read({"messages": MESSAGES, "functions": [FUNCTION], "tools": []}).metadata == {}


def test_what_matches() -> None:
    assert [openai_messages.READER.matches(r) for r in (MESSAGES, {"messages": []}, {"traj": []}, "x", None, 5)] == [
        *(True, True),
        *(False,) * 4,
    ]


def test_a_call_that_holds_name_and_arguments_itself_gets_a_function() -> None:
    flat = {"id": "c", "name": "find", "arguments": {"id": 7}}
    whole = {"type": "function", "function": {"name": "find", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [flat, whole, {"name": "x"}, 5]}
    (segment,) = read({"messages": [{"role": "user", "content": "a"}, message]}).segments
    made = {"type": "function", "id": "c", "function": {"name": "find", "arguments": {"id": 7}}}
    assert segment.messages[1:] == [{**message, "tool_calls": [made, whole, {"name": "x"}, 5]}]
    untouched = {**message, "tool_calls": [whole, None]}
    assert read([untouched]).segments[0].messages[0] is untouched
