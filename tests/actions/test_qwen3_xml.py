from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pivotmine import strict_json
from pivotmine.actions import Action, ToolCall, Unparsed, parse_action


def tool(name: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"properties": properties}}}


def parse(text: str, *tools: dict[str, Any]) -> Action:
    return parse_action(text, parser="qwen3_xml", tools=tools)


def test_text_and_several_calls() -> None:
    text = (
        "Let me look.\n\n<tool_call>\n<function=search>\n<parameter=query>\ntwo\n\nlines\n\n</parameter>\n"
        "<parameter=limit>\n3\n</parameter>\n</function>\n</tool_call>\n"
        "<tool_call><function=stop></function></tool_call>"
    )
    assert parse(text, tool("search", {"query": {"type": "string"}, "limit": {"type": "integer"}})) == Action(
        message="Let me look.",
        tool_calls=(
            ToolCall(name="search", arguments={"query": "two\n\nlines\n", "limit": 3}),
            ToolCall(name="stop", arguments={}),
        ),
    )


@pytest.mark.parametrize("closing", ["", "</tool_call>", "\n</tool_call>"])
def test_the_outer_tag_may_be_missing(closing: str) -> None:
    assert parse(f"<function=a>\n<parameter=x>1</parameter></function>{closing}") == Action(
        tool_calls=(ToolCall(name="a", arguments={"x": "1"}),)
    )


def test_tags_of_calls_inside_values_cut_nothing() -> None:
    value = "<tool_call></function></tool_call><function=b>"
    text = f"<tool_call><function=a><parameter=x>\n{value}\n</parameter></function></tool_call>"
    assert parse(text) == Action(tool_calls=(ToolCall(name="a", arguments={"x": value}),))


def test_every_tag_may_stand_inside_json_strings() -> None:
    value = ["</parameter></function></tool_call><parameter=y>"]
    text = f"<function=a>\n<parameter=x>\n{strict_json.dumps(value)}\n</parameter>\n</function>"
    assert parse(text, tool("a", {"x": {"type": "array"}})) == Action(
        tool_calls=(ToolCall(name="a", arguments={"x": value}),)
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<tool_call>", "no <function=NAME>"),
        ('<tool_call>{"name": "a", "arguments": {}}</tool_call>', "no <function=NAME>"),
        ("<tool_call><function=></function></tool_call>", "no <function=NAME>"),
        ("<tool_call><function= ></function></tool_call>", "the name is empty"),
        ("<tool_call><function=a></tool_call>", "neither a parameter nor </function>"),
        ("<function=a>", "neither a parameter nor </function>"),
        ('<function=a>{"x": 1}</function>', "neither a parameter nor </function>"),
        ("<tool_call><function=a></function>", "</function> is not followed by </tool_call>"),
        (
            "<tool_call><function=a></function><function=b></function></tool_call>",
            "</function> is not followed by </tool_call>",
        ),
        ("<function=a><parameter=x>1</function>", "a parameter is not closed by </parameter>"),
        (
            "<function=a><parameter=x>1<parameter=y>2</parameter></function>",
            "a parameter is not closed by </parameter>",
        ),
        (
            "<function=a><parameter=x>1</parameter>and<parameter=y>2</parameter></function>",
            "neither a parameter nor </function>",
        ),
        ("<function=a><parameter=x</parameter></function>", "neither a parameter nor </function>"),
        (
            "<function=a><parameter=x>1</parameter><parameter=x>2</parameter></function>",
            "parameter 'x' is given twice",
        ),
        ("<parameter=", "<parameter= without a call that it belongs to"),
        ("1</parameter>", "</parameter> without a call that it belongs to"),
        ("a</function>", "</function> without a call that it belongs to"),
        ("a</tool_call>", "</tool_call> without a call that it belongs to"),
    ],
)
def test_a_malformed_call_is_kept_whole_with_the_reason(text: str, reason: str) -> None:
    assert parse(text) == Action(unparsed=(Unparsed(text=text, reason=reason),))


@pytest.mark.parametrize(
    "broken",
    [
        "<tool_call><function=a><parameter=x>1</function></tool_call>",
        "<function=a><parameter=x>1</function>",
    ],
)
def test_an_unclosed_parameter_ends_with_its_call(broken: str) -> None:
    good = "<tool_call><function=b><parameter=x>1</parameter></function></tool_call>"
    assert parse(broken + good) == Action(
        tool_calls=(ToolCall(name="b", arguments={"x": "1"}),),
        unparsed=(Unparsed(text=broken, reason="a parameter is not closed by </parameter>"),),
    )


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
keys = st.text(alphabet=st.characters(exclude_characters="<>\n", exclude_categories=["Cs"]), min_size=1).filter(
    lambda key: key == key.strip()
)

tags = ("</parameter>", "<parameter=")
writable = values.filter(lambda value: not (isinstance(value, str) and any(tag in value for tag in tags)))


@pytest.mark.parametrize("tag", tags)
def test_text_that_the_convention_cannot_hold_is_never_cut_to_fit(tag: str) -> None:
    text = f"<function=a>\n<parameter=x>\nbefore {tag} after\n</parameter>\n</function>"
    action = parse(text, tool("a", {"x": {"type": "string"}}))
    assert (action.tool_calls, [piece.text for piece in action.unparsed]) == ((), [text])


@given(st.dictionaries(keys, writable))
def test_rendered_calls_are_read_back(arguments: dict[str, Any]) -> None:
    types = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}
    declared = {key: {"type": types.get(type(value), "null")} for key, value in arguments.items()}
    body = "".join(
        f"<parameter={key}>\n{value if isinstance(value, str) else strict_json.dumps(value)}\n</parameter>\n"
        for key, value in arguments.items()
    )
    text = f"<tool_call>\n<function=f>\n{body}</function>\n</tool_call>"
    assert parse(text, tool("f", declared)) == Action(tool_calls=(ToolCall(name="f", arguments=arguments),))
