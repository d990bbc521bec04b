import json
from typing import Any

import pytest
from hostile import broken, check_broken, read_records
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import needs_real_data, real_file, trajectories, turns_of

from pivotmine.messages import problem
from pivotmine.readers import detect
from pivotmine.readers.openhands import READER
from pivotmine.readers.trajectory import BadTrajectory, Trajectory
from pivotmine.sources.json_records import Record

TOOLS = [{"type": "function", "function": {"name": "execute_bash", "parameters": {"type": "object"}}}]


def system(identity: int = 0) -> dict[str, Any]:
    return {"id": identity, "source": "agent", "action": "system", "args": {"content": "Rules.", "tools": TOOLS}}


def said(identity: int, text: str, source: str = "user") -> dict[str, Any]:
    return {"id": identity, "source": source, "action": "message", "args": {"content": text, "image_urls": None}}


def response(name: str, *calls: str, content: str = "I act.") -> dict[str, Any]:
    functions = [{"id": c, "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}} for c in calls]
    message = {"role": "assistant", "content": content, "tool_calls": functions or None, "function_call": None}
    return {"id": name, "choices": [{"finish_reason": "stop", "index": 0, "message": message}]}


def ran(identity: int, call: str, model: dict[str, Any], action: str = "run", **args: Any) -> dict[str, Any]:
    metadata = {"function_name": "f", "tool_call_id": call, "model_response": model, "total_calls_in_response": 1}
    return {"id": identity, "source": "agent", "action": action, "args": args, "tool_call_metadata": metadata}


def saw(identity: int, call: str | None, text: str, observation: str = "read", **extras: Any) -> dict[str, Any]:
    event = {"id": identity, "source": "agent", "observation": observation, "content": text, "extras": extras}
    return event if call is None else {**event, "tool_call_metadata": {"tool_call_id": call, "function_name": "f"}}


def pair(identity: int, call: str) -> list[dict[str, Any]]:
    return [ran(identity, call, response(f"r{call}", call)), saw(identity + 1, call, f"of {call}")]


def reply(*calls: str, content: str = "I act.") -> dict[str, Any]:
    made = [{"id": c, "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}} for c in calls]
    return {"role": "assistant", "content": content, **({"tool_calls": made} if made else {})}


def result(call: str, text: str | None = None) -> dict[str, Any]:
    return {"role": "tool", "content": text or f"of {call}", "tool_call_id": call}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


RULES = {"role": "system", "content": "Rules."}
START = [system(), said(1, "Do it.")]
BEGUN = [RULES, user("Do it.")]


def read(events: list[Any], **fields: Any) -> Trajectory:
    record = {"instance_id": "i", "history": events, **fields}
    assert detect(record) == "openhands"
    return READER.read(record)


def messages_of(*events: Any, **fields: Any) -> list[Any]:
    (segment,) = read([*START, *events], **fields).segments
    return segment.messages


def test_several_events_of_a_response_are_one_turn() -> None:
    model = response("r", "a", "b")
    events = [
        *START,
        ran(2, "a", model),
        ran(3, "b", model),
        saw(4, "b", "of b"),
        saw(5, "a", "of a"),
        said(6, "Ok.", "agent"),
    ]
    found = read(events)
    (segment,) = found.segments
    # The conversation memory orders the results as the calls are.
    assert segment.messages == [*BEGUN, reply("a", "b"), result("a"), result("b"), reply(content="Ok.")]
    assert (segment.tools, segment.num_inherited, found.task_id, found.outcome) == (TOOLS, 0, "i", None)
    assert found.metadata == {}


def test_two_responses_with_the_same_id_are_two_turns() -> None:
    events = [ran(2, "a", response("mock", "a")), saw(3, "a", "of a"), ran(4, "b", response("mock", "b"))]
    assert messages_of(*events)[2:] == [reply("a"), result("a"), reply("b")]


def test_a_call_that_never_got_its_result_is_a_turn_and_no_state() -> None:
    events = [ran(2, "lost", response("r0", "lost")), said(3, "Stuck?"), *pair(4, "a")]
    first, second = read([*START, *events]).segments
    assert first.messages == [*BEGUN, reply("lost")]
    assert (second.num_inherited, second.messages) == (3, [*BEGUN, user("Stuck?"), reply("a"), result("a")])


def test_a_finished_run_that_goes_on_shows_no_call() -> None:
    done = ran(2, "f", response("r", "f", content="Done."), "finish", thought="Done.", final_thought="x")
    first, second = read([*START, done, said(3, "More."), *pair(4, "a")]).segments
    assert first.messages == [*BEGUN, reply("f", content="Done.")]
    assert second.messages[: second.num_inherited] == [*BEGUN, reply(content="Done."), user("More.")]
    assert second.messages[second.num_inherited :] == [reply("a"), result("a")]


def test_a_condensation_opens_a_segment() -> None:
    args = {"forgotten_event_ids": [2, 3], "summary": "Did a.", "summary_offset": 2}
    condensed = {"id": 4, "source": "agent", "action": "condensation", "args": args}
    old, new = read([*START, *pair(2, "a"), condensed, *pair(5, "b")]).segments
    assert old.messages == [*BEGUN, reply("a"), result("a")]
    assert (new.num_inherited, new.messages) == (3, [*BEGUN, user("Did a."), reply("b"), result("b")])
    by_range = {"forgotten_events_start_id": 2, "forgotten_events_end_id": 6, "summary": "All.", "summary_offset": 2}
    again = {"id": 7, "source": "agent", "action": "condensation", "args": by_range}
    *_, newest = read([*START, *pair(2, "a"), condensed, *pair(5, "b"), again, *pair(8, "c")]).segments
    assert newest.messages == [*BEGUN, user("All."), reply("c"), result("c")]


def test_a_delegate_has_a_context_of_its_own() -> None:
    delegated = ran(2, "d", response("r", "d"), "delegate")
    inner = [system(3), said(4, "TASK: look"), *pair(5, "a")]
    back = saw(7, "d", "unused", "delegate", outputs={"content": "It is there."})
    main, sub = read([*START, delegated, *inner, back, *pair(8, "b")]).segments
    assert main.messages == [*BEGUN, reply("d"), result("d", "It is there."), reply("b"), result("b")]
    assert (sub.num_inherited, sub.messages[2:]) == (2, [reply("a"), result("a")])
    assert sub.messages[:2] == [RULES, user("TASK: look")]


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (
            saw(2, "a", "x", "run", metadata={"exit_code": 1, "working_dir": "/w", "prefix": "<", "suffix": ">"}),
            "<x>\n[Current working directory: /w]\n[Command finished with exit code 1]",
        ),
        (
            saw(2, "a", "x", "run", metadata={"exit_code": -1, "py_interpreter_path": "/py"}),
            "x\n[Python interpreter: /py]",
        ),
        (
            saw(2, "a", "![image](data:image/png;base64,AAAA)\ny", "run_ipython"),
            "![image](data:image/png;base64, ...) already displayed to user\ny",
        ),
        (saw(2, "a", "no", "error"), "no\n[Error occurred in processing last action]"),
        (saw(2, "a", "no", "user_rejected"), "OBSERVATION:\nno\n[Last action has been rejected by the user]"),
        (saw(2, "a", "0123456789ab", "mcp"), "01234\n[... Observation truncated due to length ...]\n789ab"),
        (saw(2, "a", "0123456789ab", "read"), "0123456789ab"),
    ],
)
def test_an_observation_is_what_the_model_saw(event: dict[str, Any], text: str) -> None:
    limit = {"llm_config": {"max_message_chars": 10}} if "0123" in event["content"] else {}
    assert messages_of(ran(2, "a", response("r", "a")), event, metadata=limit)[3] == result("a", text)


def test_a_command_of_the_user_is_the_users() -> None:
    command = {"id": 2, "source": "user", "action": "run", "args": {"command": "ls"}}
    seen = saw(3, None, "a.py", "run", metadata={"exit_code": 0})
    found = messages_of(command, seen, said(4, "Ok.", "agent"))[2:4]
    text = "\nObserved result of command executed by user:\na.py\n[Command finished with exit code 0]"
    assert found == [user("User executed the command:\nls"), user(text)]


def test_recalled_knowledge_is_shown_once() -> None:
    knowledge = [
        {"name": "git", "trigger": "git", "content": "Use it."},
        {"name": "off", "trigger": "x", "content": "y"},
    ]
    about = {
        "recall_type": "workspace_context",
        "repo_name": "r",
        "repo_directory": "/r",
        "date": "2025-01-02",
        "runtime_hosts": {"http://h": 1},
        "microagent_knowledge": knowledge,
        "repo_instructions": "Be kind.",
    }
    again = {"recall_type": "knowledge", "microagent_knowledge": knowledge}
    events = [
        saw(2, None, "Added", "recall", **about),
        saw(3, None, "Added", "recall", **again),
        said(4, "Ok.", "agent"),
    ]
    metadata = {"agent_config": {"disabled_microagents": ["off"]}}
    (text,) = [m["content"] for m in messages_of(*events, metadata=metadata)[2:-1]]
    expected = """<REPOSITORY_INFO>
At the user's request, repository r has been cloned to the current working directory /r.
</REPOSITORY_INFO>
<REPOSITORY_INSTRUCTIONS>
Be kind.
</REPOSITORY_INSTRUCTIONS>
<RUNTIME_INFORMATION>
The user has access to the following hosts for accessing a web application,
each of which has a corresponding port:
* http://h (port 1)
"""
    assert text.startswith(expected)
    assert "Today's date is 2025-01-02 (UTC).\n</RUNTIME_INFORMATION>\n<EXTRA_INFO>\n" in text
    assert text.count("Use it.") == 1
    assert text.endswith("\n\nUse it.\n</EXTRA_INFO>")
    assert len(messages_of(*events, metadata={"agent_config": {"enable_prompt_extensions": False}})) == 3


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (
            {"id": 2, "source": "agent", "action": "run", "args": {"command": "ls", "thought": "Hm."}},
            "unrecorded_context",
        ),
        (ran(2, "a", {"id": "r"}), "bad_message"),
        (ran(2, "a", {"id": "r", "choices": [{"message": {"role": "assistant", "tool_calls": [5]}}]}), "bad_message"),
        (saw(2, None, None), "bad_message"),  # pyright: ignore[reportArgumentType]
        (5, "bad_message"),
        ({**said(2, "x"), "args": {"content": "x", "image_urls": ["data:"]}}, "image"),
    ],
)
def test_what_cannot_be_read_ends_what_can_be_used(event: Any, reason: str) -> None:
    found = messages_of(*pair(10, "b"), event, *pair(20, "a"))
    reasons = [p[0] for p in map(problem, found) if p]
    assert (reasons, found[:4], found[-2:]) == ([reason], [*BEGUN, reply("b"), result("b")], [reply("a"), result("a")])


def test_a_condenser_that_records_nothing_makes_a_reject() -> None:
    with pytest.raises(BadTrajectory, match="unrecorded_context"):
        read(START, metadata={"condenser_config": {"type": "observation_masking"}})
    assert messages_of(metadata={"condenser_config": {"type": "llm"}}) == BEGUN


def test_bare_events_are_a_stream_until_their_ids_start_anew() -> None:
    events = [*START, *pair(2, "a"), *START, *pair(2, "b")]
    one, two = read_records(events)
    assert isinstance(one, Trajectory)
    assert isinstance(two, Trajectory)
    assert [t.segments[0].messages[2:] for t in (one, two)] == [[reply(c), result(c)] for c in "ab"]


def test_a_stream_that_lost_an_event_is_used_up_to_there() -> None:
    lost = Record(4, None, ("bad_json", "x"))
    found = read_records([*START, *pair(2, "a"), lost, *pair(5, "b")])
    assert str(found[0]) == "('bad_json', 'x')"
    assert isinstance(found[1], Trajectory)
    (segment,) = found[1].segments
    assert [problem(m) and m["role"] for m in segment.messages] == [*[None] * 4, "assistant", None, None]


def test_a_stream_that_begins_in_the_middle_is_used_for_nothing() -> None:
    (found,) = read_records(pair(7, "a"))
    assert isinstance(found, Trajectory)
    assert [problem(m) and problem(m)[0] for m in found.segments[0].messages] == ["unrecorded_context", None, None]  # pyright: ignore[reportOptionalSubscript]
    assert found.metadata == {"unrecorded": ["system prompt", "tools"]}


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({}, None),
        ({"report": {"resolved": True}}, 1.0),
        ({"test_result": {"git_patch": "x", "report": {"resolved": False}}}, 0.0),
        ({"test_result": {"git_patch": "x"}, "error": "Agent reached maximum iteration"}, 0.0),
        ({"test_result": {"resolved": True}, "error": "late"}, 1.0),
        ({"test_result": {"result": True, "agent_answer": 3}}, 1.0),
        ({"test_result": 0.5}, 0.5),
        ({"resolved": False}, 0.0),
    ],
)
def test_outcomes(fields: dict[str, Any], outcome: float | None) -> None:
    assert read([*START, *pair(2, "a")], **fields).outcome == outcome


def test_what_matches() -> None:
    others = (
        {"history": [{"role": "user"}]},
        {"history": []},
        {"action": "x"},
        {"source": "a", "kind": "x", "action": "y"},
        [],
    )
    assert not any(READER.matches(record) for record in others)


@needs_real_data
def test_the_real_run() -> None:
    path = real_file("openhands/output-first.jsonl")
    record = json.loads(path.read_text())
    (found,) = trajectories(path, "openhands")
    responses = {
        e["tool_call_metadata"]["model_response"]["id"]: e["tool_call_metadata"]["model_response"]["choices"][0][
            "message"
        ]
        for e in record["history"]
        if e.get("action") and "tool_call_metadata" in e
    }
    turns = turns_of(found)
    assert [t["content"] for t in turns] == [m["content"] for m in responses.values()]
    calls = [(c["id"], c["function"]["name"], c["function"]["arguments"]) for t in turns for c in t["tool_calls"]]
    made = [c for m in responses.values() for c in m["tool_calls"]]
    assert calls == [(c["id"], c["function"]["name"], c["function"]["arguments"]) for c in made]
    seen = {
        e["tool_call_metadata"]["tool_call_id"]: e
        for e in record["history"]
        if e.get("observation") not in (None, "recall")
    }
    (segment,) = found.segments
    results = {m["tool_call_id"]: m["content"] for m in segment.messages if m["role"] == "tool"}
    assert list(results) == list(seen)
    for call, event in seen.items():
        text = event["content"]
        if event["observation"] == "run":
            about = event["extras"]["metadata"]
            text += about["suffix"] + f"\n[Current working directory: {about['working_dir']}]"
            text += f"\n[Command finished with exit code {about['exit_code']}]"
        assert results[call] == text
    assert len(segment.messages) == 3 + len(turns) + len(seen)
    assert segment.tools == record["history"][0]["args"]["tools"]
    assert (found.task_id, found.outcome) == (record["instance_id"], None)


CONDENSED = {
    "id": 8,
    "source": "agent",
    "action": "condensation",
    "args": {"forgotten_event_ids": [4, 5], "summary": "s", "summary_offset": 2},
}
RUN: list[Any] = [
    *START,
    saw(
        2,
        None,
        "Added",
        "recall",
        recall_type="workspace_context",
        microagent_knowledge=[{"name": "g", "content": "c"}],
    ),
    *pair(4, "a"),
    ran(6, "d", response("rd", "d", "e"), "delegate"),
    system(7),
    *pair(20, "x"),
    saw(7, "d", "z", "delegate", outputs={"content": "It is."}),
    CONDENSED,
    *pair(9, "b"),
]


@settings(max_examples=80)
@given(st.booleans(), st.data())
def test_a_broken_stream_never_raises(bare: bool, data: st.DataObject) -> None:  # noqa: FBT001
    records = data.draw(
        broken(RUN if bare else [{"instance_id": "i", "history": RUN, "test_result": {"resolved": True}}])
    )
    check_broken(records)
    check_broken(records, "openhands")


@needs_real_data
@settings(max_examples=15)
@given(st.data())
def test_a_broken_real_run_never_raises(data: st.DataObject) -> None:
    record = json.loads(real_file("openhands/output-first.jsonl").read_text())
    record["history"] = record["history"][:12]
    del record["instance"], record["metrics"]
    check_broken(data.draw(broken([record])))
