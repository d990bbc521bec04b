import pytest
from pivotmine.actions import Action, ToolCall, Unparsed, parse_action

A = ToolCall(name="a", arguments={"x": 1})
B = ToolCall(name="b", arguments={})


def parse(text: str) -> Action:
    return parse_action(text, parser="mistral")


@pytest.mark.parametrize(
    "text",
    [
        '[TOOL_CALLS][{"name": "a", "arguments": {"x": 1}}, {"name": "b", "arguments": {}}]',
        '[TOOL_CALLS] [{"name": "a", "arguments": {"x": 1}, "id": "c1"}, {"name": "b", "arguments": {}}]</s>',
        '[TOOL_CALLS]a{"x": 1}[TOOL_CALLS]b{}',
        '[TOOL_CALLS]a[ARGS]{"x": 1}[TOOL_CALLS]b[ARGS]{}</s>',
        '[TOOL_CALLS]a[CALL_ID]abc123def[ARGS]{"x": 1}\n[TOOL_CALLS] b [CALL_ID] c [ARGS] {}',
    ],
)
def test_every_form_of_the_convention(text: str) -> None:
    assert parse(text) == Action(tool_calls=(A, B))


def test_reasoning_text_and_call() -> None:
    assert parse('[THINK]hm[/THINK]Look:[TOOL_CALLS]a[ARGS]{"x": 1}') == Action(
        reasoning="hm", message="Look:", tool_calls=(A,)
    )


def test_marks_inside_strings_cut_nothing() -> None:
    assert parse('[TOOL_CALLS]a[ARGS]{"x": "[TOOL_CALLS]b[ARGS]{}"}') == Action(
        tool_calls=(ToolCall(name="a", arguments={"x": "[TOOL_CALLS]b[ARGS]{}"}),)
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[TOOL_CALLS]", "neither a name nor a list behind [TOOL_CALLS]"),
        ('[TOOL_CALLS]{"name": "a", "arguments": {}}', "neither a name nor a list behind [TOOL_CALLS]"),
        ("[TOOL_CALLS][]", "an empty list of calls"),
        ('[TOOL_CALLS][{"name": "a", "arguments": {}}, {"name": "b"}]', "no arguments"),
        ("[TOOL_CALLS][{]", "not JSON: Expecting property name enclosed in double quotes at character 2"),
        ("[TOOL_CALLS]a", "not JSON: Expecting value at character 0"),
        ("[TOOL_CALLS]a b{}", "not JSON: Expecting value at character 0"),
        ("[TOOL_CALLS]a[ARGS][1]", "the arguments are not an object"),
        ('[TOOL_CALLS]a[ARGS]"{}"', "the arguments are not an object"),
    ],
)
def test_what_cannot_be_read_is_kept_whole_with_the_reason(text: str, reason: str) -> None:
    assert parse(text) == Action(unparsed=(Unparsed(text=text, reason=reason),))


def test_arguments_without_the_mark_of_a_call() -> None:
    assert parse("a[ARGS] {}") == Action(
        message="{}", unparsed=(Unparsed(text="a[ARGS]", reason="[ARGS] without a call that it belongs to"),)
    )
    assert parse("Usage: a [OPTIONS] [ARGS]...") == Action(message="Usage: a [OPTIONS] [ARGS]...")


def test_a_broken_call_ends_where_the_next_begins() -> None:
    assert parse('[TOOL_CALLS]a{[TOOL_CALLS]a{"x": 1}') == Action(
        tool_calls=(A,),
        unparsed=(
            Unparsed(
                text="[TOOL_CALLS]a{",
                reason="not JSON: Expecting property name enclosed in double quotes at character 1",
            ),
        ),
    )
