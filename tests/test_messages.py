import json
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pivotmine import strict_json
from pivotmine.messages import (
    StateHash,
    argument_value,
    call_failed,
    message_id,
    problem,
    seen,
    text_of,
    tools_id,
)

PROPERTY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
inner = words.map(lambda text: f"<{text}>")  # no outer white space of its own
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | words,
    lambda v: st.lists(v, max_size=3) | st.dictionaries(words, v, max_size=3),
    max_leaves=5,
)


def state_id(messages: list[dict[str, Any]], tools: str | None = None) -> str:
    state = StateHash(tools)
    for message in messages:
        state.add(message)
    return state.state_id()


def call(name: str, arguments: Any, call_id: str | None) -> dict[str, Any]:
    given_id = {} if call_id is None else {"id": call_id}
    return {**given_id, "type": "function", "function": {"name": name, "arguments": arguments}}


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """User text, then rounds of parallel calls whose results come in any order; ids are unique."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": draw(inner)}]
    number = 0
    for _ in range(draw(st.integers(1, 3))):
        calls = [
            call(draw(inner), json.dumps(draw(st.dictionaries(words, json_values, max_size=2))), f"id{number + i}")
            for i in range(draw(st.integers(1, 3)))
        ]
        number += len(calls)
        messages.append({"role": "assistant", "content": draw(st.none() | inner), "tool_calls": calls})
        messages += [
            {"role": "tool", "tool_call_id": c["id"], "content": draw(inner)} for c in draw(st.permutations(calls))
        ]
    return messages


def with_ids(messages: list[dict[str, Any]], names: dict[str, str]) -> list[dict[str, Any]]:
    renamed = deepcopy(messages)
    for message in renamed:
        for one in message.get("tool_calls", ()):
            one["id"] = names[one["id"]]
        if "tool_call_id" in message:
            message["tool_call_id"] = names[message["tool_call_id"]]
    return renamed


@PROPERTY
@given(conversations(), st.data())
def test_call_ids_do_not_count(messages: list[dict[str, Any]], data: st.DataObject) -> None:
    ids = [c["id"] for m in messages for c in m.get("tool_calls", ())]
    names = data.draw(st.lists(words, unique=True, min_size=len(ids), max_size=len(ids)))
    assert state_id(with_ids(messages, dict(zip(ids, names, strict=True)))) == state_id(messages)


@PROPERTY
@given(conversations())
def test_a_source_may_count_its_call_ids_from_zero_in_every_turn(messages: list[dict[str, Any]]) -> None:
    reused: dict[str, str] = {}
    for message in messages:
        reused |= {c["id"]: f"call_{i}" for i, c in enumerate(message.get("tool_calls", ()))}
    assert state_id(with_ids(messages, reused)) == state_id(messages)


def test_which_call_a_result_answers_counts() -> None:
    calls = [call("f", "{}", "a"), call("f", "{}", "b")]
    results = [{"role": "tool", "tool_call_id": i, "content": "x"} for i in ("a", "b")]
    turn: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": calls}
    assert state_id([turn, *results]) != state_id([turn, *reversed(results)])


@pytest.mark.parametrize(
    "more", [{}, {"name": "f"}, {"zone": {"tool_call_id": 0}}, {"a": [0], "zone": 1e-7}, {"name": 0, "id": "dropped"}]
)
def test_what_is_seen_of_a_result_is_its_json_around_the_place_of_its_call(more: dict[str, Any]) -> None:
    result = {"role": "tool", "tool_call_id": "c", "content": " x\n", **more}
    found = seen(result)
    shown = {**result, "content": "x", "tool_call_id": 7}
    shown = {key: value for key, value in shown.items() if key in ("role", "content", "name", "tool_call_id")}
    assert found.shown + b"7" + found.rest == strict_json.canonical_bytes(shown)
    assert (found.calls, found.answers) == ((), "c")


def test_the_id_of_a_result_whose_call_is_not_there_does_not_count() -> None:
    states = [
        [{"role": "tool", "tool_call_id": i, "content": "x"}, {"role": "tool", "tool_call_id": j, "content": "y"}]
        for i, j in (("a", "b"), ("q", "r"), ("a", "a"))
    ]
    assert state_id(states[0]) == state_id(states[1]) != state_id(states[2])


@PROPERTY
@given(conversations(), st.sampled_from(["", " ", "\n\t", "\u00a0 "]), st.sampled_from(["", "  ", "\r\n"]))
def test_outer_white_space_does_not_count(messages: list[dict[str, Any]], before: str, after: str) -> None:
    padded = [{**m, "content": before + (m["content"] or "") + after} for m in messages]
    assert state_id(padded) == state_id(messages)


@pytest.mark.parametrize(
    ("message", "same"),
    [
        (
            {"role": "user", "content": "a b"},
            {"role": "user", "content": [{"type": "text", "text": "a "}, {"type": "input_text", "text": "b"}]},
        ),
        (
            {"role": "assistant", "content": None},
            {"role": "assistant", "content": " ", "tool_calls": [], "refusal": None},
        ),
        (
            {"role": "assistant", "content": "x"},
            {"content": "x", "role": "assistant", "weight": 0, "is_demo": True, "id": "m1", "timestamp": 3},
        ),
        (
            {"role": "assistant", "content": "x"},
            {
                "role": "assistant",
                "content": "x",
                "agent": "main",
                "thought": "x",
                "action": "",
                "message_type": "action",
            },
        ),
        (
            {"role": "assistant", "content": "x", "reasoning": "r"},
            {"role": "assistant", "content": "x", "reasoning": " r\n"},
        ),
        ({"role": "assistant", "content": "x"}, {"role": "assistant", "content": "x", "reasoning_content": " "}),
        (
            {"role": "assistant", "tool_calls": [call("f", '{"a": 1, "b": 2}', "x")]},
            {"role": "assistant", "tool_calls": [call("f", {"b": 2, "a": 1}, None)]},
        ),
        (
            {"role": "assistant", "function_call": {"name": "f", "arguments": '{ "a":1 }'}},
            {"role": "assistant", "function_call": {"arguments": {"a": 1}, "name": "f"}},
        ),
    ],
)
def test_ways_of_writing_one_message_are_one_state(message: dict[str, Any], same: dict[str, Any]) -> None:
    assert state_id([message]) == state_id([same])


BASE: dict[str, Any] = {
    "role": "assistant",
    "content": "a  b",
    "reasoning_content": "r",
    "tool_calls": [call("f", '{"a": "x"}', "1")],
}


@pytest.mark.parametrize(
    "other",
    [
        {**BASE, "role": "user"},
        {**BASE, "content": "a b"},
        {**BASE, "content": "A  b"},
        {**BASE, "reasoning_content": "s"},
        {**BASE, "name": "someone"},
        {**BASE, "tool_calls": [call("g", '{"a": "x"}', "1")]},
        {**BASE, "tool_calls": [call("f", '{"a": "x "}', "1")]},
        {**BASE, "tool_calls": [call("f", '{"a": null}', "1")]},
        {**BASE, "tool_calls": [call("f", '{"a": "x"', "1")]},
        {**BASE, "tool_calls": [*BASE["tool_calls"], *BASE["tool_calls"]]},
        {key: value for key, value in BASE.items() if key != "tool_calls"},
        {**BASE, "function_call": {"name": "f", "arguments": "{}"}},
    ],
)
def test_everything_else_counts(other: dict[str, Any]) -> None:
    assert state_id([other]) != state_id([BASE])


def test_tools_and_borders_between_messages_count() -> None:
    user: dict[str, Any] = {"role": "user", "content": "x"}
    ids = [
        state_id([]),
        state_id([], "t"),
        state_id([user]),
        state_id([user], "t"),
        state_id([user, user]),
        state_id([{**user, "content": "xx"}]),
    ]
    assert len(set(ids)) == len(ids)


@PROPERTY
@given(conversations(), st.data())
def test_a_changed_content_changes_this_state_and_all_later_ones(
    messages: list[dict[str, Any]], data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(messages) - 1))
    changed = deepcopy(messages)
    changed[place]["content"] = (changed[place]["content"] or "") + "."
    for end in range(len(messages) + 1):
        assert (state_id(changed[:end]) == state_id(messages[:end])) == (end <= place)


def test_a_message_id_hashes_all_of_the_message_but_the_key_order() -> None:
    message: dict[str, Any] = {"role": "user", "content": "x", "weight": 1}
    assert message_id(message) == message_id(dict(reversed(message.items())))
    assert len({message_id({**message, **more}) for more in ({}, {"content": "x "}, {"weight": 0}, {"id": "1"})}) == 4
    assert tools_id([{"a": 1, "b": 2}]) == tools_id([{"b": 2, "a": 1}]) != tools_id([{"a": 1}])


@pytest.mark.parametrize(
    "message",
    [
        {"role": "system", "content": "x"},
        {"role": "developer", "content": ""},
        {"role": "user", "content": [{"type": "text", "text": "x"}]},
        {"role": "assistant", "content": None},
        {"role": "assistant"},
        {"role": "assistant", "tool_calls": None},
        {"role": "assistant", "tool_calls": [call("f", "not JSON", None)]},
        {"role": "tool", "content": [], "tool_call_id": 5},
        {"role": "function", "content": "x", "name": "f"},
    ],
)
def test_what_a_state_can_hold(message: dict[str, Any]) -> None:
    assert problem(message) is None


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("hi", ("bad_message", "a message is a JSON object, not str")),
        (None, ("bad_message", "a message is a JSON object, not NoneType")),
        ({"content": "x"}, ("unknown_role", "None")),
        ({"role": "wizard"}, ("unknown_role", "'wizard'")),
        ({"role": ["user"]}, ("unknown_role", "['user']")),
        ({"role": "\x1b[2J"}, ("unknown_role", "'\\x1b[2J'")),
        ({"role": "user", "content": 5}, ("bad_message", "content is text, null or a list of blocks, not int")),
        ({"role": "user", "content": ["x"]}, ("bad_message", "unknown content block 'str'")),
        ({"role": "user", "content": [{"type": {"a": []}}]}, ("bad_message", "unknown content block \"{'a': []}\"")),
        ({"role": "user", "content": [{"type": "text"}]}, ("bad_message", "a content block 'text' without text")),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, ("image", "a content block")),
        ({"role": "user", "content": [{"type": "text", "text": ""}, {"type": "image"}]}, ("image", "a content block")),
        ({"role": "user", "content": [{"type": "input_audio"}]}, ("audio", "a content block")),
        ({"role": "assistant", "tool_calls": {}}, ("bad_message", "tool_calls is a list, not dict")),
        ({"role": "assistant", "tool_calls": [5]}, ("bad_message", "a tool call without a function name")),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": 5}}]},
            ("bad_message", "a tool call without a function name"),
        ),
    ],
)
def test_why_a_state_cannot_hold_a_message(message: Any, expected: tuple[str, str]) -> None:
    assert problem(message) == expected


@PROPERTY
@given(
    json_values
    | st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant"])},
        optional=dict.fromkeys(("content", "tool_calls", "function_call", "reasoning", "tool_call_id"), json_values),
    )
)
def test_whatever_a_message_is_it_has_a_problem_or_a_place_in_a_state(message: Any) -> None:
    if problem(message) is None:
        assert len(state_id([message])) == len(message_id(message)) == 32


@pytest.mark.parametrize(
    ("content", "failed"),
    [
        ("Error: no such user", True),
        (" error\n", True),
        ("ERROR - x", True),
        ("errors: none", False),
        ("error_count: 0", False),
        ("no error", False),
        ("error-free build, 0 failures", False),
        ("Error rate: 0.2%", False),
        ("ERROR", True),
        ("[ERROR] x", True),
        ("TypeError: x", True),
        ("Exception: boom", True),
        ('{"status": "failed"}', True),
        ('{"success": false}', True),
        ('{"success": true}', False),
        ('{"isError": true}', True),
        ('{"errors": ["bad"]}', True),
        ('{"errors": []}', False),
        ("Traceback (most recent call last):\n  File", True),
        ('{"error": "no such user"}', True),
        ('{"error": null, "rows": []}', False),
        ('{"is_error": true}', True),
        ('{"status": "error"}', True),
        ('{"status": "ok"}', False),
        ('{"error": "broken', False),
        ('[{"error": 1}]', False),
        ([{"type": "text", "text": "Error: x"}], True),
        (None, False),
    ],
)
def test_a_result_that_reports_a_failure_failed(content: Any, *, failed: bool) -> None:
    assert call_failed([{"role": "tool", "content": "fine"}, {"role": "tool", "content": content}]) is failed
    assert call_failed([{"role": "function", "content": content}]) is failed
    assert call_failed([{"role": "user", "content": content}]) is False


def test_a_result_may_say_beside_its_text_that_it_failed() -> None:
    assert call_failed([{"role": "tool", "content": "x", "is_error": True}]) is True
    assert call_failed([{"role": "tool", "content": "x", "status": "error"}]) is True
    assert call_failed([{"role": "tool", "content": "x", "is_error": False, "status": "success"}]) is False


def test_text_and_arguments_are_one_thing_however_they_are_written() -> None:
    assert text_of(None) == text_of([]) == ""
    assert text_of([{"text": "a"}, {"text": "b"}]) == "ab"
    assert [argument_value(x) for x in ('{"a": 1}', {"a": 1}, "{a")] == [{"a": 1}, {"a": 1}, "{a"]
    assert [argument_value(x) for x in (None, "", " ", "null")] == [{}] * 4


results = st.fixed_dictionaries(
    {"role": st.just("tool"), "content": words, "tool_call_id": words}, optional={"name": words}
)


@PROPERTY
@given(results)
def test_what_is_seen_of_a_result_is_the_same_with_its_canonical_json(message: dict[str, str]) -> None:
    assert seen(message, strict_json.canonical_bytes(message)) == seen(message)
