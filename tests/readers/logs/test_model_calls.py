from typing import Any

from pivotmine.readers.logs.model_calls import ModelCall, segments_of
from pivotmine.readers.trajectory import Segment


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def says(text: str, **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **fields}


def call(context: list[Any], reply: Any, **fields: Any) -> ModelCall:
    return ModelCall(context=context, reply=reply, **fields)


def test_a_context_that_grows_is_one_segment() -> None:
    first = [user("a"), says("few-shot"), user("b")]
    second = [*first, says("1"), says("put in"), user("c")]
    last = call([*second, says("2"), user("d")], None)
    found = segments_of([call(first, says("1")), call(second, says("2"), answer=(user("d"),)), last])
    shot, put = says("few-shot", weight=0), says("put in", weight=0)
    expected = [user("a"), shot, user("b"), says("1"), put, user("c"), says("2"), user("d")]
    assert found == (Segment(messages=expected),)


def test_a_rewritten_context_is_a_segment_whose_beginning_is_inherited() -> None:
    first = call([user("a")], says("1"), answer=(user("seen"),))
    second = call([user("sum"), says("1")], says("2"), answer=(user("late"),))
    assert segments_of([first, second]) == (
        Segment(messages=[user("a"), says("1"), user("seen")]),
        Segment(messages=[user("sum"), says("1"), says("2"), user("late")], num_inherited=2),
    )


def test_an_agent_goes_on_where_it_was_when_its_sub_agent_is_done() -> None:
    main = [user("a")]
    calls = [
        call(main, says("1")),
        call([user("sub")], says("s1")),
        call([user("sub"), says("s1"), user("x")], says("s2")),
        call([*main, says("1"), user("b")], says("2")),
    ]
    assert segments_of(calls) == (
        Segment(messages=[user("a"), says("1"), user("b"), says("2")]),
        Segment(messages=[user("sub"), says("s1"), user("x"), says("s2")], num_inherited=1),
    )


def test_the_same_state_answered_again_and_other_tools_are_segments() -> None:
    tools = [{"function": {"name": "f"}}]
    again = [call([user("a")], says("1")), call([user("a")], says("2"))]
    assert [(s.num_inherited, s.messages) for s in segments_of(again)] == [
        (0, [user("a"), says("1")]),
        (1, [user("a"), says("2")]),
    ]
    grown = [call([user("a")], says("1")), call([user("a"), says("1"), user("b")], says("2"), tools=tools)]
    assert [(s.num_inherited, s.tools) for s in segments_of(grown)] == [(0, None), (3, tools)]


def test_of_the_segments_that_fit_the_longest_grows() -> None:
    tools = [{"function": {"name": "f"}}]
    long = [user("a"), says("1"), user("b")]
    calls = [call(long[:1], says("1")), call(long, says("2"), tools=tools)]
    found = segments_of([*calls, call([*long, says("2"), user("c")], None)])
    assert [len(s.messages) for s in found] == [2, 5]
    assert segments_of([call([user("a")], None)]) == (Segment(messages=[user("a")]),)
