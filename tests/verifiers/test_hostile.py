"""Any text of a policy gets a verdict from every registered verifier: no exception, no hang."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from specs import CALLS_AS_JSON, OF_THE_DATA, SPECS

from pivotmine.actions import Action, ToolCall, action_from_json, action_to_json
from pivotmine.verifiers import Outcome, State, Verdict, prepare, verify

LOCAL = sorted(SPECS.keys() - {"judge"})
PARAMETERS = {
    "type": "object",
    "properties": {"a": {"type": "string"}, "tags": {"uniqueItems": True}, "at": {"format": "date-time"}},
}
STATE = State(
    tools=({"type": "function", "function": {"name": "f", "parameters": PARAMETERS}},),
    messages=({"role": "user", "content": "ls -la /tmp; select 1; 2 + 2"},),
)
HOSTILE = [
    "'; DROP TABLE users; --",
    "ATTACH 'x.db'; COPY t TO '/tmp/x'",
    "with recursive t(n) as (select 1 union all select n + 1 from t) select * from t",
    "$(rm -rf /) `reboot` ${IFS}",
    "(((((" * 2000,
    "[" * 5000 + "]" * 5000,
    "a" * 50_000 + "!",
    "\\frac{" * 2000,
    "9" * 4000,
    "9**9**9**9",
    "\u202e\u2066\x1b[2J\x00\ufeff",
    "\u0430dmin",
    '{"keystrokes": ' * 500,
    "--- a\n+++ b\n@@ -1,99999999 +1,99999999 @@\n",
]


def hostile_actions() -> list[Action]:
    messages = [Action(message=text) for text in HOSTILE]
    return messages + [Action(tool_calls=(ToolCall(name="f", arguments={"a": text}),)) for text in HOSTILE]


def check(verdict: Verdict) -> None:
    assert verdict.reward is None or 0 <= verdict.reward <= 1
    assert (verdict.reward == 1) == (verdict.outcome == Outcome.CORRECT)
    assert (verdict.reward is None) == (verdict.outcome == Outcome.ERROR or verdict.is_unproven)
    assert verdict.detail.isprintable()
    assert len(verdict.detail) < 1000


@pytest.mark.parametrize("name", LOCAL)
@pytest.mark.parametrize("kind", ["tool_call", "message"])
def test_hostile_text_gets_a_verdict(name: str, kind: str) -> None:
    actions = hostile_actions()
    for gold in [action for action in actions if action.kind == kind][::3]:
        judge = prepare(SPECS[name], STATE, [gold])
        for action in actions:
            check(judge(action))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "tags", "at", "x"]), inner),
    max_leaves=8,
)
ARGUMENTS = st.dictionaries(st.sampled_from(["a", "tags", "at", "x", "command", "new_str"]), VALUES, max_size=4)
ACTIONS = st.one_of(
    st.builds(Action, message=st.text(min_size=1, max_size=20)),
    st.lists(st.builds(ToolCall, name=st.sampled_from("fg"), arguments=ARGUMENTS), min_size=1, max_size=2).map(
        lambda calls: Action(tool_calls=tuple(calls))
    ),
)


@settings(max_examples=30)
@given(st.lists(ACTIONS, min_size=1, max_size=2), st.lists(ACTIONS, max_size=4), st.randoms())
def test_every_verifier_answers_anything_and_remembers_nothing(
    golds: list[Action], actions: list[Action], draw: Any
) -> None:
    actions = [*actions, *golds]
    for name in LOCAL:
        judge = prepare(SPECS[name], STATE, golds)
        first = [judge(action) for action in actions]
        order = list(range(len(actions)))
        draw.shuffle(order)
        again = prepare(SPECS[name], STATE, golds)
        found = {i: again(actions[i]) for i in order}
        for i, verdict in enumerate(first):
            check(verdict)
            assert found[i] == verdict, name


@settings(max_examples=30)
@given(ACTIONS)
def test_an_action_that_passes_for_itself_passes_for_an_equal_one(gold: Action) -> None:
    equal = action_from_json(action_to_json(gold))
    for name in sorted(set(LOCAL) - OF_THE_DATA):
        assert verify(SPECS[name], STATE, [gold], gold) == verify(SPECS[name], STATE, [gold], equal), name


def test_ten_megabytes_are_compared_like_anything_else() -> None:
    text = "x" * 10_000_000
    numbers = list(range(300_000))
    for value, other in ((text, text + "y"), (numbers, numbers[::-1])):
        gold, wrong = (Action(tool_calls=(ToolCall(name="g", arguments={"tags": v}),)) for v in (value, other))
        for name in ("exact", "tool_call"):
            judge = prepare(SPECS[name], State(), [gold])
            assert (judge(gold).reward, judge(wrong).reward) == (1.0, 0.0)
            check(judge(wrong))


@pytest.mark.parametrize("name", CALLS_AS_JSON)
def test_nesting_deeper_than_any_parser_lets_through_is_a_null(name: str) -> None:
    deep: Any = "x"
    for _ in range(20_000):
        deep = [deep]
    gold = Action(tool_calls=(ToolCall(name="f", arguments={"a": "x"}),))
    verdict = verify(SPECS[name], STATE, [gold], Action(tool_calls=(ToolCall(name="f", arguments={"a": deep}),)))
    assert (verdict.reward, verdict.outcome) == (None, Outcome.ERROR)
    while isinstance(deep, list):  # taken apart by hand: the interpreter would do it by recursion
        deep = deep.pop()


def test_values_with_one_hash_in_an_unordered_list_take_no_quadratic_time() -> None:
    """Multiples of 2**61 - 1 all hash to 0; longer lists than MAX_UNORDERED are compared in order."""
    colliding = [i * (2**61 - 1) for i in range(50_000)]
    gold = Action(tool_calls=(ToolCall(name="f", arguments={"tags": colliding}),))
    assert verify(SPECS["tool_call"], STATE, [gold], gold).reward == 1.0
