"""Three answers and a failure: every combination, several demonstrations, and the reward of unproven."""

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from pivotmine.actions import Action, ToolCall
from pivotmine.errors import UserError
from pivotmine.verifiers import Outcome, State, Verdict, Verifier, VerifierSpec, make_spec, prepare, verify
from pivotmine.verifiers.registry import VERIFIERS

SAME, PART, DIFFERENT, UNPROVEN, FAILED = "same", "part", "different", "unproven", "failed"
ANSWERS = {
    SAME: Verdict(1.0, Outcome.CORRECT),
    PART: Verdict(0.5, Outcome.PARTIAL),
    DIFFERENT: Verdict(0.0, Outcome.WRONG_ARGUMENTS),
    UNPROVEN: Verdict(None, Outcome.UNPROVEN),
    FAILED: Verdict(None, Outcome.ERROR),
}


@dataclass(frozen=True, kw_only=True)
class Answer:
    is_called: str = ""


def prepare_answer(state: State, demonstration: Action, options: Answer) -> Callable[[Action], Verdict]:
    """The answer that the options name, else the one that the demonstration's text names."""
    named = options.is_called or demonstration.message or str(demonstration.tool_calls[0].arguments["is_called"])
    return lambda action: ANSWERS[named]


ANSWERING = Verifier(
    prepare=prepare_answer, options=Answer, version=1, kinds=frozenset({"tool_call", "message"}), abstains=True
)
CALL, SAID = Action(tool_calls=(ToolCall(name="f", arguments={}),)), Action(message="hello")


@pytest.fixture(autouse=True)
def answering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VERIFIERS, "answering", ANSWERING)


def answer(named: str) -> VerifierSpec:
    return make_spec("answering", {"is_called": named})


def combined(name: str, named: tuple[str, ...], **options: Any) -> Verdict:
    spec = make_spec(name, {"members": [answer(one) for one in named], "unproven": "null", **options})
    return verify(spec, State(), [CALL], CALL)


def named(verdict: Verdict) -> str:
    """The answer that a verdict is; a mean of several counts as a part."""
    for name, other in ANSWERS.items():
        if (verdict.reward, verdict.outcome) == (other.reward, other.outcome):
            return name
    return PART


FIRST = """
            same       part       different  unproven   failed
same        same       part       different  unproven   failed
part        part       part       different  unproven   failed
different   different  different  different  different  different
unproven    unproven   unproven   different  unproven   failed
failed      failed     failed     different  failed     failed
"""
ANY = """
            same       part       different  unproven   failed
same        same       same       same       same       same
part        same       part       part       part       failed
different   same       part       different  unproven   failed
unproven    same       part       unproven   unproven   failed
failed      same       failed     failed     failed     failed
"""
DECIDED = """
            same       part       different  unproven   failed
same        same       same       same       same       same
part        part       part       part       part       part
different   different  different  different  different  different
unproven    same       part       different  unproven   failed
failed      same       part       different  failed     failed
"""
MEAN = """
            same       part       different  unproven   failed
same        same       part       part       unproven   failed
part        part       part       part       unproven   failed
different   part       part       different  unproven   failed
unproven    unproven   unproven   unproven   unproven   failed
failed      failed     failed     failed     failed     failed
"""


def rows(table: str) -> list[tuple[tuple[str, str], str]]:
    head, *lines = [line.split() for line in table.strip().splitlines()]
    return [((line[0], column), found) for line in lines for column, found in zip(head, line[1:], strict=True)]


@pytest.mark.parametrize(
    ("name", "table", "options"),
    [("all", FIRST, {}), ("any", ANY, {}), ("first_decided", DECIDED, {}), ("weighted", MEAN, {"weights": [1, 1]})],
)
def test_two_members(name: str, table: str, options: dict[str, Any]) -> None:
    for pair, expected in rows(table):
        assert named(combined(name, pair, **options)) == expected, pair


@pytest.mark.parametrize(("name", "table"), [("all", FIRST), ("any", ANY)])
def test_three_members_combine_as_two_of_them_and_the_third(name: str, table: str) -> None:
    by_pair = dict(rows(table))
    for one, two, three in itertools.product(ANSWERS, repeat=3):
        assert named(combined(name, (one, two, three))) == by_pair[by_pair[one, two], three], (one, two, three)


def test_several_demonstrations_combine_as_any() -> None:
    spec = make_spec("answering", {"unproven": "null"})
    for pair, expected in rows(ANY):
        demonstrations = [Action(message=name) for name in pair]
        assert named(verify(spec, State(), demonstrations, SAID)) == expected, pair


WORTH = [
    # unproven, a message, a call
    ("by_kind", None, 0.0),
    ("zero", 0.0, 0.0),
    ("null", None, None),
]


@pytest.mark.parametrize(("worth", "message", "call"), WORTH)
def test_what_an_unproven_answer_is_worth(worth: str, message: float | None, call: float | None) -> None:
    spec = make_spec("answering", {"is_called": UNPROVEN, "unproven": worth})
    for demonstrations in ([SAID], [CALL], [SAID, CALL]):
        judge = prepare(spec, State(), demonstrations)
        assert judge(CALL) == Verdict(call, Outcome.UNPROVEN)
        if SAID in demonstrations:
            assert judge(SAID) == Verdict(message, Outcome.UNPROVEN)


def test_a_worth_changes_no_other_answer() -> None:
    for worth, (name, verdict) in itertools.product(("by_kind", "zero", "null"), ANSWERS.items()):
        if name != UNPROVEN:
            spec = make_spec("answering", {"is_called": name, "unproven": worth})
            assert verify(spec, State(), [CALL], CALL) == verdict


@pytest.mark.parametrize("worth", ["zero", "null"])
def test_the_worth_is_applied_outside_all_members(worth: str) -> None:
    # A zero inside would decide `all` and `first_decided`, and hide that a member could not tell.
    for name, pair, expected in [
        ("first_decided", (UNPROVEN, SAME), SAME),
        ("any", (UNPROVEN, DIFFERENT), UNPROVEN),
        ("all", (UNPROVEN, SAME), UNPROVEN),
        ("all", (UNPROVEN, FAILED), FAILED),
    ]:
        spec = make_spec(name, {"members": [answer(one) for one in pair], "unproven": worth})
        found = verify(spec, State(), [CALL], CALL)
        assert found.outcome == ANSWERS[expected].outcome, (name, pair)
        if expected == UNPROVEN:
            assert found.reward == (0.0 if worth == "zero" else None)


def test_a_message_that_is_a_command_is_worth_what_commands_are() -> None:
    for name, reward in [("shell", 0.0), ("sql", 0.0), ("python", 0.0)]:
        found = verify(
            make_spec(name, {}), State(), [Action(message="```\n%x\n```")], Action(message="```\n%y z(\n```")
        )
        assert found == Verdict(reward, found.outcome, found.detail)
    fenced, other = Action(message="```\nls -l\n```"), Action(message="```\nls -r\n```")
    for spec, reward in [
        (make_spec("shell", {}), 0.0),
        (make_spec("first_decided", {"members": [make_spec("shell", {})]}), 0.0),
        (make_spec("shell", {"unproven": "null"}), None),
    ]:
        assert verify(spec, State(), [fenced], other).reward == reward


def test_the_worth_is_part_of_the_id_and_of_the_stored_options() -> None:
    specs = [make_spec("shell", {"unproven": worth}) for worth in ("by_kind", "zero", "null")]
    assert len({spec.verifier_id for spec in specs}) == 3
    for spec, worth in zip(specs, ("by_kind", "zero", "null"), strict=True):
        stored = json.loads(spec.options_json)
        assert stored["unproven"] == worth
        assert make_spec("shell", stored) == spec
    assert specs[0] == make_spec("shell", {})
    assert "unproven" not in json.loads(make_spec("tool_call", {}).options_json)
    around = make_spec("any", {"members": [make_spec("tool_call", {}), make_spec("shell", {})]})
    assert json.loads(around.options_json)["unproven"] == "by_kind"
    assert make_spec("any", json.loads(around.options_json)) == around


def test_only_the_outermost_verifier_may_say_what_unproven_is_worth() -> None:
    member = make_spec("shell", {"unproven": "null"})
    for name, options in [("any", {"members": [member]}), ("auto", {"rules": [{"verifier": member}]})]:
        with pytest.raises(UserError, match="only the outermost verifier applies"):
            make_spec(name, options)
    with pytest.raises(UserError, match="option unproven: choose one of by_kind, zero, null, not 'half'"):
        make_spec("shell", {"unproven": "half"})


def test_a_zero_that_a_verifier_calls_unproven_is_unproven() -> None:
    def prepare_zero(state: State, demonstration: Action, options: Answer) -> Callable[[Action], Verdict]:
        return lambda action: Verdict(0.0, Outcome.UNPROVEN, "no proof")

    zero = VerifierSpec(
        "zero", Answer(), Verifier(prepare=prepare_zero, options=Answer, version=1, kinds=ANSWERING.kinds)
    )
    assert zero.judge(State(), CALL)(CALL) == Verdict(None, Outcome.UNPROVEN, "no proof")
    assert verify(zero, State(), [CALL], CALL) == Verdict(0.0, Outcome.UNPROVEN, "no proof")
