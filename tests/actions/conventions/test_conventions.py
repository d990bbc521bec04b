"""Text conventions: which part of a text is the action, which is the thought, and what is a format error."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pivotmine.actions import CONVENTIONS, Action, ToolCall, action_from_json, action_to_json, parse_action
from pivotmine.actions.conventions import PARSED, implied_tools, read_message, read_text, require_action_format
from pivotmine.errors import UserError

BATCH: dict[str, Any] = {"analysis": "a", "plan": "p", "commands": [{"keystrokes": "ls\n"}]}
OLD_BATCH: dict[str, Any] = {
    "state_analysis": "a",
    "explanation": "e",
    "commands": [{"keystrokes": "ls\n", "is_blocking": True, "timeout_sec": 5}],
    "is_task_complete": False,
}
FUNCTION = "<function=execute_bash>\n<parameter=command>\nls -a\n</parameter>\n</function>"


def bash(command: str) -> ToolCall:
    return ToolCall(name="bash", arguments={"command": command})


def call(name: str, **arguments: Any) -> ToolCall:
    return ToolCall(name=name, arguments=arguments)


ACTIONS = [
    ("fenced_command", "Look.\n```bash\nls -a\n```\nThen more.", bash("ls -a"), "Look.\nThen more."),
    ("fenced_command", "```mswea_bash_command\nls\n```", bash("ls"), ""),
    ("fenced_command", "```python\nx\n```\n```bash\n\n ls\n\n```", bash("ls"), "```python\nx\n```"),
    ("fenced_command", "```bash\ngrep '<tool_call>' a\n```", bash("grep '<tool_call>' a"), ""),
    ("swe_agent_thought", "Let me\n```\nls\n```", bash("ls"), "Let me"),
    ("swe_agent_thought", "A\n```\nls\n```\nB\n```bash\npwd\n```\nC", bash("pwd"), "A\n```\nls\n```\nB\nC"),
    (
        "swe_agent_thought",
        "```\ncat > a <<E\n```python\nx\n```\nE\n```",
        bash("cat > a <<E\n```python\nx\n```\nE"),
        "",
    ),
    ("swe_agent_xml", "A\n<command>\nls\n</command>", bash("ls"), "A"),
    ("swe_agent_xml", "<command>ls</command> or <command>pwd</command>", bash("pwd"), "<command>ls</command> or"),
    ("function_tags", f"Look.\n{FUNCTION}", call("execute_bash", command="ls -a"), "Look."),
    ("function_tags", f"{FUNCTION}\n<function=submit>", call("execute_bash", command="ls -a"), "<function=submit>"),
    ("function_tags", FUNCTION.removesuffix("\n</function>"), call("execute_bash", command="ls -a"), ""),
    ("function_tags", "<function=own>\n<parameter=n>3</parameter>\n</function>", call("own", n="3"), ""),
    (
        "swe_agent_function_tags",
        "<function=str_replace_editor>\n<parameter=command>view</parameter>\n<parameter=path>/a</parameter>\n"
        "<parameter=view_range>[1, 2]</parameter>\n</function>",
        call("str_replace_editor", command="view", path="/a", view_range=[1, 2]),
        "",
    ),
    ("function_tags", "<function=submit>\n</function>", call("submit"), ""),
    ("react", "Thought 1: I.\nAction 1: execute[ls [a-z]*]", call("execute", command="ls [a-z]*"), "Thought 1: I."),
    ("react", "Action: search[red car]\nObservation: [found]", call("search", input="red car"), "Observation: [found]"),
    ("react", "Thought: Done.\nAction: submit", call("submit"), "Thought: Done."),
    ("react", "Thought: Done.\nAction: submit[]", call("submit"), "Thought: Done."),
    ("react", "Finish[42]", call("Finish", input="42"), ""),
    ("react", "Action: execute[a\nb]", call("execute", command="a\nb"), ""),
    ("terminus_2", json.dumps(BATCH), call("send_keystrokes", commands=BATCH["commands"]), "a\np"),
    ("terminus_2", f"```json\n{json.dumps(BATCH)}\n```", call("send_keystrokes", commands=BATCH["commands"]), "a\np"),
    (
        "terminus_1",
        json.dumps(OLD_BATCH),
        call("send_keystrokes", commands=OLD_BATCH["commands"], is_task_complete=False),
        "a\ne",
    ),
    ("hermes", '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>', call("f", a=1), ""),
    ("mistral", '[TOOL_CALLS]f{"a": 1}', call("f", a=1), ""),
    ("qwen3_xml", "<tool_call><function=f><parameter=a>x</parameter></function></tool_call>", call("f", a="x"), ""),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "expected", "thought"), ACTIONS)
def test_the_action_and_the_thought(name: str, text: str, expected: ToolCall, thought: str) -> None:
    found = read_text(text, name)
    assert found == Action(tool_calls=(expected,), reasoning=thought)
    assert found.text == text
    assert read_message({"role": "assistant", "content": text}, name) == found
    assert read_message({"role": "assistant", "content": [{"type": "text", "text": text}]}, name) == found


@pytest.mark.parametrize(("name", "text", "expected", "thought"), ACTIONS)
def test_the_policys_own_reasoning_is_split_off_first(name: str, text: str, expected: ToolCall, thought: str) -> None:
    """A command in a reasoning block was thought, not given; end tokens are not part of the answer."""
    said = "\n".join(part for part in (f"Hm. {text}", thought) if part)
    for written, opened in ((f"<think>Hm. {text}</think>{text}<|im_end|>", False), (f"Hm. {text}</think>{text}", True)):
        found = parse_action(written, parser="hermes", action_format=name, opened_reasoning=opened)
        assert found == Action(tool_calls=(expected,), reasoning=said)
        assert found.text == text


ERRORS = [
    ("fenced_command", "ls -a", "no command block"),
    ("fenced_command", "```sh\nls\n```", "no command block"),
    ("fenced_command", "```bash\nls\n```\n```bash\npwd\n```", "2 command blocks, needed exactly one"),
    ("fenced_command", "```bash\nls", "no command block"),
    ("fenced_command", "```bash\n\n```", "the command is empty"),
    ("swe_agent_thought", "I stop here.", "no fenced block"),
    ("swe_agent_xml", "</command>ls<command>", "no <command> with a </command> behind it"),
    ("swe_agent_function_tags", "I stop here.", "no <function=NAME>"),
    ("function_tags", "<function=", "no <function=NAME>"),
    ("function_tags", "<function=f>\n<parameter=a>x", "a parameter is not closed by </parameter>"),
    ("function_tags", "<function=f>\nls\n</function>", "neither a parameter nor </function>"),
    ("function_tags", f"{FUNCTION[:-12]}<parameter=command>x</parameter>", "parameter 'command' is given twice"),
    ("react", "I stop here.", "no action of the form name[input]"),
    ("react", "Thought: x[y]\n", "no action of the form name[input]"),
    ("react", "Action: execute[ls", "no action of the form name[input]"),
    ("terminus_2", "ls", "not a JSON object"),
    ("terminus_2", json.dumps(OLD_BATCH), "lacks analysis"),
    ("terminus_1", json.dumps(BATCH), "lacks explanation"),
    ("terminus_2", f"Here: {json.dumps(BATCH)}", "not a JSON object"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "reason"), ERRORS)
def test_a_format_error_is_no_action(name: str, text: str, reason: str) -> None:
    found = read_text(text, name)
    assert (found.tool_calls, found.message) == ((), "")
    assert [piece.reason for piece in found.unparsed] == [reason]


@pytest.mark.parametrize("name", CONVENTIONS)
def test_plain_text_is_what_the_convention_says(name: str) -> None:
    found = read_text("I have no idea.", name)
    if CONVENTIONS[name].plain_text == "message":
        assert found == Action(message="I have no idea.")
    else:
        assert CONVENTIONS[name].plain_text == "format_error"
        assert (found.message, len(found.unparsed)) == ("", 1)
    assert read_text(" \n", name) == Action()
    assert read_text("<think>Hm", name, truncated=True) == Action(reasoning="Hm", truncated=True)


FRAGMENTS = [
    "```", "```bash", "\n", "ls", "<command>", "</command>", "<function=f>", "<parameter=a>", "</parameter>",
    "</function>", "Action: ", "execute[", "]", "Thought:", "{", '"commands"', json.dumps(BATCH), "<tool_call>",
    "</tool_call>", "[TOOL_CALLS]", "<think>", "</think>",
]  # fmt: skip


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=4), max_size=9).map("".join),
    st.sampled_from(list(CONVENTIONS)),
)
def test_nothing_is_lost_and_nothing_raises(text: str, name: str) -> None:
    pieces = list(CONVENTIONS[name].split(text))
    assert "".join(piece.text for piece in pieces) == text
    found = read_text(text, name)
    assert not (found.tool_calls and found.unparsed) or name in ("hermes", "mistral", "qwen3_xml")
    stored = action_from_json(action_to_json(found))
    assert (stored, stored.text) == (found, found.text)


@pytest.mark.parametrize("name", CONVENTIONS)
@pytest.mark.parametrize("text", ["```bash\n" * 30_000, "<function=f>" * 30_000, "Action: a[" * 30_000, "\n" * 200_000])
def test_long_hostile_texts_are_read_in_linear_time(name: str, text: str) -> None:
    assert not read_text(text, name).tool_calls or name == "react"


def test_native_calls_in_a_text_convention_are_no_action() -> None:
    message = {"role": "assistant", "content": "```bash\nls\n```", "tool_calls": [{"function": {"name": "f"}}]}
    found = read_message(message, "fenced_command")
    assert [piece.reason for piece in found.unparsed] == ["native calls, the action format is fenced_command"]


def test_an_action_without_its_words_is_read_from_what_the_reader_kept() -> None:
    parsed = {"reasoning": "Hm.", "tool_calls": [{"name": "send_keystrokes", "arguments": {"commands": []}}]}
    found = read_message({"role": "assistant", "content": None, "extra": {PARSED: parsed}}, "terminus_2")
    assert found == Action(tool_calls=(call("send_keystrokes", commands=[]),), reasoning="Hm.")
    assert found.text == ""


def test_a_messages_reasoning_comes_before_the_thought() -> None:
    message = {"role": "assistant", "content": "Look.\n```bash\nls\n```", "reasoning_content": "Hm."}
    assert read_message(message, "fenced_command") == Action(tool_calls=(bash("ls"),), reasoning="Hm.\nLook.")


def test_the_implied_tools() -> None:
    (tool,) = implied_tools("fenced_command", [])
    assert tool["function"]["name"] == "bash"
    assert tool["function"]["parameters"]["required"] == ["command"]
    more = implied_tools("react", [Action(tool_calls=(call("search", input="x"), call("execute", command="y")))])
    assert [t["function"]["name"] for t in more] == ["execute", "submit", "skip", "search"]
    assert more[-1]["function"]["parameters"] == {"type": "object", "properties": {"input": {"type": "string"}}}
    own = implied_tools("function_tags", [Action(tool_calls=(call("own", n="3"),))])[-1]
    assert own["function"] == {"name": "own", "parameters": {"type": "object", "properties": {}}}
    assert implied_tools("hermes", [Action(tool_calls=(call("own"),))]) == ()


def test_unknown_names() -> None:
    require_action_format("native")
    with pytest.raises(UserError, match="--action-format fenced: choose from native, function_tags, "):
        require_action_format("fenced")
    with pytest.raises(ValueError, match="no action format 'fenced'"):
        read_text("x", "fenced")
