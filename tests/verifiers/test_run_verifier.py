"""Rules for every verifier: before it, around it and over several demonstrations."""

from collections.abc import Callable
from typing import Any

import pytest
from specs import CALLS_AS_JSON, EARLY, SPECS

from pivotmine.actions.action import Action, ToolCall, Unparsed
from pivotmine.verifiers import (
    Outcome,
    Scorer,
    State,
    Verdict,
    Verifier,
    VerifierSpec,
    make_spec,
    passes_gate,
    prepare,
    verify,
)
from pivotmine.verifiers.tool_calls.exact import ExactOptions

CALL = ToolCall(name="f", arguments={"a": 1})
GOLD = Action(tool_calls=(CALL,))
BROKEN = Unparsed(text="<tool_call>{", reason="not JSON:\n{")


@pytest.mark.parametrize("name", EARLY)
@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (Action(tool_calls=(CALL,), truncated=True), Verdict(0.0, Outcome.TRUNCATED)),
        (Action(unparsed=(BROKEN,), truncated=True), Verdict(0.0, Outcome.TRUNCATED)),
        (Action(tool_calls=(CALL,), unparsed=(BROKEN,)), Verdict(0.0, Outcome.INVALID_CALL, "not JSON:\\n{")),
        (Action(message="hi", unparsed=(BROKEN,)), Verdict(0.0, Outcome.INVALID_CALL, "not JSON:\\n{")),
        (Action(), Verdict(0.0, Outcome.EMPTY)),
        (Action(reasoning="hm"), Verdict(0.0, Outcome.EMPTY)),
    ],
)
def test_what_is_settled_before_any_verifier(name: str, action: Action, expected: Verdict) -> None:
    found = verify(SPECS[name], State(), [GOLD], action)
    assert (found.reward, found.outcome) == (expected.reward, expected.outcome)
    assert found.detail.endswith(expected.detail)


def test_a_truncated_demonstration_fails_its_gate() -> None:
    gold = Action(tool_calls=(CALL,), truncated=True)
    assert passes_gate(make_spec("exact", {}), State(), gold) == Verdict(0.0, Outcome.TRUNCATED)


def test_the_best_demonstration_counts_and_the_first_among_equals() -> None:
    other = Action(tool_calls=(ToolCall(name="g", arguments={}),))
    judge = prepare(make_spec("tool_call", {}), State(), [other, GOLD])
    assert judge(GOLD) == Verdict(1.0, Outcome.CORRECT)
    assert judge(other) == Verdict(1.0, Outcome.CORRECT)
    third = Action(tool_calls=(ToolCall(name="h", arguments={}),))
    assert judge(third) == Verdict(0.0, Outcome.WRONG_TOOL, "h, demonstrated g")


def test_beside_a_demonstrated_message_that_nobody_can_compare_a_message_is_null() -> None:
    judge = prepare(make_spec("tool_call", {}), State(), [GOLD, Action(message="Which one?")])
    assert judge(GOLD) == Verdict(1.0, Outcome.CORRECT)
    assert judge(Action(message="Which?")) == Verdict(
        None, Outcome.ERROR, "verifier tool_call cannot compare message turns"
    )
    other = Action(tool_calls=(ToolCall(name="f", arguments={"a": 2}),))
    assert judge(other) == Verdict(0.0, Outcome.WRONG_ARGUMENTS, "f.a: 2, demonstrated 1")


def rewards(*by_demonstration: float | BaseException | None) -> Callable[[State, Action, Any], Scorer]:
    """A verifier that gives the n-th demonstration (by its argument `a`) the n-th reward, or raises it."""

    def prepare_reward(state: State, demonstration: Action, options: Any) -> Scorer:
        reward = by_demonstration[demonstration.tool_calls[0].arguments["a"]]

        def judge(action: Action) -> Verdict:
            if isinstance(reward, BaseException):
                raise reward
            outcome = Outcome.ERROR if reward is None else Outcome.WRONG_ARGUMENTS
            return Verdict(reward, outcome if reward != 1.0 else Outcome.CORRECT, f"{reward}")

        return judge

    return prepare_reward


def judged(monkeypatch: pytest.MonkeyPatch, *by_demonstration: float | BaseException | None) -> Verdict:
    added = Verifier(
        prepare=rewards(*by_demonstration), options=ExactOptions, version=1, kinds=frozenset({"tool_call"})
    )
    golds = [Action(tool_calls=(ToolCall(name="f", arguments={"a": i}),)) for i in range(len(by_demonstration))]
    return verify(VerifierSpec("added", ExactOptions(), added), State(), golds, GOLD)


@pytest.mark.parametrize(
    ("by_demonstration", "best"),
    [((0.0, 0.5), 0.5), ((0.5, None), None), ((None, 1.0), 1.0), ((None, 0.9), None), ((0.2, 0.7, 0.7), 0.7)],
)
def test_a_null_hides_every_reward_but_a_full_one(
    monkeypatch: pytest.MonkeyPatch, by_demonstration: tuple[float | None, ...], best: float | None
) -> None:
    assert judged(monkeypatch, *by_demonstration).reward == best


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (ValueError("bad\nvalue\x1b[2J"), "ValueError: bad\\nvalue\\x1b[2J"),
        (RecursionError("too deep"), "RecursionError: too deep"),
        (MemoryError(), "MemoryError: "),
        (ZeroDivisionError("x" * 500), "ZeroDivisionError: " + "x" * 61 + "..."),
    ],
)
def test_an_exception_is_a_null_with_its_reason(monkeypatch: pytest.MonkeyPatch, error: Exception, detail: str) -> None:
    assert judged(monkeypatch, error) == Verdict(None, Outcome.ERROR, detail)
    assert judged(monkeypatch, error, 1.0).reward == 1.0


@pytest.mark.parametrize("reward", [None, 0.0, 0.5, 1.0, 7.0])
def test_a_verifier_cannot_pay_for_what_it_did_not_prove(reward: float | None) -> None:
    vague = Verdict(reward, Outcome.UNPROVEN, "who knows")
    verifier = Verifier(
        prepare=lambda state, demonstration, options: lambda action: vague,
        options=ExactOptions,
        version=1,
        kinds=frozenset({"tool_call"}),
        abstains=True,
    )
    for worth, expected in (("zero", 0.0), ("null", None)):
        spec = VerifierSpec("vague", ExactOptions(), verifier, unproven=worth)
        assert verify(spec, State(), [GOLD], GOLD) == Verdict(expected, Outcome.UNPROVEN, "who knows")


def test_an_interrupt_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        judged(monkeypatch, KeyboardInterrupt())


@pytest.mark.parametrize("name", CALLS_AS_JSON)
def test_an_exception_over_the_demonstration_is_a_null_for_every_action(name: str) -> None:
    endless: dict[str, Any] = {}
    endless["a"] = endless
    for arguments in (endless, {"a": {1, 2}}):
        gold = Action(tool_calls=(ToolCall(name="f", arguments=arguments),))
        for demonstration, action in ((gold, GOLD), (GOLD, gold)):
            verdict = verify(SPECS[name], State(), [demonstration], action)
            assert (verdict.reward, verdict.outcome) == (None, Outcome.ERROR)
            assert verdict.detail.isprintable()
