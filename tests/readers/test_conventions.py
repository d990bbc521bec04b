"""Which action format a segment gets: named, declared, recognised by evidence, or native."""

from typing import Any

import pytest
from reading import needs_real_data, read_file, real_file

from pivotmine.errors import UserError
from pivotmine.readers.conventions import require_calls, settle
from pivotmine.readers.trajectory import Segment, Trajectory

Message = dict[str, Any]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
HERMES = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
TEACHES = {"role": "system", "content": "Include exactly ONE bash code block with one command."}


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def said(text: str) -> Message:
    return {"role": "assistant", "content": text}


def settled(*messages: Message, calls: str | None = None, declared: str | None = None, **fields: Any) -> Segment:
    segment = Segment(messages=list(messages), **fields)
    return settle(Trajectory(segments=(segment,)), calls=calls, action_format=declared).segments[0]


def run_of(*texts: str, observed: str = "a.py", first: Message | None = None) -> list[Message]:
    messages = [first] if first else []
    messages.append(user("Do it."))
    for text in texts:
        messages += [said(text), user(observed)]
    return messages[:-1]


FUNCTION = "Look.\n<function=bash>\n<parameter=command>ls</parameter>\n</function>"
BATCH = '{"analysis": "a", "plan": "p", "commands": [{"keystrokes": "ls\\n"}]}'


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        (run_of(FUNCTION, "<function=submit>\n</function>"), "function_tags"),
        (run_of("<command>\nls\n</command>", "ok"), "swe_agent_xml"),
        (run_of("Thought: x\nAction: search[a]", "I stop."), "react"),
        (run_of(BATCH, BATCH), "terminus_2"),
        (run_of("```bash\nls\n```", "```bash\npwd\n```", first=TEACHES), "fenced_command"),
        (run_of("```bash\nls\n```", "Done.", observed="<returncode>0</returncode>"), "fenced_command"),
        (run_of("Look\n```\nls\n```", "```\nsubmit\n```"), "swe_agent_thought"),
        (run_of("Look\n```\nls\n```", "```\npwd\n```", observed="x\nbash-$"), "swe_agent_thought"),
        (run_of("Look\n```bash\ngrep '<tool_call>' a\n```", "```bash\npwd\n```", first=TEACHES), "fenced_command"),
    ],
)  # fmt: skip
def test_recognised_by_the_whole_segment(messages: list[Message], expected: str) -> None:
    found = settled(*messages)
    assert (found.action_format, found.messages) == (expected, messages), "the history stays word for word"


@pytest.mark.parametrize(
    "messages",
    [
        run_of("Thought: x\nAction: search[a]"),  # one turn is no evidence
        run_of("```bash\nls\n```", "```bash\npwd\n```"),  # a chat about commands
        run_of("Sure:\n```\nls\n```", "You are welcome.", observed="Thanks!"),
        run_of("OK", "```bash\nls\n```", "```bash\npwd\n```", first=TEACHES),  # one turn does not parse
        [user("a"), said("Action: a[b]"), said("Action: a[c]")],  # not answered
        run_of("Hello.", "Bye."),
        [said("x"), {"role": "user"}, None, 5],
    ],
)
def test_without_evidence_a_segment_is_native(messages: list[Message]) -> None:
    found = settled(*messages)
    assert (found.action_format, found.messages) == ("native", messages)


def test_native_tools_and_calls_are_evidence_against_a_convention() -> None:
    messages = run_of("Action: f[x]", "Action: f[y]")
    assert settled(*messages, tools=TOOLS).action_format == "native"
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert settled({**messages[0]}, {**messages[1], "tool_calls": [call]}, *messages[2:]).action_format == "native"


def test_what_the_reader_names_and_what_the_user_declares() -> None:
    messages = run_of("hello")
    assert settled(*messages, action_format="react", declared="swe_agent_xml").action_format == "react"
    assert settled(*messages, declared="swe_agent_xml").action_format == "swe_agent_xml"
    assert settled(*run_of(FUNCTION, FUNCTION), declared="native").action_format == "native"
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    native = [user("a"), {"role": "assistant", "content": None, "tool_calls": [call]}]
    assert settled(*native, declared="react").action_format == "native"


def test_tools_from_a_file_are_for_native_segments() -> None:
    text, native = (Segment(messages=m) for m in (run_of(FUNCTION, FUNCTION), run_of("hello")))
    found = settle(Trajectory(segments=(text, native)), tools=TOOLS).segments
    assert [(s.action_format, s.tools) for s in found] == [("function_tags", None), ("native", TOOLS)]


@pytest.mark.parametrize(
    ("known", "calls", "expected"),
    [
        (True, None, "native"),
        (False, None, "hermes"),
        (True, "verbatim", "hermes"),
        (False, "native", "native"),
    ],
)
def test_serialised_calls_are_native_if_their_schemas_are_known(known: bool, calls: str | None, expected: str) -> None:  # noqa: FBT001
    messages = [user("a"), said(f"Hm.\n{HERMES}"), user("<tool_response>\nx\n</tool_response>"), said("b")]
    found = settled(*messages, calls=calls, **({"tools": TOOLS} if known else {}))
    assert found.action_format == expected
    if expected == "hermes":
        assert found.messages == messages
    else:
        call = {"id": "call_0", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
        extra = {"extra": {"text": f"Hm.\n{HERMES}"}}
        reply = {"role": "assistant", "content": "Hm.", "tool_calls": [call], **extra}
        result = {"role": "tool", "content": "x", "tool_call_id": "call_0"}
        assert found.messages == [messages[0], reply, result, messages[3]]


def test_a_python_dict_is_read_in_hermes_text() -> None:
    text = "<tool_call>\n{'name': 'f', 'arguments': {'a': True}}\n</tool_call>"
    found = settled(user("a"), said(text), tools=TOOLS)
    assert found.messages[1]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a":true}'}
    hostile = "<tool_call>\n__import__('os').system('true')\n</tool_call>"
    assert settled(user("a"), said(hostile), tools=TOOLS).messages[1] == said(hostile)


def test_native_calls_of_a_text_convention_on_demand() -> None:
    messages = run_of("Look\n```bash\nls\n```", "```bash\npwd\n```", first=TEACHES)
    found = settled(*messages, calls="native")
    ids = [{"id": f"call_{i}", "type": "function"} for i in range(2)]
    functions = [{"name": "bash", "arguments": f'{{"command":"{c}"}}'} for c in ("ls", "pwd")]
    assert found.action_format == "native"
    assert [t["function"]["name"] for t in found.tools or ()] == ["bash"]
    assert [m.get("tool_calls") for m in found.messages if m["role"] == "assistant"] == [
        [{**i, "function": f}] for i, f in zip(ids, functions, strict=True)
    ]
    assert found.messages[3] == {"role": "tool", "content": "a.py", "tool_call_id": "call_0"}
    assert settled(*messages, calls="verbatim").messages == messages


def test_results_in_the_inherited_messages_move_the_turns() -> None:
    two = user("<tool_response>\nx\n</tool_response>\n<tool_response>\ny\n</tool_response>")
    found = settled(said(HERMES + HERMES), two, said("b"), tools=TOOLS, num_inherited=2)
    assert (found.num_inherited, len(found.messages)) == (3, 4)


def test_a_word_that_means_nothing() -> None:
    require_calls(None)
    with pytest.raises(UserError, match="--calls text: choose from native, verbatim"):
        require_calls("text")


@needs_real_data
@pytest.mark.parametrize("name", ["glaive_toolcall_en_demo.json", "v1_sft_demo.jsonl"])
def test_no_ordinary_conversation_gets_a_text_convention(name: str) -> None:
    found = [t for _, t in read_file(real_file(f"llama-factory/{name}")) if isinstance(t, Trajectory)]
    assert len(found) == (300 if name.startswith("glaive") else 500)
    assert {segment.action_format for t in found for segment in settle(t).segments} == {"native"}
