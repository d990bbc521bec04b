from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pivotmine import messages
from pivotmine.readers.logs.response_items import to_items, to_messages


def reasoning(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "reasoning", "summary": [{"type": "summary_text", "text": text}], **more}


def said(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": content, **more}


def called(call_id: str, **more: Any) -> dict[str, Any]:
    return {"type": "function_call", "name": "find", "arguments": '{"id": 1}', "call_id": call_id, **more}


def answered(call_id: str, output: Any = "ok", **more: Any) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": output, **more}


def call(call_id: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": "find", "arguments": '{"id": 1}'}}


ITEMS = [
    said("system", "be kind"),
    {"role": "user", "content": [{"type": "input_text", "text": "go"}]},
    reasoning("hm", id="rs_1", encrypted_content=None),
    said("assistant", [{"type": "output_text", "text": "I look.", "annotations": []}], id="msg_1", status="completed"),
    called("a", id="fc_1", status="completed"),
    called("b"),
    answered("b"),
    answered("a", id="fco_1", status="completed"),
    said("assistant", "done"),
    said("user", "thanks"),
]


def test_a_run_of_the_models_items_is_one_turn() -> None:
    read = to_messages(ITEMS)
    assert read == [
        said("system", "be kind"),
        {"role": "user", "content": [{"type": "input_text", "text": "go"}]},
        {
            "role": "assistant",
            "content": "I look.",
            "reasoning_content": "hm",
            "tool_calls": [call("a"), call("b")],
            "extra": {"items": ITEMS[2:6]},
        },
        {"role": "tool", "tool_call_id": "b", "content": "ok"},
        {
            "role": "tool",
            "tool_call_id": "a",
            "content": "ok",
            "extra": {"item": {"id": "fco_1", "status": "completed"}},
        },
        {"role": "assistant", "content": "done", "extra": {"items": [said("assistant", "done")]}},
        said("user", "thanks"),
    ]
    assert {messages.problem(m) for m in read} == {None}


texts = st.text(max_size=4)
items = st.lists(
    st.one_of(
        st.builds(reasoning, texts, id=texts),
        st.builds(said, st.sampled_from(["system", "developer", "user", "assistant"]), texts),
        st.builds(lambda t: said("assistant", [{"type": "output_text", "text": t}], id="m"), texts),
        st.builds(called, texts),
        st.builds(called, texts, id=texts, status=texts),
        st.builds(answered, texts, texts),
        st.builds(answered, texts, texts, id=texts),
    ),
    max_size=8,
)


@settings(deadline=None, max_examples=60)
@given(items)
def test_items_to_messages_and_back_is_the_identity(given_items: list[Any]) -> None:
    read = to_messages(given_items)
    assert {messages.problem(m) for m in read} <= {None}
    assert to_items(read) == given_items


def test_messages_of_other_formats_become_items() -> None:
    legacy = {"role": "assistant", "content": "", "function_call": {"name": "find", "arguments": {"id": 1}}}
    read = [
        {"role": "developer", "content": None},
        {"role": "assistant", "content": "I look.", "reasoning_content": "hm", "tool_calls": [call("a")]},
        {"role": "tool", "tool_call_id": "a", "content": "ok", "extra": {"mood": 1}},
        legacy,
        {"role": "function", "name": "find", "content": "ok"},
        {"role": "user", "content": [{"type": "text", "text": "go "}, {"type": "text", "text": "on"}]},
        {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "ok"}]},
    ]
    assert to_items(read) == [
        {"role": "developer", "content": ""},
        reasoning("hm"),
        {"type": "message", "role": "assistant", "content": "I look."},
        called("a"),
        answered("a"),
        {**called("find"), "arguments": '{"id":1}'},
        answered("find"),
        # The Responses API has no blocks of type `text`.
        {"role": "user", "content": "go on"},
        answered("b"),
    ]


def test_text_is_one_message_of_the_user() -> None:
    assert to_messages("hello") == [{"role": "user", "content": "hello"}]


@pytest.mark.parametrize("item", [{"type": "computer_call"}, "text", None, {"type": "item_reference", "id": "x"}, 3])
def test_an_item_that_is_no_message_ends_the_state(item: Any) -> None:
    read = to_messages([said("user", "x"), item, said("assistant", "y")])
    assert [messages.problem(m) is None for m in read] == [True, False, True]


def test_reasoning_that_cannot_be_read_is_kept_and_says_nothing() -> None:
    sealed = {"type": "reasoning", "summary": [], "encrypted_content": "xyz"}
    (turn,) = to_messages([sealed, said("assistant", "y")])
    assert "reasoning_content" not in turn
    assert turn["extra"]["items"][0] == sealed
    (turn,) = to_messages([{**reasoning("short"), "content": [{"type": "reasoning_text", "text": "long"}]}])
    assert turn["reasoning_content"] == "long"


def test_a_block_that_is_no_text_is_named() -> None:
    (turn,) = to_messages([said("assistant", [{"type": "output_text", "text": "x"}, {"type": "refusal"}])])
    assert messages.problem(turn) == ("bad_message", "unknown content block 'refusal'")
    (turn,) = to_messages([{"type": "function_call", "name": None}])
    assert messages.problem(turn) == ("bad_message", "a tool call without a function name")
