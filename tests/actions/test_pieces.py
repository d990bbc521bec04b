"""Properties of every convention on any text."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pivotmine.actions import PARSERS, Action, parse_action
from pivotmine.actions.parsing import split_text
from pivotmine.actions.reasoning import END_TOKENS
from pivotmine.errors import UserError

MARKUP = [
    *(
        "<tool_call>",
        "</tool_call>",
        "<function=",
        "<function=f>",
        "</function>",
        "<parameter=a>",
        "</parameter>",
    ),
    *("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "<|python_tag|>", "<think>", "</think>", "[THINK]", "[/THINK]"),
    *(
        '{"name": "f", "arguments": {}}',
        '{"name": "f", "parameters": {"a": 1}}',
        '{"name":',
        '"',
        "\\",
        ";",
        "f",
    ),
    *("{", "}", "[", "]", "\n", " ", "3", "\u00a0", "null", *END_TOKENS),
]
texts = st.lists(st.sampled_from(MARKUP) | st.text(max_size=5), max_size=20).map("".join)
parsers = st.sampled_from(sorted(PARSERS))
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"type": "object"}}}}}]
TAGS = {"<think>", "</think>", "[THINK]", "[/THINK]"}


@settings(max_examples=1000)
@given(texts, parsers, st.booleans(), st.sampled_from([(), TOOLS]))
@example("<tool_call>{} \u00a0</tool_call>", "hermes", False, ())
def test_nothing_is_lost(text: str, parser: str, opened: bool, tools: Any) -> None:  # noqa: FBT001
    pieces = list(split_text(text, parser=parser, opened_reasoning=opened, tools=tools))
    assert "".join(piece.text for piece in pieces) == text
    assert all(bool(piece.calls) == (piece.kind == "calls") for piece in pieces)
    assert all(bool(piece.reason) == (piece.kind == "unparsed") for piece in pieces)
    marks = "".join(piece.text for piece in pieces if piece.kind == "mark")
    for token in (*TAGS, *END_TOKENS):
        marks = marks.replace(token, "")
    assert marks.strip() == ""

    action = parse_action(text, parser=parser, opened_reasoning=opened, tools=tools)
    for kind, kept in (("message", action.message), ("reasoning", action.reasoning)):
        written = "".join(piece.text for piece in pieces if piece.kind == kind)
        assert "".join(kept.split()) == "".join(written.split())
    assert [u.text for u in action.unparsed] == [p.text for p in pieces if p.kind == "unparsed"]
    assert list(action.tool_calls) == [call for p in pieces for call in p.calls]


@given(texts, parsers)
def test_an_announced_call_never_becomes_a_message(text: str, parser: str) -> None:
    message = parse_action(text, parser=parser).message
    announcements = {
        "hermes": ["<tool_call>", "</tool_call>"],
        "qwen3_xml": [
            "<tool_call>",
            "<function=",
            "<parameter=",
            "</parameter>",
            "</function>",
            "</tool_call>",
        ],
        "mistral": ["[TOOL_CALLS]"],
        "llama3_json": ["<|python_tag|>"],
    }
    assert [mark for mark in announcements[parser] if mark in message] == []


@given(st.text(alphabet=st.characters(exclude_characters="<[{", exclude_categories=["Cs"])), parsers)
def test_plain_text_is_a_message(text: str, parser: str) -> None:
    assert parse_action(text, parser=parser) == Action(message=text.strip())


def test_an_unknown_parser_is_refused_with_the_known_names() -> None:
    with pytest.raises(UserError) as caught:
        parse_action("", parser="pythonic")
    assert str(caught.value) == ("no parser 'pythonic': choose from hermes, llama3_json, mistral, qwen3_xml")


def test_truncation_is_kept() -> None:
    assert parse_action("a", parser="hermes", truncated=True) == Action(message="a", truncated=True)


HOSTILE_UNITS = [
    *(
        "<tool_call>",
        "</tool_call>",
        "<tool_call></tool_call>",
        '<tool_call>{"</tool_call>',
        "{",
        "[",
        '{"a":',
    ),
    *(
        '<tool_call>["a", "</tool_call>',
        "[TOOL_CALLS]",
        "[TOOL_CALLS]f{",
        '[TOOL_CALLS]f{"a" 1',
        "[ARGS]{",
        "[TOOL_CALLS][",
    ),
    *(
        "<function=",
        "<function=f>",
        "<function=f></function>",
        "<function=f><parameter=a>",
        "<parameter=a>",
        "<|python_tag|>",
    ),
    *(
        "<tool_call><function=f><parameter=a></tool_call>",
        '<function=f><parameter=a>{"</function>',
        "</think>",
        "<|im_end|>",
    ),
    *(
        '{"name":',
        '{"name":"',
        '{"name":"f","parameters":{};',
        '{"name":"f","parameters":{}};',
        " ",
        ";",
        "\\",
        "\\u",
    ),
    *("<tool_call>   ", "[TOOL_CALLS]   ", "<|python_tag|>{}", "9", '<tool_call>{"a" 1}</tool_call>\n'),
]


@pytest.mark.parametrize("parser", sorted(PARSERS))
@pytest.mark.parametrize("unit", HOSTILE_UNITS)
def test_long_hostile_text_is_read_in_linear_time(unit: str, parser: str) -> None:
    """Two million characters each: a quadratic scan would take hours, so this test would never end."""
    text = unit * (2_000_000 // len(unit))
    pieces = list(split_text(text, parser=parser, tools=TOOLS))
    assert sum(len(piece.text) for piece in pieces) == len(text)


arguments = st.dictionaries(
    st.text(),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(MARKUP),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    ),
)
JSON_FORMS = {
    "hermes": ["<tool_call>\n{}\n</tool_call>", '{{"name": {}, "arguments": {}}}'],
    "llama3_json": ["{}", '{{"name": {}, "parameters": {}}}'],
    "mistral": ["[TOOL_CALLS][{}]", '{{"name": {}, "arguments": {}}}'],
}


@given(st.sampled_from(sorted(JSON_FORMS)), st.lists(arguments, min_size=1, max_size=3), st.booleans())
def test_rendered_calls_are_read_back(parser: str, calls: list[dict[str, Any]], ascii_only: bool) -> None:  # noqa: FBT001
    around, call_form = JSON_FORMS[parser]
    written = [call_form.format('"the tool"', json.dumps(call, ensure_ascii=ascii_only)) for call in calls]
    action = parse_action("\n".join(around.replace("{}", call) for call in written), parser=parser)
    assert [(call.name, call.arguments) for call in action.tool_calls] == [("the tool", call) for call in calls]
    assert (action.message, action.reasoning, action.unparsed) == ("", "", ())
