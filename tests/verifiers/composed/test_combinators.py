"""Verifiers made of verifiers: their verdicts from those of their members."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from pivotmine.actions import Action, ToolCall
from pivotmine.errors import UserError
from pivotmine.verifiers import VERIFIERS, Outcome, State, Verdict, Verifier, VerifierSpec, make_spec, verify

CALL = Action(tool_calls=(ToolCall(name="f", arguments={}),))
SAID = Action(message="hello")
BOTH, CALLS = frozenset({"tool_call", "message"}), frozenset({"tool_call"})


@dataclass(frozen=True, kw_only=True)
class Says:
    reward: float = -1.0
    outcome: str = "wrong_arguments"


def prepare_saying(state: State, demonstration: Action, options: Says) -> Callable[[Action], Verdict]:
    def judge(action: Action) -> Verdict:
        ASKED.append(options.reward)
        if options.reward < 0:
            raise ValueError("broken")
        return Verdict(options.reward, Outcome.CORRECT if options.reward == 1 else Outcome(options.outcome))

    return judge


ASKED: list[float] = []


@pytest.fixture(autouse=True)
def members(monkeypatch: pytest.MonkeyPatch) -> None:
    ASKED.clear()
    saying: dict[str, Any] = {"options": Says, "version": 1, "prepare": prepare_saying}
    monkeypatch.setitem(VERIFIERS, "saying", Verifier(**saying, kinds=BOTH))
    monkeypatch.setitem(VERIFIERS, "call_saying", Verifier(**saying, kinds=CALLS))


def says(reward: float | None, outcome: str = "wrong_arguments") -> VerifierSpec:
    return make_spec("saying", {"reward": -1.0 if reward is None else reward, "outcome": outcome})


def combined(name: str, *rewards: float | None, **options: Any) -> Verdict:
    spec = make_spec(name, {"members": [says(reward) for reward in rewards], **options})
    return verify(spec, State(), [CALL], CALL)


@pytest.mark.parametrize(
    ("name", "rewards", "reward", "asked"),
    [
        ("all", (1.0, 0.5, 1.0), 0.5, 3),
        ("all", (1.0, 1.0), 1.0, 2),
        ("all", (None, 0.0, 1.0), 0.0, 2),
        ("all", (None, 1.0), None, 2),
        ("all", (0.5, None), None, 2),
        ("any", (0.0, 0.5, 0.2), 0.5, 3),
        ("any", (0.0, 1.0, None), 1.0, 2),
        ("any", (0.5, None), None, 2),
        ("any", (0.0, 0.0), 0.0, 2),
        ("first_decided", (None, 0.0, 1.0), 0.0, 2),
        ("first_decided", (0.5, 1.0), 0.5, 1),
        ("first_decided", (None, None), None, 2),
    ],
)
def test_the_reward_and_how_many_members_it_takes(
    name: str, rewards: tuple[float | None, ...], reward: float | None, asked: int
) -> None:
    assert combined(name, *rewards).reward == reward
    assert len(ASKED) == asked


def test_what_is_unproven_is_not_decided() -> None:
    unproven = says(0.0, "unproven")
    for members, expected in [
        ([unproven, says(1.0)], Verdict(1.0, Outcome.CORRECT, "saying")),
        ([unproven, unproven], Verdict(0.0, Outcome.UNPROVEN, "saying")),
        ([unproven, says(None)], Verdict(None, Outcome.ERROR, "saying: ValueError: broken")),
        ([says(None), unproven], Verdict(None, Outcome.ERROR, "saying: ValueError: broken")),
    ]:
        assert verify(make_spec("first_decided", {"members": members}), State(), [CALL], CALL) == expected


def test_weights_are_ratios() -> None:
    assert combined("weighted", 1.0, 0.0, weights=[3, 1]) == Verdict(0.75, Outcome.PARTIAL, "saying")
    assert combined("weighted", 1.0, 1.0, 1.0, weights=[0.1, 0.2, 0.3]) == Verdict(1.0, Outcome.CORRECT)
    assert combined("weighted", 0.0, 0.0, weights=[1, 2]) == Verdict(0.0, Outcome.WRONG_ARGUMENTS, "saying")
    assert combined("weighted", 1.0, None, weights=[1, 1]).reward is None


@pytest.mark.parametrize("name", ["all", "any", "first_decided", "weighted"])
def test_what_no_member_may_judge_comes_to_none(name: str) -> None:
    weights = {"weights": [1.0]} if name == "weighted" else {}
    spec = make_spec(name, {"members": [says(1.0)], **weights})
    truncated = Action(message="hel", truncated=True)
    assert verify(spec, State(), [SAID], truncated) == Verdict(0.0, Outcome.TRUNCATED, "saying")
    assert verify(spec, State(), [SAID], Action()).outcome == Outcome.EMPTY
    assert ASKED == []
    recorded = make_spec(name, {"members": [make_spec("recorded", {})], **weights})
    sampled = Action(message="hel", truncated=True, recorded_reward=1.0)
    assert verify(recorded, State(), [SAID], sampled).reward == 1.0


def test_kinds_of_turns_follow_from_the_members() -> None:
    only_calls = make_spec("call_saying", {"reward": 0.0})
    for name, messages in [("all", False), ("any", True), ("first_decided", True), ("weighted", False)]:
        weights = {"weights": [1.0, 1.0]} if name == "weighted" else {}
        spec = make_spec(name, {"members": [only_calls, says(1.0)], **weights})
        assert (spec.handles("tool_call"), spec.handles("message")) == (True, messages)
        if messages:
            assert verify(spec, State(), [SAID], SAID) == Verdict(1.0, Outcome.CORRECT, "saying")


def test_a_trainer_makes_it_again_from_its_options() -> None:
    inner = make_spec("any", {"members": [make_spec("exact", {}), make_spec("tool_call", {"free_text": ["f.a"]})]})
    spec = make_spec("weighted", {"members": [inner, make_spec("recorded", {})], "weights": [2, 1]})
    again = make_spec(spec.name, json.loads(spec.options_json))
    assert again == spec
    assert again.verifier_id == spec.verifier_id
    assert make_spec("all", {"members": [inner]}).verifier_id != make_spec("all", {"members": [spec]}).verifier_id


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("all", {}, "a verifier made of others needs at least one member"),
        ("weighted", {"members": [], "weights": []}, "needs at least one member, and a weight above 0 for each"),
        ("any", {"members": ["exact"]}, "option members[0]: must be a verifier, {name, options}, is 'exact'"),
        ("any", {"members": [{"name": "exakt", "options": {}}]}, 'no verifier "exakt"'),
    ],
)
def test_members_that_are_none_are_user_errors(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as raised:
        make_spec(name, options)
    assert message in str(raised.value)


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, float("nan")], [1.0, float("inf")], [1.0, -1.0]])
def test_each_member_has_a_weight_above_zero(weights: list[float]) -> None:
    with pytest.raises(UserError, match="a weight above 0 for each"):
        combined("weighted", 1.0, 0.0, weights=weights)
