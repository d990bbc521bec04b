import json
from typing import Any

import pytest
from reading import needs_real_data, real_file, records_of, trajectories, turns_of

from pivotmine import messages
from pivotmine.readers.trajectory import Segment, Trajectory
from pivotmine.readers.typed_content import matches, read


def block(kind: str, value: Any) -> dict[str, Any]:
    return {"type": kind, "value": value}


def message(role: str, *blocks: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"role": role, "content": list(blocks), **more}


FIND = block("tool_call", '{"name": "find", "arguments": {"id": 1}}')
STOP = block("tool_call", '{"name": "stop", "arguments": "{}"}')


def read_messages(*given: Any) -> list[Any]:
    return read({"messages": list(given)}).segments[0].messages


def test_a_record_with_everything() -> None:
    record = {
        "messages": [
            message("user", block("text", "find "), block("text", "it"), loss_weight=0.0),
            message("assistant", block("reasoning", "hm"), block("text", "I look."), FIND, STOP, loss_weight=1.0),
            message("tool", block("text", "found")),
            message("tool", block("text", "stopped")),
            message("assistant", block("text", "done"), name="a"),
        ],
        "tools": json.dumps([{"name": "find"}]),
        "reward": 1,
    }
    calls = [
        {"id": "call_0", "type": "function", "function": {"name": "find", "arguments": {"id": 1}}},
        {"id": "call_1", "type": "function", "function": {"name": "stop", "arguments": "{}"}},
    ]
    read_as = [
        {"role": "user", "content": "find it", "weight": 0.0},
        {
            "role": "assistant",
            "content": "I look.",
            "reasoning_content": "hm",
            "tool_calls": calls,
            "weight": 1.0,
        },
        {"role": "tool", "content": "found", "tool_call_id": "call_0"},
        {"role": "tool", "content": "stopped", "tool_call_id": "call_1"},
        {"role": "assistant", "content": "done", "extra": {"name": "a"}},
    ]
    tools = [{"type": "function", "function": {"name": "find"}}]
    assert read(record) == Trajectory(
        segments=(Segment(messages=read_as, tools=tools),), outcome=1.0, metadata={"reward": 1}
    )


@pytest.mark.parametrize(
    ("role", "bad", "reason"),
    [
        ("assistant", block("image_url", "x.png"), "image"),
        ("assistant", block("tool_call", "{oops"), "bad_message"),
        ("assistant", block("tool_call", "[]"), "bad_message"),
        ("assistant", block("text", 3), "bad_message"),
        ("assistant", {"type": "text", "text": "OpenAI's own form next to the typed one"}, "bad_message"),
        ("tool", FIND, "bad_message"),
        ("user", block("reasoning", "x"), "bad_message"),
        ("assistant", "text", "bad_message"),
    ],
)
def test_a_block_that_cannot_be_read_ends_the_state(role: str, bad: Any, reason: str) -> None:
    (found,) = read_messages(message(role, block("text", "fine"), bad))
    problem = messages.problem(found)
    assert problem is not None
    assert problem[0] == reason


def test_messages_in_openai_form_beside_typed_ones_stay_as_they_are() -> None:
    plain = [{"role": "user", "content": "x"}, {"role": "user", "content": [{"type": "text", "text": "y"}]}, "z"]
    assert read_messages(*plain, message("assistant", block("text", "w")))[:3] == plain


def test_what_matches() -> None:
    assert matches({"messages": [{"role": "user", "content": "x"}, message("user", block("text", "x"))]})
    others: list[Any] = [
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]},
        {"messages": [{"role": "user", "content": [{"type": "value", "value": "x"}]}]},
        {"messages": "content value"},
        {"messages": []},
        [message("user", block("text", "x"))],
        None,
    ]
    assert not any(matches(record) for record in others)


@needs_real_data
def test_the_v1_demo_as_independent_code_reads_it() -> None:
    path = real_file("llama-factory/v1_sft_demo.jsonl")
    records = records_of(path)
    found = trajectories(path, "typed_content")
    spoken = [
        [(m["role"], "".join(b["value"] for b in m["content"]), m["loss_weight"]) for m in r["messages"]]
        for r in records
    ]
    assert len(records) == 500
    assert [[(m["role"], m["content"], m["weight"]) for m in t.segments[0].messages] for t in found] == spoken
    assert sum(len(turns_of(t)) for t in found) == sum(who == "assistant" for r in spoken for who, _, _ in r) == 500
    assert {t.outcome for t in found} == {None}
