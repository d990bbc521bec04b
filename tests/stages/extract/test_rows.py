from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pivotmine import messages, strict_json
from pivotmine.actions import action_from_message, action_to_json
from pivotmine.readers.trajectory import Segment, Trajectory
from pivotmine_stages.extract.message_cache import KnownMessages
from pivotmine_stages.extract.rows import Place, Rows, store_trajectory

A, B, C, D = ({"role": role, "content": text} for role, text in zip(["user", "assistant"] * 2, "abcd", strict=True))
PLACE = Place("s.jsonl", 3)


def store(*segments: Segment, **labels: Any) -> tuple[bool, dict[str, list[dict[str, Any]]]]:
    rows = Rows()
    stored = store_trajectory(rows, Trajectory(segments=segments, **labels), reader="r", place=PLACE)
    return stored, {name: table.to_pylist() for name, table in rows.arrow().items()}


def test_what_a_segment_inherits_is_part_of_its_states_and_no_turn_again() -> None:
    first, second = Segment(messages=[A, B]), Segment(messages=[A, B, C, D], num_inherited=2)
    stored, tables = store(first, second)
    assert stored
    (trajectory,) = tables["trajectories"]
    identity = trajectory["trajectory_id"]
    assert (trajectory["num_segments"], trajectory["num_turns"]) == (2, 2)
    assert [(t["turn_id"], t["segment_id"], t["position"]) for t in tables["turns"]] == [
        (f"{identity}:0", f"{identity}/0", 1),
        (f"{identity}:1", f"{identity}/1", 3),
    ]
    assert [len(s["message_ids"]) for s in tables["segments"]] == [2, 4]
    assert len(tables["messages"]) == 4
    assert tables["rejects"] == []


def test_turns_lost_in_an_inherited_stretch_are_counted_where_they_were_taken() -> None:
    wizard = {"role": "wizard"}
    first = Segment(messages=[A, B, wizard, B])
    stored, tables = store(first, Segment(messages=[A, B, wizard, B, C, D], num_inherited=4))
    assert stored
    assert [t["position"] for t in tables["turns"]] == [1]
    lost = [(r["reason"], r["source"], r["source_index"], r["num_turns"], r["detail"]) for r in tables["rejects"]]
    assert lost == [("unknown_role", *PLACE, 1, "message 2: 'wizard'")] * 2


def test_a_trajectory_cut_to_nothing_is_counted_once() -> None:
    stored, tables = store(Segment(messages=[5, B, D]))
    assert not stored
    assert [(r["reason"], r["num_turns"]) for r in tables["rejects"]] == [("bad_message", 2)]
    assert tables["trajectories"] == tables["segments"] == tables["messages"] == tables["turns"] == []


def test_tools_and_segments_make_another_trajectory() -> None:
    rows = Rows()
    tool = {"type": "function", "function": {"name": "f"}}
    variants = [
        (Segment(messages=[A, B]),),
        (Segment(messages=[A, B], tools=[tool]),),
        (Segment(messages=[A, B]), Segment(messages=[A, B])),
        (Segment(messages=[A, B]), Segment(messages=[A, B], num_inherited=1)),
    ]
    assert [store_trajectory(rows, Trajectory(segments=v), reader="r", place=PLACE) for v in variants * 2] == [
        *(True,) * 4,
        *(False,) * 4,
    ]


def test_no_tools_are_no_tools_however_a_reader_says_so() -> None:
    assert store(Segment(messages=[A, B], tools=[])) == store(Segment(messages=[A, B]))


def test_a_message_with_floats_is_stored_and_named_as_the_standard_library_writes_it() -> None:
    _, tables = store(Segment(messages=[{**A, "score": 1e-05}, {**B, "big": 10**20}]))
    assert [row["message"] for row in tables["messages"]] == [
        '{"role":"user","content":"a","score":1e-05}',
        '{"role":"assistant","content":"b","big":100000000000000000000}',
    ]
    assert [row["message_id"] for row in tables["messages"]] == [
        "53a6fbd0f4af1ba2ff38d8fc4d125f17",
        "c4eb438facad213c4b76cc433f5eda69",
    ]


@pytest.mark.parametrize("labels", [{}, {"outcome": 1e-05}, {"metadata": {"cost": 1e-05}}, {"metadata": {"n": 2**64}}])
@pytest.mark.parametrize("tools", [None, [{"function": {"name": "f", "least": 1e-05}}]])
def test_a_trajectory_with_floats_does_not_depend_on_orjson(
    monkeypatch: pytest.MonkeyPatch, labels: dict[str, Any], tools: list[Any] | None
) -> None:
    tables = store(Segment(messages=[A, B], tools=tools), **labels)
    monkeypatch.setattr(strict_json, "_orjson", lambda: None)
    assert store(Segment(messages=[A, B], tools=tools), **labels) == tables


def test_messages_that_differ_in_key_order_alone_are_one_message() -> None:
    _, tables = store(Segment(messages=[A, B, dict(reversed(A.items())), B]))
    assert [row["message"] for row in tables["messages"]] == [
        '{"role":"user","content":"a"}',
        '{"role":"assistant","content":"b"}',
    ]
    (segment,) = tables["segments"]
    assert segment["message_ids"] == [tables["messages"][i]["message_id"] for i in (0, 1, 0, 1)]


@pytest.mark.parametrize("num_results", [0, 1, 3])
def test_any_result_that_fails_makes_a_failed_call(num_results: int) -> None:
    call = {"id": "c", "function": {"name": "f", "arguments": "{}"}}
    fine = {"role": "tool", "tool_call_id": "c", "content": "fine"}
    segment = [A, {**B, "tool_calls": [call]}, *[fine] * num_results, {**fine, "content": "Error: no"}, B, A]
    _, tables = store(Segment(messages=segment))
    assert [turn["reject_reason"] for turn in tables["turns"]] == ["failed_call", None]
    ended = [A, {**B, "tool_calls": [call]}, *[fine] * num_results, B, {**fine, "content": "Error: no"}]
    _, tables = store(Segment(messages=ended))
    assert [turn["reject_reason"] for turn in tables["turns"]] == [None] * (2 if num_results else 1)


deep: Any = 1.5
for _ in range(70):
    deep = [deep]
arguments = st.sampled_from(
    [
        *("{}", '{"b": 1, "a": " x"}', '{"a": 1e-7}', '{"a": 1E400}', '{"a": 1, "a": 2}', '{"a": "\\ud800"}', "[1]"),
        *("{oops", "", '{"a": 18446744073709551616}', strict_json.dumps({"a": deep}), None, 5),
        *({}, {"b": 1, "a": [{"c": None}]}, {"a": 1e-7}, {"a": 2**64}, {"a": deep}),
    ]
)
functions = st.builds(lambda given: {"name": "f", "arguments": given}, arguments) | st.just({"name": "f"})
calls = st.builds(
    lambda function, others: {"function": function, **others}, functions, st.sampled_from([{}, {"id": "c"}])
)
assistants = st.fixed_dictionaries(
    {
        "role": st.just("assistant"),
        "content": st.sampled_from([None, "", "a", " a\n", "<tool_call>", [{"type": "text", "text": "a "}]]),
    },
    optional={
        "tool_calls": st.none() | st.lists(calls, max_size=3),
        "function_call": st.none() | functions,
        "reasoning_content": st.sampled_from(["r ", None, 1e-7]),
        "weight": st.just(1e-7),
        "tool_call_id": st.just("c"),
    },
)


def called(*given_arguments: str, **others: Any) -> dict[str, Any]:
    functions = [{"name": "f", "arguments": one} for one in given_arguments]
    return {"role": "assistant", "content": None, "tool_calls": [{"function": one} for one in functions], **others}


@settings(max_examples=100, deadline=None)
@given(assistants)
@example(called('{"a": 1}', '{"a": 2}'))
@example(called('{"a": 1}', function_call={"name": "f", "arguments": '{"a": 2}'}))
@example(called('{"a": 1}', reasoning_content=1e-7))
def test_what_is_known_of_an_assistant_message_is_what_each_part_of_it_says_by_itself(message: dict[str, Any]) -> None:
    (known,) = KnownMessages().describe([message])
    assert known.text.decode() == strict_json.dumps(message)
    assert known.message_id == messages.message_id(message)
    assert known.seen == messages.seen(message)
    action = action_from_message(message)
    assert known.demonstration is not None
    assert (known.demonstration.kind, known.demonstration.action) == (action.kind, action_to_json(action))


def test_a_process_remembers_the_messages_that_may_return_in_another_block() -> None:
    known = KnownMessages()
    user, call = {"role": "user", "content": "Hi."}, {"id": "c", "function": {"name": "f", "arguments": "{}"}}
    segment = [user, {"role": "assistant", "content": None, "tool_calls": [call]}]
    segment.append({"role": "tool", "tool_call_id": "c", "content": "1"})
    before = known.describe(segment)
    known.end_block()
    assert [a is b for a, b in zip(before, known.describe(segment), strict=True)] == [True, False, False]
    # What a process remembers is bounded: by texts, and by the number of messages, each of which takes kilobytes.
    for many in (
        [{"role": "user", "content": "x" * (12 << 20)}],
        [{"role": "user", "content": f"{n}"} for n in range(6000)],
    ):
        (one, *_) = known.describe(many)
        known.end_block()
        assert known.describe(many[:1]) != [one]
