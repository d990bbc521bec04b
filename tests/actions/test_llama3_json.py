import pytest
from pivotmine.actions import Action, ToolCall, Unparsed, parse_action

A = ToolCall(name="a", arguments={"x": 1})
B = ToolCall(name="b", arguments={})


def parse(text: str) -> Action:
    return parse_action(text, parser="llama3_json")


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "a", "parameters": {"x": 1}}; {"name": "b", "parameters": {}}',
        '<|python_tag|>{"name": "a", "parameters": {"x": 1}};{"name": "b", "arguments": {}}<|eom_id|>',
        '\n{"type":"function","name":"a","parameters":{"x":1}}\n{"parameters":{}, "name":"b"}<|eot_id|>',
        '<|python_tag|>{"name":"a","parameters":"{\\"x\\":1}"}<|python_tag|> {"name":"b","parameters":{}}',
    ],
)
def test_every_form_of_the_convention(text: str) -> None:
    assert parse(text) == Action(tool_calls=(A, B))


@pytest.mark.parametrize(
    "text",
    [
        '{"answer": 3}',
        "{}",
        "[a(x=1)]",
        "The set {1, 2} is small.",
        'Use {"name": "Bob", "age": 3} there.',
        '{"answer": 3}\nas you asked',
    ],
)
def test_json_that_is_no_call_is_a_message(text: str) -> None:
    assert parse(text) == Action(message=text)


def test_a_call_behind_text() -> None:
    assert parse('I look.\n{"name": "a", "parameters": {"x": 1}} Wait.') == Action(
        message="I look.\nWait.", tool_calls=(A,)
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            '{"name": "a", "parameters": {"x": {"name": "b", "parameters": {}}',
            "not JSON: Expecting ',' delimiter at character 65",
        ),
        ('<|python_tag|>print("hello")', "not JSON: Expecting value at character 0"),
        ('<|python_tag|>a.call(x="1")', "not JSON: Expecting value at character 0"),
        ("<|python_tag|>", "not JSON: Expecting value at character 0"),
        ("<|python_tag|>[1]", "the call is not an object"),
        ('<|python_tag|>{"answer": 3}', "no name"),
        ("{'name': 'a'}", "not JSON: Expecting property name enclosed in double quotes at character 1"),
        ('{"name": "a"}', "no parameters"),
        ('{"type": "function", "function": {"name": "a", "parameters": {}}}', "no name"),
        ('{"name": "a", "parameters": {}, "arguments": {}}', "both parameters and arguments"),
        ('{"name": "a", "parameters": {}, "reason": "why"}', "surplus key 'reason'"),
    ],
)
def test_what_cannot_be_read_is_kept_whole_with_the_reason(text: str, reason: str) -> None:
    assert parse(text) == Action(unparsed=(Unparsed(text=text, reason=reason),))


def test_a_broken_call_behind_a_good_one() -> None:
    assert parse('{"name": "a", "parameters": {"x": 1}}; {"name": "b", ') == Action(
        tool_calls=(A,),
        unparsed=(
            Unparsed(
                text='{"name": "b", ',
                reason="not JSON: Expecting property name enclosed in double quotes at character 14",
            ),
        ),
    )
