"""Several calls in one turn: how they are matched, and the effect of an extra or a missing one."""

import random

import pytest

from pivotmine.actions.action import Action, ToolCall
from pivotmine.verifiers import Outcome, State, Verdict, make_spec, verify
from pivotmine.verifiers.tool_calls.matching import maximum_matching, num_matched


def calls(*values: float | str) -> Action:
    return Action(tool_calls=tuple(ToolCall(name="f", arguments={"a": value}) for value in values))


def verdict(demonstrated: Action, given: Action, **options: object) -> Verdict:
    return verify(make_spec("tool_call", options), State(), [demonstrated], given)


@pytest.mark.parametrize(
    ("demonstrated", "given", "fractional", "f1"),
    [
        ("ab", "ba", 1.0, 1.0),
        ("a", "ab", 1 / 2, 2 / 3),
        ("a", "xa", 1 / 2, 2 / 3),
        ("ab", "a", 1 / 2, 2 / 3),
        ("ab", "ax", 1 / 2, 1 / 2),
        ("a", "abcdefghij", 1 / 10, 2 / 11),
        ("aab", "abb", 2 / 3, 2 / 3),
        ("ab", "xy", 0.0, 0.0),
        ("a", "x", 0.0, 0.0),
    ],
)
def test_part_credit_and_what_surplus_calls_cost(demonstrated: str, given: str, fractional: float, f1: float) -> None:
    one, other = calls(*demonstrated), calls(*given)
    strict = verdict(one, other)
    assert strict.reward == (1.0 if fractional == 1 else 0.0)
    for mode, reward in (("fractional", fractional), ("f1", f1)):
        found = verdict(one, other, parallel=mode)
        assert found.reward == pytest.approx(reward)
        if 0 < reward < 1:
            assert found.outcome == Outcome.PARTIAL
        else:
            assert found == strict
    assert verdict(calls("a"), calls("a", "b"), parallel="f1").detail == "calls: 1 match, 2 given, 1 demonstrated"


def test_part_credit_never_saves_a_call_that_is_wrong_by_its_schema() -> None:
    tools = ({"type": "function", "function": {"name": "f", "parameters": {"required": ["b"]}}},)
    spec = make_spec("tool_call", {"parallel": "f1"})
    found = verify(spec, State(tools=tools), [calls("a")], calls("a", "b"))
    assert (found.reward, found.outcome) == (0.0, Outcome.SURPLUS_CALLS)


def test_other_tools_and_messages_get_no_part_credit() -> None:
    other = Action(tool_calls=(ToolCall(name="g", arguments={"a": "a"}),))
    assert verdict(calls("a"), other, parallel="f1").outcome == Outcome.WRONG_TOOL
    assert verdict(calls("a"), Action(message="a"), parallel="f1").outcome == Outcome.WRONG_KIND
    both = Action(tool_calls=(*other.tool_calls, *calls("a").tool_calls))
    assert verdict(calls("a"), both, parallel="fractional").reward == 0.5


def test_with_a_tolerance_no_greedy_choice_loses_a_pair() -> None:
    """1.04 is near both others; taken for the first that is near, it would leave one of them alone."""
    one, other = calls(1.04, 1.09), calls(1.01, 1.05)
    assert verdict(one, other, tolerance=0.04).reward == 1.0
    assert verdict(other, one, tolerance=0.04).reward == 1.0
    assert verdict(one, other, tolerance=0.02).reward == 0.0


def test_the_matching_is_as_large_as_can_be() -> None:
    """Against the plain search through all assignments."""
    draw = random.Random(0)
    for _ in range(200):
        wanted, found = (tuple(draw.randrange(6) for _ in range(draw.randrange(6))) for _ in range(2))
        edges = [[j for j, value in enumerate(found) if abs(want - value) <= 1] for want in wanted]
        taken_by = maximum_matching(edges)
        assert len(taken_by) == len(set(taken_by.values())) == best(wanted, found)
        assert all(j in edges[i] for j, i in taken_by.items())
        assert num_matched(wanted, found, 0.0) == sum(
            min(wanted.count(value), found.count(value)) for value in set(wanted)
        )


def test_a_chain_of_a_thousand_swaps_needs_no_deep_stack() -> None:
    size = 5_000
    edges = [[0], *[[i - 1, i] for i in range(1, size)]]
    assert len(maximum_matching(edges[::-1])) == size
    assert len(maximum_matching([[0, 1], *[[i, i + 1] for i in range(1, size)], [0]])) == size + 1


def test_many_calls_with_a_tolerance() -> None:
    values = [1 + i / 1_000_003 for i in range(1_500)]
    one, other = calls(*values), calls(*[value + 1e-7 for value in reversed(values)])
    assert verdict(one, other, tolerance=1e-6) == Verdict(1.0, Outcome.CORRECT)
    assert verdict(one, calls(*[value + 0.5 for value in values]), tolerance=1e-6).reward == 0.0


def best(wanted: tuple[int, ...], found: tuple[int, ...]) -> int:
    if not wanted:
        return 0
    rest = [found[:j] + found[j + 1 :] for j, value in enumerate(found) if abs(wanted[0] - value) <= 1]
    return max([best(wanted[1:], found), *(1 + best(wanted[1:], left) for left in rest)])
