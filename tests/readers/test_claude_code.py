from typing import Any

import pytest
from hostile import broken, check_broken, read_records
from hypothesis import given, settings

from pivotmine.messages import problem
from pivotmine.readers.claude_code import READER
from pivotmine.readers.trajectory import Trajectory
from pivotmine.sources.json_records import Record


def line(kind: str, identity: str, parent: str | None, message: Any = None, **fields: Any) -> dict[str, Any]:
    placed = {"uuid": identity, "parentUuid": parent, "sessionId": "s", "type": kind, "isSidechain": False}
    about = {"cwd": "/w", "version": "2.0.1", "timestamp": "2025-11-01T00:00:00Z", "userType": "external"}
    return {**placed, **about, **({} if message is None else {"message": message}), **fields}


def asked(identity: str, parent: str | None, content: Any, **fields: Any) -> dict[str, Any]:
    return line("user", identity, parent, {"role": "user", "content": content}, **fields)


def answered(identity: str, parent: str, response: str, *blocks: Any, **fields: Any) -> dict[str, Any]:
    message = {"id": response, "type": "message", "role": "assistant", "model": "m", "content": list(blocks)}
    return line("assistant", identity, parent, message | fields.pop("message", {}), requestId="q", **fields)


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def uses(call: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": call, "name": "Bash", "input": {"command": call}}


def gives(call: str, **fields: Any) -> list[dict[str, Any]]:
    return [{"type": "tool_result", "tool_use_id": call, "content": f"of {call}", **fields}]


def reply(content: str, *calls: str, **fields: Any) -> dict[str, Any]:
    made = [
        {"id": c, "type": "function", "function": {"name": "Bash", "arguments": f'{{"command":"{c}"}}'}} for c in calls
    ]
    return {"role": "assistant", "content": content, **({"tool_calls": made} if made else {}), **fields}


def user(content: str) -> dict[str, Any]:
    return {"role": "user", "content": content}


def result(call: str, **fields: Any) -> dict[str, Any]:
    return {"role": "tool", "content": f"of {call}", "tool_call_id": call, **fields}


def read(*lines: Any) -> Trajectory:
    (found,) = (r for r in read_records(lines) if isinstance(r, Trajectory))
    return found


def segments(*lines: Any) -> list[tuple[int, list[Any]]]:
    return [(s.num_inherited, s.messages) for s in read(*lines).segments]


FIRST = [asked("1", None, "Do it."), answered("2", "1", "m1", text("Ok.")), asked("3", "2", [text("More.")])]


def test_the_lines_of_a_response_are_one_turn() -> None:
    found = read(
        {"type": "summary", "summary": "About it", "leafUuid": "x"},
        {"type": "file-history-snapshot", "messageId": "1", "snapshot": {}, "isSnapshotUpdate": False},
        asked("1", None, "Do it."),
        line("attachment", "1a", "1", attachment={"type": "todo"}),
        answered("2", "1a", "m1", {"type": "thinking", "thinking": "Hm.", "signature": "x"}),
        answered("3", "2", "m1", text("I look.")),
        answered("4", "3", "m1", uses("a")),
        asked("5", "4", gives("a")),
        answered("6", "4", "m1", uses("b")),
        asked("7", "6", gives("b", is_error=True)),
        answered("8", "7", "m2", text("Done.")),
    )
    look = reply("I look.", "a", "b", reasoning_content="Hm.")
    expected = [user("Do it."), look, result("a"), result("b", is_error=True), reply("Done.")]
    assert [(s.num_inherited, s.messages, s.tools) for s in found.segments] == [(0, expected, None)]
    unrecorded = ["system prompt", "tools", "reminders"]
    about = {"sessionId": "s", "cwd": "/w", "version": "2.0.1", "summary": "About it", "unrecorded": unrecorded}
    assert (found.metadata, found.outcome) == (about, None)


@pytest.mark.parametrize("kind", ["queue-operation", "ai-title", "mode", "permission-mode", "pr-link"])
def test_lines_without_a_place_belong_to_the_session(kind: str) -> None:
    other = {"type": kind, "sessionId": "s"}
    assert read_records([other, *FIRST[:2], other]) == read_records(FIRST[:2])


def test_a_prompt_taken_back_opens_a_segment() -> None:
    again = [answered("4", "3", "m2", text("x")), asked("5", "2", "Other."), answered("6", "5", "m3", text("y"))]
    begun = [user("Do it."), reply("Ok.")]
    assert segments(*FIRST, *again) == [
        (0, [*begun, user("More."), reply("x")]),
        (3, [*begun, user("Other."), reply("y")]),
    ]


def test_a_sub_agent_has_a_context_of_its_own() -> None:
    side = [asked("s1", None, "Look.", isSidechain=True), answered("s2", "s1", "ms", uses("b"), isSidechain=True)]
    after = [
        asked("s3", "s2", gives("b"), isSidechain=True),
        asked("4", "3", gives("a")),
        answered("5", "4", "m2", text("x")),
    ]
    calls = [asked("1", None, "Do it."), answered("3", "1", "m1", uses("a"))]
    assert segments(*calls, *side, *after) == [
        (0, [user("Do it."), reply("", "a"), result("a"), reply("x")]),
        (1, [user("Look."), reply("", "b"), result("b")]),
    ]


def test_a_compaction_begins_anew() -> None:
    boundary = line(
        "system", "4", None, subtype="compact_boundary", logicalParentUuid="3", compactMetadata={"trigger": "auto"}
    )
    after = [asked("5", "4", "Summary.", isCompactSummary=True), answered("6", "5", "m2", text("x"))]
    begun, new = segments(*FIRST, boundary, *after)
    assert begun == (0, [user("Do it."), reply("Ok.")])
    assert new == (1, [user("Summary."), reply("x")])
    boundary["compactMetadata"]["preservedSegment"] = {"headUuid": "1"}
    _, (_, unknown) = segments(*FIRST, boundary, *after)
    assert problem(unknown[0]) == ("unrecorded_context", "a compaction kept or cleared single messages")


def test_what_no_model_said_is_no_turn() -> None:
    error = answered("4", "3", "e", text("API Error"), isApiErrorMessage=True, message={"model": "<synthetic>"})
    made_up = answered("5", "4", "f", text("No response requested."), message={"model": "<synthetic>"})
    after = [asked("6", "5", "Go."), answered("7", "6", "m2", text("x"))]
    ((_, messages),) = segments(*FIRST, error, made_up, *after)
    synthetic = reply("No response requested.", weight=0)
    assert messages[2:] == [user("More."), synthetic, user("Go."), reply("x")]


def test_a_line_whose_parent_is_missing_has_an_unknown_context() -> None:
    lost = Record(3, None, ("bad_json", "x"))
    found = read_records([*FIRST, lost, answered("5", "4", "m2", text("x"))])
    assert str(found[0]) == "('bad_json', 'x')"
    assert isinstance(found[1], Trajectory)
    known, unknown = found[1].segments
    assert known.messages == [user("Do it."), reply("Ok.")]
    assert [problem(m) for m in unknown.messages] == [
        ("unrecorded_context", "the line that this one follows is missing"),
        None,
    ]


@pytest.mark.parametrize(
    "content", [5, [5], [{"type": "server_tool_use", "id": "x"}], [{"type": "tool_use"}], [{"type": "text"}], None]
)
def test_a_reply_that_cannot_be_read_ends_what_can_be_used(content: Any) -> None:
    bad = answered("4", "3", "m2", message={"content": content})
    ((_, messages),) = segments(*FIRST, bad, answered("5", "4", "m3", text("x")))
    assert [problem(m) and m["role"] for m in messages] == [None, None, None, "assistant", None]


def test_results_without_calls_and_pictures_are_kept() -> None:
    orphan = asked("4", "3", [*gives("z"), text("See?")])
    picture = asked("5", "4", [{"type": "image", "source": {}}])
    ((_, messages),) = segments(*FIRST, orphan, picture, answered("6", "5", "m2", text("x")))
    assert messages[3:5] == [result("z"), user("See?")]
    assert problem(messages[5]) == ("image", "a content block")


def test_sessions_in_one_file_are_trajectories() -> None:
    other = [asked("a", None, "New."), answered("b", "a", "mb", text("x"))]
    other = [{**one, "sessionId": "t"} for one in other]
    resumed = [{**answered("4", "3", "m2", text("y")), "sessionId": "u"}]
    found = [r for r in read_records([*FIRST, *resumed, *other, {"messages": []}]) if isinstance(r, Trajectory)]
    assert [[len(s.messages) for s in t.segments] for t in found] == [[4], [2], [0]]


def test_what_matches() -> None:
    others = ({"type": "user"}, {"uuid": "1", "parentUuid": None, "sessionId": "s"}, {"type": "summary"}, [], None)
    assert not any(READER.matches(record) for record in others)


SESSION: list[Any] = [
    {"type": "summary", "summary": "x", "leafUuid": "y"},
    asked("1", None, "Do it."),
    answered("2", "1", "m1", {"type": "thinking", "thinking": "Hm."}, text("I look."), uses("a")),
    answered("3", "2", "m1", uses("b")),
    asked("4", "2", gives("a")),
    asked("5", "3", [{"type": "tool_result", "tool_use_id": "b", "content": [text("t")]}, text("And?")]),
    line("system", "6", None, subtype="compact_boundary", compactMetadata={}),
    asked("7", "6", "Summary.", isCompactSummary=True),
    answered("8", "7", "m2", text("Done.")),
]


@settings(max_examples=80)
@given(broken(SESSION))
def test_a_broken_session_never_raises(lines: list[Any]) -> None:
    check_broken(lines)
    check_broken(lines, "claude_code")
