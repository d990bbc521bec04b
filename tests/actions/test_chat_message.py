from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pivotmine.actions import (
    Action,
    ToolCall,
    Unparsed,
    action_from_json,
    action_from_message,
    action_to_json,
)

A = ToolCall(name="a", arguments={"x": 1})


def call(**function: Any) -> dict[str, Any]:
    return {"id": "c1", "type": "function", "index": 0, "function": function}


@pytest.mark.parametrize(
    ("message", "action"),
    [
        ({"role": "assistant", "content": " yes "}, Action(message="yes")),
        ({"content": None}, Action()),
        ({}, Action()),
        ({"content": "<think>hm</think>yes"}, Action(reasoning="hm", message="yes")),
        (
            {"content": "yes", "reasoning_content": "hm", "reasoning": "hm"},
            Action(reasoning="hm", message="yes"),
        ),
        ({"content": None, "reasoning": "hm"}, Action(reasoning="hm")),
        ({"content": "<think>b</think>yes", "reasoning": "a"}, Action(reasoning="a\nb", message="yes")),
        ({"content": None, "refusal": "I cannot."}, Action(message="I cannot.")),
        (
            {
                "content": [
                    {"type": "text", "text": "a"},
                    {"type": "text", "text": "b"},
                    {"type": "thinking", "thinking": "c"},
                ]
            },
            Action(message="a\nb", reasoning="c"),
        ),
        ({"content": "", "tool_calls": [call(name="a", arguments='{"x": 1}')]}, Action(tool_calls=(A,))),
        (
            {"content": "so", "tool_calls": [call(name="a", arguments={"x": 1})]},
            Action(message="so", tool_calls=(A,)),
        ),
        ({"tool_calls": [call(name="a", arguments='{"x": 1}', strict=None)] * 2}, Action(tool_calls=(A, A))),
        ({"tool_calls": [{"function": {"name": "a", "arguments": '{"x": 1}'}}]}, Action(tool_calls=(A,))),
        (
            {"tool_calls": None, "function_call": {"name": "a", "arguments": '{"x": 1}'}},
            Action(tool_calls=(A,)),
        ),
    ],
)
def test_what_a_message_says(message: dict[str, Any], action: Action) -> None:
    assert action_from_message(message) == action


@pytest.mark.parametrize(
    "mark",
    [
        *("<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "<｜DSML｜function_calls>"),
        *("<|tool_calls_section_begin|>", "<|tool_call_begin|>", "<minimax:tool_call>", "<|call|>", "<|python_tag|>"),
    ],
)
def test_a_call_in_a_convention_that_is_not_read_is_no_message(mark: str) -> None:
    text = f"I look. {mark}functions.find:0"
    reason = f"call markup left in the content: {mark}"
    assert action_from_message({"content": text}) == Action(unparsed=(Unparsed(text=text, reason=reason),))


@pytest.mark.parametrize(
    ("message", "text", "reason"),
    [
        ({"content": 3}, "3", "the content is neither text nor a list of blocks"),
        (
            {"content": [{"type": "image_url", "image_url": "x"}]},
            '{"type":"image_url","image_url":"x"}',
            "a content block of type image_url",
        ),
        ({"content": [3]}, "3", "a content block of type None"),
        ({"content": "ok <tool_call>{"}, "ok <tool_call>{", "call markup left in the content: <tool_call>"),
        ({"content": "[TOOL_CALLS]a{}"}, "[TOOL_CALLS]a{}", "call markup left in the content: [TOOL_CALLS]"),
        ({"content": "<function=a>"}, "<function=a>", "call markup left in the content: <function="),
        (
            {"content": '{"name": "a", "parameters": '},
            '{"name": "a", "parameters": ',
            'call markup left in the content: {"name": "a", "parameters"',
        ),
        ({"tool_calls": {}}, "{}", "tool_calls is not a list"),
        ({"tool_calls": ["a"]}, "a", "the call is not an object"),
        ({"tool_calls": [{"type": "custom"}]}, '{"type":"custom"}', "a call of type custom"),
        ({"tool_calls": [{"name": "a"}]}, '{"name":"a"}', "no function"),
        ({"tool_calls": [{"function": []}]}, '{"function":[]}', "the function is not an object"),
        (
            {"tool_calls": [{"function": {"name": "a", "arguments": "x"}}]},
            '{"function":{"name":"a","arguments":"x"}}',
            "the arguments are not JSON: Expecting value: line 1 column 1 (char 0)",
        ),
        (
            {"tool_calls": [{"function": {"name": "a", "arguments": "[]"}}]},
            '{"function":{"name":"a","arguments":"[]"}}',
            "the arguments are not an object",
        ),
        (
            {"tool_calls": [{"function": {"name": "a", "arguments": {"x": float("nan")}}}]},
            '{"function":{"name":"a","arguments":{"x":NaN}}}',
            "the arguments are not JSON: NaN is not JSON",
        ),
        (
            {"tool_calls": [{"function": {"name": "a", "arguments": {"x": "\ud800"}}}]},
            '{"function":{"name":"a","arguments":{"x":"\ud800"}}}',
            "the arguments are not JSON: a string holds a lone surrogate",
        ),
        (
            {"tool_calls": [{"function": {"name": "a", "arguments": "{}", "x": 1}}]},
            '{"function":{"name":"a","arguments":"{}","x":1}}',
            "surplus key 'x'",
        ),
        ({"function_call": "a"}, "a", "the function is not an object"),
        ({"function_call": {"name": ""}}, '{"name":""}', "the name is empty"),
    ],
)
def test_what_cannot_be_read_is_kept_with_the_reason(message: dict[str, Any], text: str, reason: str) -> None:
    assert action_from_message(message) == Action(unparsed=(Unparsed(text=text, reason=reason),))


def test_truncation_is_kept() -> None:
    assert action_from_message({"content": "a"}, truncated=True) == Action(message="a", truncated=True)


words = st.sampled_from(["", "a", "{}", '{"x": 1}', "<think>", "</think>", "<tool_call>", "type", "text", "\u00e9"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
functions = st.fixed_dictionaries({"name": json_values, "arguments": json_values})
fields = st.sampled_from(["content", "reasoning", "refusal", "tool_calls", "function_call"])
fillings = json_values | functions | st.lists(st.fixed_dictionaries({"function": functions}), max_size=3)


@given(st.dictionaries(fields, fillings))
def test_any_message_becomes_an_action_that_can_be_stored(message: dict[str, Any]) -> None:
    action = action_from_message(message)
    assert action_from_json(action_to_json(action)) == action


plain_texts = st.sampled_from([None, "", " so \n", "1 < 2", "[x]", "<think>hm</think>yes", "<tool_call>{}"]) | st.text(
    max_size=4
)
plain_calls = st.builds(
    call,
    name=st.sampled_from(["a", " ", 5]),
    arguments=st.sampled_from(['{"x": 1}', "{", "[]", '{"x": 1, "x": 1}'])
    | st.dictionaries(st.text(max_size=2), st.integers()),
)


@given(plain_texts, st.none() | st.lists(plain_calls | st.just({"function": None}), max_size=2), st.booleans())
def test_the_short_way_for_plain_messages_leads_to_the_same_action(content: Any, calls: Any, truncated: bool) -> None:  # noqa: FBT001
    message = {"role": "assistant", "content": content, "tool_calls": calls}
    by_pieces = {**message, "refusal": None}  # a key more, and it is taken to pieces
    assert action_from_message(message, truncated=truncated) == action_from_message(by_pieces, truncated=truncated)
