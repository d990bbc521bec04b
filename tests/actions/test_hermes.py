import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pivotmine.actions import Action, ToolCall, Unparsed, parse_action
from pivotmine.actions.hermes import only_call
from pivotmine.actions.parsing import split_text
from pivotmine.actions.pieces import assemble


def parse(text: str) -> Action:
    return parse_action(text, parser="hermes")


def test_text_and_several_calls() -> None:
    assert parse(
        'Let me look.\n<tool_call>\n{"name": "a", "arguments": {"x": 1, "y": [null]}}\n</tool_call>\n'
        '<tool_call>{"name": "b", "arguments": "{\\"z\\": true}", "id": "", "type": "function"}</tool_call>\n'
        "Done."
    ) == Action(
        message="Let me look.\nDone.",
        tool_calls=(
            ToolCall(name="a", arguments={"x": 1, "y": [None]}),
            ToolCall(name="b", arguments={"z": True}),
        ),
    )


def test_tags_inside_strings_cut_nothing() -> None:
    assert parse(
        '<tool_call>{"name": "write", "arguments": {"text": "</tool_call> <tool_call>{"}}</tool_call>'
    ) == Action(tool_calls=(ToolCall(name="write", arguments={"text": "</tool_call> <tool_call>{"}),))


@pytest.mark.parametrize(
    ("inside", "reason"),
    [
        ("", "not JSON: Expecting value at character 0"),
        ("{'name': 'a'}", "not JSON: Expecting property name enclosed in double quotes at character 1"),
        ('{"name": "a", "name": "b", "arguments": {}}', "not JSON: an object repeats a key"),
        ('{"name": "a", "arguments": {"x": NaN}}', "not JSON: NaN is not JSON"),
        ('{"name": "a", "arguments": {}}}', "something between the JSON and </tool_call>"),
        ('{"name": "a", "arguments": {"x": "</tool_call>"}}}', "something between the JSON and </tool_call>"),
        ('{"name": "a", "arguments": {}} or so', "something between the JSON and </tool_call>"),
        ('[{"name": "a", "arguments": {}}]', "the call is not an object"),
        ('"a"', "the call is not an object"),
        ('{"arguments": {}}', "no name"),
        ('{"name": null, "arguments": {}}', "the name is not a string"),
        ('{"name": " ", "arguments": {}}', "the name is empty"),
        ('{"name": "a"}', "no arguments"),
        ('{"name": "a", "parameters": {}}', "surplus key 'parameters'"),
        ('{"name": "a", "arguments": null}', "the arguments are not an object"),
        ('{"name": "a", "arguments": [1]}', "the arguments are not an object"),
        ('{"name": "a", "arguments": "[1]"}', "the arguments are not an object"),
        (
            '{"name": "a", "arguments": ""}',
            "the arguments are not JSON: Expecting value: line 1 column 1 (char 0)",
        ),
        ('{"name": "a", "arguments": {}, "x": 1}', "surplus key 'x'"),
        ('{"name": "a", "arguments": {}, "type": "code"}', "the type is not function"),
        ('{"name": "a", "arguments": {}, "id": {"x": 1}}', "the id is not a string"),
        ('{"function": {"name": "a", "arguments": {}}, "type": "function"}', "no name"),
        (
            '{"name": "a", "arguments": {"x": ' + "[" * 64 + "1" + "]" * 64 + "}}",
            "the arguments are nested too deeply",
        ),
    ],
)
def test_what_cannot_be_read_is_kept_whole_with_the_reason(inside: str, reason: str) -> None:
    piece = f"<tool_call>{inside}</tool_call>"
    assert parse(f"Text {piece} text") == Action(message="Text\ntext", unparsed=(Unparsed(text=piece, reason=reason),))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('<tool_call>{"name": "a", "arguments": {}}', "not closed by </tool_call>"),
        (
            '<tool_call>{"name": "a", "argu',
            "not closed by </tool_call>; not JSON: Unterminated string starting at at character 14",
        ),
        ('{"name": "a", "arguments": {}}</tool_call>', "</tool_call> without a call that it belongs to"),
    ],
)
def test_a_missing_tag_makes_no_message(text: str, reason: str) -> None:
    assert parse(text) == Action(unparsed=(Unparsed(text=text, reason=reason),))


def test_a_good_call_beside_a_broken_one_keeps_both() -> None:
    assert parse('<tool_call>{</tool_call><tool_call>{"name": "a", "arguments": {}}</tool_call>') == Action(
        tool_calls=(ToolCall(name="a", arguments={}),),
        unparsed=(
            Unparsed(
                text="<tool_call>{</tool_call>",
                reason="not JSON: Expecting property name enclosed in double quotes at character 1",
            ),
        ),
    )


SCRAPS = st.sampled_from(
    [
        "<tool_call>", "</tool_call>", "\n", " ", "\u00a0", "<|im_end|>", "<think>", "</think>", "so", "{", "}", '"',
        '{"name": "a", "arguments": {}}', '{"name": "a", "arguments": {"x": "</tool_call>"}}',
        '{"name": "", "arguments": {}}',
        '{"name": "a", "arguments": "{\\"x\\": 1}", "id": "1"}', '{"name": "a", "name": "b", "arguments": {}}',
        "[1]", "NaN",
        '<tool_call>\n{"name": "a", "arguments": {"x": [1.5, true]}}\n</tool_call>',
    ]
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(st.lists(SCRAPS, max_size=6).map("".join), st.booleans(), st.booleans())
def test_a_text_that_is_one_call_is_read_as_the_pieces_are(text: str, opened: bool, truncated: bool) -> None:  # noqa: FBT001
    for written in (text, f"<tool_call>{text}</tool_call>"):
        found = parse_action(written, parser="hermes", opened_reasoning=opened, truncated=truncated)
        assert found == assemble(split_text(written, parser="hermes", opened_reasoning=opened), truncated=truncated)


def test_a_text_that_is_one_call_is_read_at_once() -> None:
    one = '<tool_call>{"name": "a", "arguments": {}}</tool_call>'
    assert only_call(f"\n{one} ") == ToolCall(name="a", arguments={})
    for text in (
        one + one,
        one[:-1],
        one[1:],
        f"so {one}",
        '<tool_call>{"name": "a"}</tool_call>',
        "<tool_call>{</tool_call>",
    ):
        assert only_call(text) is None
