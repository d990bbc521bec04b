"""The published single-step rewards: every rule, every leak, and the rewards that NVIDIA recorded."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pivotmine import strict_json
from pivotmine.actions.action import Action, ToolCall, Unparsed
from pivotmine.errors import UserError
from pivotmine.verifiers import Outcome, State, Verdict, make_spec, passes_gate, verify
from pivotmine.verifiers.published.gym_single_step import arguments_match
from pivotmine.verifiers.tool_calls.matching import maximum_matching

NAME = "gym_single_step"
BROKEN = Unparsed(text="<tool_call>{", reason="not JSON")


def call(name: str = "search", **arguments: Any) -> ToolCall:
    return ToolCall(name=name, arguments=arguments)


def action(*calls: ToolCall, **more: Any) -> Action:
    return Action(tool_calls=calls, **more)


def reward(demonstrated: Action, given: Action, **options: Any) -> float | None:
    verdict = verify(make_spec(NAME, options), State(), [demonstrated], given)
    assert (verdict.reward == 1.0) == (verdict.outcome == Outcome.CORRECT)
    assert (verdict.reward is None) == (verdict.outcome == Outcome.ERROR)
    assert (0 < (verdict.reward or 0) < 1) == (verdict.outcome == Outcome.PARTIAL)
    return verdict.reward


def texts(demonstrated: Any, given: Any, threshold: float = 0.1) -> bool:
    return reward(action(call(q=demonstrated)), action(call(q=given)), threshold=threshold) == 1.0


RIGHT, WRONG = call(query="red shoes"), call("grep", pattern="x")


def test_leak_any_text_passes_for_a_demonstrated_message() -> None:
    gold = Action(message="Which order do you mean?")
    for message in ("Which order do you mean?", "No.", ""):
        assert reward(gold, Action(message=message)) == 1.0
    assert reward(gold, action(RIGHT, message="Which order do you mean?")) == 0.0


def test_leak_a_truncated_or_unreadable_action_is_a_message() -> None:
    gold = Action(message="Which order do you mean?")
    assert reward(gold, Action(truncated=True)) == 1.0
    assert reward(gold, Action(unparsed=(BROKEN,))) == 1.0
    assert reward(action(RIGHT), action(RIGHT, truncated=True)) == 1.0
    assert reward(action(RIGHT), action(RIGHT, unparsed=(BROKEN,))) == 1.0
    assert reward(action(RIGHT), Action(unparsed=(BROKEN,))) == 0.0


def test_leak_many_calls_that_contain_the_right_one() -> None:
    spam = [call(query=f"x {i}") for i in range(19)]
    assert reward(action(RIGHT), action(*spam, RIGHT)) == 1.0
    assert reward(action(RIGHT), action(*spam, RIGHT), version="before") == 0.0
    assert reward(action(RIGHT), action(RIGHT, *spam), version="before") == 1.0


def test_leak_a_wrong_call_before_the_right_one() -> None:
    assert reward(action(RIGHT), action(WRONG, RIGHT)) == 1.0
    assert reward(action(RIGHT), action(WRONG, RIGHT), version="before") == 0.0
    assert reward(action(RIGHT), action(RIGHT, WRONG), version="before") == 1.0


def test_leak_half_of_the_words() -> None:
    assert texts("cheap red running shoes", "cheap red winter boots")
    # Two shared words of eight are 0.25.
    assert texts("cheap red running shoes", "cheap red winter boots", 0.25)
    assert not texts("cheap red running shoes", "cheap red winter boots", 0.3)


def test_leak_no_word_in_common() -> None:
    assert texts("rm -rf build", "echo all done", 0.0)
    assert not texts("rm -rf build", "echo all done")


def test_leak_the_same_words_in_another_order() -> None:
    assert texts("delete bob keep alice", "Delete Alice keep Bob", 0.5)


def test_leak_true_for_one() -> None:
    assert texts(1, True)
    assert not texts(True, 1)
    assert not texts(0, None)


def test_leak_the_easiest_call_alone_and_junk_beside_them() -> None:
    both, junk = action(RIGHT, WRONG), [call("x", i=i) for i in range(20)]
    on: dict[str, Any] = {"parallel_tool_call_rewarding": True}
    for mode in ("binary_strict", "fractional"):
        assert reward(both, action(RIGHT), **on, mode=mode, allow_subset=True) == 1.0
        assert reward(both, action(RIGHT, WRONG, *junk), **on, mode=mode, allow_superset=True) == 1.0


REFUSED = [
    (1, 1.0),
    (1.0, 1),
    ("Paris", "paris"),
    ("", " "),
    ("a", "a "),
    ([1, 2], [2, 1]),
    ([1], [1, 1]),
    ({"a": 1}, {"a": 1, "b": None}),
    ({"a": 1, "b": None}, {"a": 1}),
    (0.0, 1e-6),
    (1e9, 1e9 + 1),
    (None, 0),
    ("two words", "words"),
]


@pytest.mark.parametrize(("one", "other"), REFUSED)
def test_values_that_published_rules_keep_apart(one: Any, other: Any) -> None:
    assert not texts(one, other)


PASSED = [({"a": 1, "b": 2}, {"b": 2, "a": 1}), (0.0, 9e-7), ("Two Words", "two  WORDS"), ([["a"], {}], [["a"], {}])]


@pytest.mark.parametrize(("one", "other"), PASSED)
def test_values_that_published_rules_take_for_one(one: Any, other: Any) -> None:
    assert texts(one, other)
    assert texts(other, one)


def test_names_are_equal_to_the_letter() -> None:
    for name in ("Search", "search ", "grep"):
        assert reward(action(RIGHT), action(call(name, query="red shoes"))) == 0.0


def test_a_demonstration_fails_its_own_gate_above_a_half() -> None:
    gold = action(call(query="identical strings of several words"))
    assert reward(gold, gold, threshold=0.5) == 1.0
    assert reward(gold, gold, threshold=0.51) == 0.0
    assert passes_gate(make_spec(NAME, {"threshold": 0.51}), State(), gold).outcome == Outcome.WRONG_ARGUMENTS


def test_calls_are_matched_as_a_set_and_as_well_as_can_be() -> None:
    # The first wanted call could also take what only the second can.
    wide, narrow = call(query="a b c"), call(query="a b d")
    only_wide, either = call(query="c x y"), call(query="a b")
    assert reward(action(wide, narrow), action(either, only_wide)) == 1.0
    assert reward(action(wide, narrow), action(only_wide, either)) == 1.0
    assert reward(action(wide, narrow), action(only_wide, only_wide)) == 0.0
    assert reward(action(RIGHT, RIGHT), action(RIGHT)) == 0.0


def test_the_modes_of_parallel_rewarding() -> None:
    on: dict[str, Any] = {"parallel_tool_call_rewarding": True, "allow_subset": True, "allow_superset": True}
    three = action(*(call("f", i=i) for i in range(3)))
    two, four = action(*three.tool_calls[:2]), action(*three.tool_calls, call("f", i=9))
    half = action(call("f", i=0), call("f", i=9), call("f", i=9))
    assert [reward(three, given, **on) for given in (two, three, four, half)] == [1, 1, 1, 0]
    assert [reward(three, given, **on, mode="f1") for given in (two, three, four, half)] == [4 / 5, 1, 6 / 7, 2 / 6]
    assert [reward(three, given, **on, mode="fractional") for given in (two, three, four, half)] == [1, 1, 1, 1 / 3]
    strict = {"parallel_tool_call_rewarding": True, "mode": "f1"}
    assert [reward(three, given, **strict) for given in (two, three, four, half)] == [0, 1, 0, 2 / 6]
    assert [reward(three, given) for given in (two, three, four, half)] == [0, 1, 1, 0]


def test_before_there_were_no_several_calls_to_demonstrate() -> None:
    assert reward(action(RIGHT, WRONG), action(RIGHT, WRONG), version="before") is None


def test_outcomes_say_what_was_wrong() -> None:
    def verdict(*calls: ToolCall, **options: Any) -> Verdict:
        return verify(make_spec(NAME, options), State(), [action(RIGHT)], action(*calls))

    on = {"parallel_tool_call_rewarding": True}
    assert verdict() == Verdict(0.0, Outcome.WRONG_KIND, "a message, demonstrated search")
    assert verdict(WRONG) == Verdict(0.0, Outcome.WRONG_TOOL, "calls matched: 0 of 1")
    assert verdict(call(query="x")) == Verdict(0.0, Outcome.WRONG_ARGUMENTS, "calls matched: 0 of 1")
    assert verdict(RIGHT, RIGHT, **on) == Verdict(0.0, Outcome.SURPLUS_CALLS, "calls: 2, demonstrated 1")


def test_unknown_versions_and_modes_are_refused() -> None:
    with pytest.raises(UserError, match='option version: choose one of before, after, not "2463"'):
        make_spec(NAME, {"version": "2463"})
    with pytest.raises(UserError, match='option mode: choose one of binary_strict, fractional, f1, not "f2"'):
        make_spec(NAME, {"mode": "f2"})


@settings(max_examples=40)
@given(st.lists(st.lists(st.integers(0, 4), max_size=5, unique=True), max_size=5))
def test_the_matching_is_the_largest(edges: list[list[int]]) -> None:
    def best(at: int, taken: frozenset[int]) -> int:
        if at == len(edges):
            return 0
        free = [j for j in edges[at] if j not in taken]
        return max([best(at + 1, taken), *(1 + best(at + 1, taken | {j}) for j in free)])

    assert len(maximum_matching(edges)) == best(0, frozenset())


JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=9)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=2), inner, max_size=3)),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(JSON, JSON)
def test_any_values_are_compared_and_match_themselves(one: Any, other: Any) -> None:
    assert texts(one, other) in (True, False)
    assert arguments_match(one, one, 0.5)


def recorded(name: str) -> list[dict[str, Any]]:
    folder = Path(os.environ["PIVOTMINE_REAL_DATA"]) / "nemo-gym/single_step_tool_use_with_argument_comparison"
    return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]


def demonstrated_action(expected: dict[str, Any]) -> Action:
    if expected["type"] == "message":
        return Action(message=expected["content"])
    calls = expected["calls"] if expected["type"] == "function_call_batch" else [expected]
    return action(*(ToolCall(name=c["name"], arguments=strict_json.loads(c["arguments"])) for c in calls))


def response_action(output: list[dict[str, Any]]) -> Action:
    calls = [item for item in output if item["type"] == "function_call"]
    texts = [part["text"] for item in output if item["type"] == "message" for part in item["content"]]
    found = (ToolCall(name=c["name"], arguments=strict_json.loads(c["arguments"])) for c in calls)
    return action(*found, message="".join(texts[:1]))


@pytest.mark.skipif("PIVOTMINE_REAL_DATA" not in os.environ, reason="needs the real data folder")
def test_the_recorded_rewards_agree() -> None:
    rows = recorded("example_rollouts.jsonl")
    assert {row["reward"] for row in rows} == {0.0, 1.0}
    for row in rows:
        given = response_action(row["response"]["output"])
        for version in ("before", "after"):
            assert reward(demonstrated_action(row["expected_action"]), given, version=version) == row["reward"]


@pytest.mark.skipif("PIVOTMINE_REAL_DATA" not in os.environ, reason="needs the real data folder")
def test_the_example_demonstrations_pass_their_own_gate() -> None:
    for row in (*recorded("example.jsonl"), *recorded("parallel_example.jsonl")):
        gold = demonstrated_action(row["expected_action"])
        for options in ({}, {"parallel_tool_call_rewarding": True, "mode": "f1"}):
            assert passes_gate(make_spec(NAME, options), State(), gold).reward == 1.0


def test_an_unreadable_extra_call_counts_where_calls_are_counted() -> None:
    given = action(RIGHT, unparsed=(BROKEN,))
    counted = {"parallel_tool_call_rewarding": True}
    assert reward(action(RIGHT), given) == 1.0
    assert reward(action(RIGHT), given, **counted) == 0.0
    assert reward(action(RIGHT), given, **counted, allow_superset=True, mode="f1") == pytest.approx(2 / 3)
    assert reward(action(RIGHT, WRONG), given, **counted, mode="f1") == 0.5
    assert reward(action(RIGHT), given, version="before") == 1.0
