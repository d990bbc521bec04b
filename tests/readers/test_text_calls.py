import json
from typing import Any

import pytest

from pivotmine.readers import text_calls
from pivotmine.readers.conventions import settle
from pivotmine.readers.text_calls import matches
from pivotmine.readers.trajectory import Trajectory

HERMES = '<tool_call>\n{"name": "find", "arguments": {"id": 7}}\n</tool_call>'
XML = "<tool_call>\n<function=find>\n<parameter=id>\n7\n</parameter>\n</function>\n</tool_call>"
TOOLS = '[{"type": "function", "function": {"name": "find", "parameters": {"properties": {"id": {"type": "%s"}}}}}]'


def read(record: Any) -> Trajectory:
    """As extract reads it with `--calls native`."""
    return settle(text_calls.read(record), calls="native")


def said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def read_messages(*messages: Any, **fields: Any) -> list[Any]:
    return read({"messages": list(messages), **fields}).segments[0].messages


def call(number: int, arguments: str) -> dict[str, Any]:
    return {"id": f"call_{number}", "type": "function", "function": {"name": "find", "arguments": arguments}}


def test_calls_and_results_in_the_text() -> None:
    text = f"<think>Hm.</think>\nI look.\n{HERMES}\n{HERMES}"
    responses = "<tool_response>\nopen\n</tool_response>\n<tool_response>\nshut\n</tool_response>"
    assert read_messages(said(text), {"role": "user", "content": responses}, said("Done.")) == [
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [call(0, '{"id":7}'), call(1, '{"id":7}')],
            "reasoning_content": "Hm.",
            "extra": {"text": text},
        },
        {"role": "tool", "content": "open", "tool_call_id": "call_0"},
        {"role": "tool", "content": "shut", "tool_call_id": "call_1"},
        said("Done."),
    ]


@pytest.mark.parametrize("form", ["%s", "list"])
@pytest.mark.parametrize(("kind", "value"), [("integer", "7"), ("string", '"7"')])
def test_xml_arguments_have_the_types_that_the_tools_declare(form: str, kind: str, value: str) -> None:
    """Tools may stand next to the messages or, as Hermes has them, in the system prompt, which stays as it is."""
    system = {"role": "system", "content": f"Tools:\n<tools>\n{TOOLS % kind}\n</tools>"}
    found = read_messages(said(XML), tools=TOOLS % kind) if form == "list" else read_messages(system, said(XML))
    assert found[-1]["tool_calls"] == [call(0, f'{{"id":{value}}}')]
    assert found[-1]["content"] is None
    assert form == "list" or found[0] == system


@pytest.mark.parametrize("text", ["<tool_call>{oops</tool_call>", f"{HERMES}<tool_call>", "<function=f>{}</function>"])
def test_a_text_with_a_call_that_cannot_be_read_stays_as_it_is(text: str) -> None:
    assert read_messages(said(text)) == [said(text)]


def test_what_holds_more_than_results_stays_as_it_is() -> None:
    mixed = {"role": "user", "content": "So: <tool_response>open</tool_response>"}
    assert read_messages(said(HERMES), mixed)[1] == mixed


def test_results_without_markup_answer_the_calls_too() -> None:
    found = read_messages(
        said(HERMES + HERMES),
        {"role": "tool", "content": "open", "name": "find"},
        {"role": "tool", "content": "<tool_response>shut</tool_response>"},
        {"role": "tool", "content": "more"},
        {"role": "tool", "content": "own", "tool_call_id": "x"},
    )
    assert found[1:] == [
        {"role": "tool", "content": "open", "name": "find", "tool_call_id": "call_0"},
        {"role": "tool", "content": "shut", "tool_call_id": "call_1"},
        {"role": "tool", "content": "more"},
        {"role": "tool", "content": "own", "tool_call_id": "x"},
    ]


def test_a_message_with_a_text_under_another_key_stays_as_it_is() -> None:
    assert read_messages({"role": "assistant", "value": HERMES}) == [{"role": "assistant", "value": HERMES}]


def test_sharegpt_entries_likewise() -> None:
    entries = [{"from": "gpt", "value": HERMES}, {"from": "tool", "value": "<tool_response>open</tool_response>"}]
    found = read({"conversations": entries}).segments[0].messages
    assert found[0]["tool_calls"] == [call(0, '{"id":7}')]
    assert found[1] == {"role": "tool", "content": "open", "tool_call_id": "call_0"}


@pytest.mark.parametrize("key", ["messages", "conversations"])
def test_messages_may_be_json_text(key: str) -> None:
    entry = said(HERMES) if key == "messages" else {"from": "gpt", "value": HERMES}
    record = {key: json.dumps([entry])}
    assert matches(record)
    assert read(record).segments[0].messages[0]["tool_calls"] == [call(0, '{"id":7}')]


def test_what_matches() -> None:
    assert matches({"messages": [said("[TOOL_CALLS]f{}")]})
    assert matches([said(HERMES)])
    structured = {**said(HERMES), "tool_calls": [call(0, "{}")]}
    user = {"role": "user", "content": HERMES}
    others: list[Any] = [{"messages": [structured, user, said("plain")]}, {"messages": HERMES}, [], None, {"x": 1}]
    assert not any(matches(record) for record in others)
