"""The chat template, and the tokens and masks made with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pivotmine.actions import ToolCall, detect_parser, parse_action
from pivotmine_desk.agent import TEACHER
from pivotmine_desk.conversation import encode, encode_turns, load_tokenizer, render
from pivotmine_desk.tasks import numbered_task, play, tool_definitions

POLICY = Path(__file__).parents[2] / "data" / "desk" / "policy"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(POLICY)


def call_message(arguments: Any) -> dict[str, Any]:
    function = {"name": "get_order", "arguments": arguments}
    return {"role": "assistant", "content": "", "tool_calls": [{"id": "a", "function": function}]}


def test_template_renders_tools_calls_and_answers(tokenizer: Any) -> None:
    parameters = {
        "type": "object",
        "properties": {
            "order": {"type": "string"},
            "quantity": {"type": "integer", "default": 1},
            "refund": {"type": "string", "enum": ["card", "voucher"], "default": "card"},
            "why": {"type": "string"},
        },
        "required": ["order"],
    }
    tools = [{"type": "function", "function": {"name": "get_order", "parameters": parameters}}]
    messages = [
        {"role": "system", "content": "a desk"},
        {"role": "user", "content": "Look."},
        call_message({"order": "K1", "quantity": 2}),
        {"role": "tool", "tool_call_id": "a", "content": '{"ok":1}'},
        {"role": "tool", "tool_call_id": "b", "content": "[]"},
        {"role": "assistant", "content": "Done."},
    ]
    assert render(tokenizer, messages, tools) == (
        "<|im_start|>system\na desk<tools>get_order(order,quantity:integer=1,refund:card|voucher=card,why?)"
        "</tools><|im_end|><|im_start|>user\nLook.<|im_end|><|im_start|>assistant\n"
        '<tool_call>{"name":"get_order","arguments":{"order":"K1","quantity":2}}</tool_call><|im_end|>'
        '<|im_start|>user\n<tool_response>{"ok":1}</tool_response><tool_response>[]</tool_response><|im_end|>'
        "<|im_start|>assistant\nDone.<|im_end|>"
    )


def test_arguments_render_alike_as_object_and_as_json(tokenizer: Any) -> None:
    arguments = {"order": "K1", "refund": "card", "deep": {"a": [1, None, True]}}
    as_object, as_text = (
        render(tokenizer, [{"role": "user", "content": "x"}, call_message(value)], [])
        for value in (arguments, json.dumps(arguments, separators=(",", ":")))
    )
    assert as_object == as_text


def test_template_without_tools_or_system_message(tokenizer: Any) -> None:
    asked = [{"role": "user", "content": "Hi"}]
    assert render(tokenizer, asked, [], prompt=True) == ("<|im_start|>user\nHi<|im_end|><|im_start|>assistant\n")


def test_template_teaches_hermes(tokenizer: Any) -> None:
    assert detect_parser(tokenizer.chat_template) == "hermes"


def test_each_prompt_is_the_beginning_of_the_conversation_and_each_turn_is_read_back(tokenizer: Any) -> None:
    for number in range(40):
        episode = play(numbered_task("test", number), TEACHER, 0)
        tools, messages = tool_definitions(episode.task.domain), episode.messages
        ids, mask = encode_turns(tokenizer, messages, tools)
        written = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
        turns: list[list[int]] = []
        for position, (token, mine) in enumerate(zip(ids, mask, strict=True)):
            if mine:
                turns += [[]] if not mask[position - 1] else []
                turns[-1].append(token)
        for index, turn in zip(written, turns, strict=True):
            prompt = encode(tokenizer, render(tokenizer, messages[:index], tools, prompt=True))
            assert ids[: len(prompt) + len(turn)] == prompt + turn
            action = parse_action(tokenizer.decode(turn), parser="hermes")
            made = [call["function"] for call in messages[index].get("tool_calls", ())]
            assert action.tool_calls == tuple(
                ToolCall(name=call["name"], arguments=json.loads(call["arguments"])) for call in made
            )
            assert action.message == messages[index]["content"]


def test_names_are_the_same_tokens_in_words_and_in_json(tokenizer: Any) -> None:
    name = encode(tokenizer, "Omar Talvinzan")
    for text in ('{"name":"Omar Talvinzan"}', "Book it for Omar Talvinzan."):
        ids = encode(tokenizer, text)
        assert any(ids[i : i + len(name)] == name for i in range(len(ids)))


@pytest.mark.parametrize("text", ["§ ü 漢字 🙂", "a\tb\n\n  c", '{"a": "\\u00e9"}', "<|im_end|", "A000"])
def test_any_text_survives_the_tokenizer(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(encode(tokenizer, text)) == text
