from typing import Any

import pytest
from hostile import broken, check_broken, read_records
from hypothesis import given, settings
from hypothesis import strategies as st

from pivotmine.messages import problem
from pivotmine.readers import detect
from pivotmine.readers.openhands_sdk import READER
from pivotmine.readers.trajectory import BadTrajectory, Trajectory
from pivotmine.sources.json_records import Record

# Events as openhands-sdk 1.58 writes them (openhands/sdk/event).
TOOL = {"type": "function", "function": {"name": "terminal", "parameters": {"type": "object"}}}


def text(value: str) -> dict[str, Any]:
    return {"cache_prompt": False, "type": "text", "text": value}


def event(kind: str, identity: str, source: str = "agent", **fields: Any) -> dict[str, Any]:
    return {"id": identity, "timestamp": "2025-11-01T00:00:00", "source": source, **fields, "kind": kind}


def system(tools: Any = None, dynamic: Any = None) -> dict[str, Any]:
    return event("SystemPromptEvent", "s", system_prompt=text("Rules."), tools=tools or [TOOL], dynamic_context=dynamic)


def said(identity: str, words: str, source: str = "user", **fields: Any) -> dict[str, Any]:
    role = "user" if source == "user" else "assistant"
    message = {"role": role, "content": [text(words)], "tool_calls": None, **fields}
    return event("MessageEvent", identity, source, llm_message=message, extended_content=[])


def act(call: str, response: str, thought: str = "I act.", **fields: Any) -> dict[str, Any]:
    made = {"id": call, "name": "terminal", "arguments": '{"command": "ls"}', "origin": "completion"}
    parts = {
        "thought": [text(thought)] if thought else [],
        "action": {"kind": "TerminalAction"},
        "tool_name": "terminal",
    }
    return event(
        "ActionEvent", f"a{call}", **parts, tool_call_id=call, tool_call=made, llm_response_id=response, **fields
    )


def saw(call: str, kind: str = "FileEditorObservation", words: str = "", **fields: Any) -> dict[str, Any]:
    observation = {"kind": kind, "content": [text(words or f"of {call}")], "is_error": False, **fields}
    return event(
        "ObservationEvent", f"o{call}", "environment", tool_call_id=call, tool_name="t", observation=observation
    )


def reply(*calls: str, **fields: Any) -> dict[str, Any]:
    function = {"name": "terminal", "arguments": '{"command": "ls"}'}
    made = [{"id": c, "type": "function", "function": function} for c in calls]
    return {"role": "assistant", "content": "I act.", "tool_calls": made, **fields}


def result(call: str, words: str = "") -> dict[str, Any]:
    return {"role": "tool", "content": words or f"of {call}", "tool_call_id": call}


START = [system(), said("u", "Do it.")]
BEGUN = [{"role": "system", "content": "Rules."}, {"role": "user", "content": "Do it."}]


def read(events: list[Any], **fields: Any) -> Trajectory:
    record = {"instance_id": "i", "history": events, **fields}
    assert detect(record) == "openhands_sdk"
    return READER.read(record)


def messages_of(*events: Any) -> list[Any]:
    (segment,) = read([*START, *events]).segments
    return segment.messages


def test_the_actions_of_a_response_are_one_turn() -> None:
    first = act("a", "r", reasoning_content="Hm.")
    state = event("ConversationStateUpdateEvent", "x", "environment", key="k", value=1)
    found = read([*START, first, act("b", "r", ""), saw("b"), saw("a"), state, said("m", "Done.", "agent")])
    (segment,) = found.segments
    done = {"role": "assistant", "content": "Done."}
    assert segment.messages == [*BEGUN, reply("a", "b", reasoning_content="Hm."), result("a"), result("b"), done]
    assert (segment.tools, found.task_id, found.metadata) == ([TOOL], "i", {})


def test_text_and_reasoning_in_their_other_places() -> None:
    thinking = [{"type": "thinking", "thinking": "Hm."}, {"type": "redacted_thinking", "data": "x"}]
    (turn,) = messages_of(act("a", "r", thinking_blocks=thinking))[2:]
    assert turn == reply("a", reasoning_content="Hm.")
    extended = {**said("u", "Do it."), "extended_content": [text(" Be kind.")]}
    events = [system(dynamic=text(" Today is Monday.")), extended, act("a", "r")]
    found = read(events).segments[0].messages
    assert [m["content"] for m in found[:2]] == ["Rules. Today is Monday.", "Do it. Be kind."]


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (saw("a"), "of a"),
        (saw("a", words="no", is_error=True), "[An error occurred during execution.]\nno"),
        (
            saw("a", "TerminalObservation", "x", metadata={"exit_code": 2, "working_dir": "/w", "suffix": "!"}),
            "x!\n[Current working directory: /w]\n[Command finished with exit code 2]",
        ),
        (event("AgentErrorEvent", "e", tool_call_id="a", tool_name="t", error="no such tool"), "no such tool"),
        (event("UserRejectObservation", "e", tool_call_id="a", rejection_reason="no"), "Action rejected: no"),
    ],
)
def test_a_result_is_what_the_model_saw(seen: dict[str, Any], words: str) -> None:
    assert messages_of(act("a", "r"), seen)[3] == result("a", words)


def test_a_long_output_is_cut_as_the_sdk_cuts_it() -> None:
    long = saw("a", "TerminalObservation", "x" * 20_000 + "y" * 20_000)
    words = messages_of(act("a", "r"), long)[3]["content"]
    assert len(words) == 30_000
    assert words[:14_900] + words[-14_900:] == "x" * 14_900 + "y" * 14_900
    assert words.strip("xy").startswith("<response clipped><NOTE>")
    long["observation"]["full_output_save_dir"] = "/tmp"
    found = problem(messages_of(act("a", "r"), long)[3])
    assert found == ("unrecorded_context", "a long result was cut, with a note that the event does not hold")


def test_a_condensation_opens_a_segment() -> None:
    first = event(
        "Condensation", "c", "environment", forgotten_event_ids=["aa", "oa"], summary="Did a.", summary_offset=2
    )
    second = event("Condensation", "d", "environment", forgotten_event_ids=["c-summary", "ab", "ob"], summary="All.",
                   summary_offset=2)  # fmt: skip
    events = [*START, act("a", "r1"), saw("a"), first, act("b", "r2"), saw("b"), second, act("e", "r3"), saw("e")]
    old, new, newest = read(events).segments
    assert old.messages == [*BEGUN, reply("a"), result("a")]
    assert (new.num_inherited, new.messages[2:]) == (
        3,
        [{"role": "user", "content": "Did a."}, reply("b"), result("b")],
    )
    assert newest.messages == [*BEGUN, {"role": "user", "content": "All."}, reply("e"), result("e")]


def test_tools_that_the_stream_does_not_define_are_said_to_be_unrecorded() -> None:
    found = read([system([{"kind": "TerminalTool", "description": "d"}]), *START[1:], act("a", "r")])
    assert (found.segments[0].tools, found.metadata) == (None, {"unrecorded": ["tools"]})


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (event("ActionEvent", "x", tool_call={"name": "f"}, llm_response_id="q"), "bad_message"),
        (saw("b", "TaskObservation"), "unrecorded_context"),
        (said("x", "x") | {"llm_message": {"role": "user", "content": [{"type": "image", "image_urls": []}]}}, "image"),
        (None, "bad_message"),
    ],
)
def test_what_cannot_be_read_ends_what_can_be_used(bad: Any, reason: str) -> None:
    found = messages_of(
        act("b", "p"), bad if reason == "unrecorded_context" else saw("b"), bad, act("a", "r"), saw("a")
    )
    assert {p[0] for p in map(problem, found) if p} == {reason}
    assert found[:3] == [*BEGUN, reply("b")]
    assert found[-2:] == [reply("a"), result("a")]


def test_a_stream_with_branches_is_a_reject() -> None:
    with pytest.raises(BadTrajectory, match="branched_stream"):
        read([*START, {**act("a", "r"), "parent_id": "u"}, {**act("b", "q"), "parent_id": "u"}])


def test_bare_events_are_a_stream_until_the_next_system_prompt() -> None:
    lost = Record(3, None, ("bad_json", "x"))
    found = read_records([*START, act("a", "r"), lost, saw("a"), *START, act("b", "r"), {"messages": []}])
    assert [str(f) for f in found[:1]] == ["('bad_json', 'x')"]
    one, two, other = (f for f in found[1:] if isinstance(f, Trajectory))
    assert [problem(m) and m["role"] for m in one.segments[0].messages] == [*[None] * 4, "assistant"]
    assert [len(t.segments[0].messages) for t in (two, other)] == [3, 0]


def test_what_matches() -> None:
    others = ({"history": [{"role": "user"}]}, {"kind": "x"}, {"id": 1, "source": "a", "kind": 5}, [], None)
    assert not any(READER.matches(record) for record in others)


RUN: list[Any] = [
    system(dynamic=text("x")),
    *START[1:],
    act("a", "r"),
    act("b", "r", ""),
    saw("a", "TerminalObservation", metadata={"exit_code": 0}),
    saw("b"),
    event("Condensation", "c", forgotten_event_ids=["ob"], summary="s", summary_offset=1),
    act("d", "q", thinking_blocks=[{"thinking": "t"}]),
    event("AgentErrorEvent", "e", tool_call_id="d", error="x"),
]


@settings(max_examples=80)
@given(st.booleans(), st.data())
def test_a_broken_stream_never_raises(bare: bool, data: st.DataObject) -> None:  # noqa: FBT001
    records = data.draw(broken(RUN if bare else [{"instance_id": "i", "history": RUN, "test_result": 1}]))
    check_broken(records)
    check_broken(records, "openhands_sdk")
