from typing import Any

import pytest

from pivotmine.readers import grouped, request_log
from pivotmine.readers.request_log import matches, read
from pivotmine.readers.trajectory import BadTrajectory, Segment, Trajectory
from pivotmine.sources.json_records import Record

TOOL = {"type": "function", "function": {"name": "find"}}


def asked(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def line(context: list[Any], reply: Any, **more: Any) -> dict[str, Any]:
    request = {"messages": context, "tools": [TOOL], "model": "m"}
    return {"request": request, "response": {"choices": [{"message": reply}]}, **more}


def read_log(*lines: Any) -> list[Trajectory]:
    records = [Record(number, value) for number, value in enumerate(lines)]
    return [read(record.value) for record in grouped(iter(records), "request_log")]


def shape(found: Trajectory) -> list[tuple[list[str], int]]:
    return [([m["content"] for m in s.messages], s.num_inherited) for s in found.segments]


def test_growing_prefixes_are_one_segment() -> None:
    first = [asked("a")]
    second = [*first, said("b"), asked("c")]
    whole = [*second, said("d")]
    (found,) = read_log(line(first, {**said("b"), "tool_calls": None}), line(second, said("d"), reward=1, task_id=3))
    assert found == Trajectory(
        segments=(Segment(messages=whole, tools=[TOOL], num_inherited=1),),
        task_id="3",
        outcome=1.0,
        metadata={"reward": 1, "task_id": 3},
    )


def test_calls_that_the_server_left_in_the_text_stay_there() -> None:
    """`conventions.settle` decides what they are."""
    text = '<tool_call>\n{"name": "find", "arguments": {"id": 7}}\n</tool_call>'
    first = [asked("a")]
    second = [*first, said(text), {"role": "tool", "content": "open"}]
    (found,) = read_log(line(first, said(text)), line(second, said("b")))
    (segment,) = found.segments
    assert segment.messages == [asked("a"), said(text), {"role": "tool", "content": "open"}, said("b")]
    assert segment.num_inherited == 1


def test_interleaved_conversations_are_told_apart() -> None:
    a, b = [asked("a")], [asked("b")]
    log = [line(a, said("A")), line(b, said("B")), line([*b, said("B"), asked("b2")], said("B2"))]
    found = read_log(*log, line([*a, said("A"), asked("a2")], said("A2")))
    assert [shape(t) for t in found] == [[(["b", "B", "b2", "B2"], 1)], [(["a", "A", "a2", "A2"], 1)]]


def test_a_session_joins_what_no_prefix_does() -> None:
    """A rewritten context opens a segment: only its new answer is a turn."""
    compacted = [asked("so far: A"), said("ok"), asked("go on")]
    log = [line([asked("a")], said("A"), session_id="s"), line(compacted, said("B"), metadata={"session_id": "s"})]
    (found,) = read_log(*log)
    assert shape(found) == [(["a", "A"], 1), (["so far: A", "ok", "go on", "B"], 3)]
    assert len(read_log(*({k: v for k, v in call.items() if k in ("request", "response")} for call in log))) == 2


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_a_prompt_that_leaves_the_reasoning_out_goes_on_in_another_segment(key: str) -> None:
    """What the model saw is another context, but no other conversation."""
    first, thought = [asked("a")], {**said("A"), key: "Hm."}
    second = [*first, said("A"), asked("b")]
    third = [*second, said("B"), asked("c")]
    (found,) = read_log(line(first, thought), line(second, said("B")), line(third, {**said("C"), key: "So."}))
    assert [s.messages for s in found.segments] == [[*first, thought], [*third, {**said("C"), key: "So."}]]
    assert [s.num_inherited for s in found.segments] == [1, 3]


def test_conversations_that_cannot_be_read_are_not_taken_for_one() -> None:
    broken = [{"role": "wizard"}, said("A")]
    found = read_log(line([{"role": "wizard"}], said("A")), line([*broken, asked("b")], said("B")))
    assert [len(t.segments) for t in found] == [1, 1]


def test_an_answer_that_was_not_logged_is_no_turn() -> None:
    """The line between is missing: what the model answered there was given to it, for all that the log says."""
    log = [line([asked("a")], said("A"), trace_id=1)]
    log.append(line([asked("a"), said("A"), asked("b"), said("B"), asked("c")], said("C"), trace_id=1))
    (found,) = read_log(*log)
    assert shape(found) == [(["a", "A"], 1), (["a", "A", "b", "B", "c", "C"], 5)]


def test_asked_again_is_another_answer_in_the_same_state() -> None:
    (found,) = read_log(*(line([asked("a")], said(text), session_id="s") for text in "AB"))
    assert shape(found) == [(["a", "A"], 1), (["a", "B"], 1)]


def test_what_is_no_call_comes_out_as_it_went_in() -> None:
    bad = Record(1, None, ("bad_json", "x"))
    several = {**line([asked("a")], said("A"))}
    several["response"] = {"choices": [{"message": said("A")}, {"message": said("B")}]}
    records = [Record(0, line([asked("a")], said("A"))), bad, Record(2, {"x": 1}), Record(3, several)]
    found = list(grouped(iter(records)))
    assert found[:3] == records[1:]
    assert [r.index for r in found[3:]] == [0]
    with pytest.raises(BadTrajectory, match="several_choices"):
        read(several)


def test_only_so_many_conversations_are_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_log, "MAX_OPEN", 2)
    records = iter([Record(n, line([asked(str(n))], said("x"))) for n in range(5)])
    found = grouped(records)
    assert next(found).index == 0
    assert next(records).index == 3  # read no further than it had to
    assert [record.index for record in found] == [1, 2, 4]


@pytest.mark.parametrize("response", [{}, {"choices": []}, {"choices": [{}]}, {"error": "busy"}])
def test_a_call_without_an_answer_is_a_bad_trajectory(response: Any) -> None:
    with pytest.raises(BadTrajectory, match="no_response"):
        read({"request": {"messages": []}, "response": response})


def test_what_matches() -> None:
    assert matches(line([], said("A")))
    assert matches({"messages": [], "response": {}})
    assert not any(matches(r) for r in ({"messages": []}, {"request": {}, "response": {}}, {"request": 1}, [], None))
