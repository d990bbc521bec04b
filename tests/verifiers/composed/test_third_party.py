"""Verifiers of other packages, by `package.module:function`."""

import pickle
from dataclasses import replace

import pytest

from pivotmine.actions import Action, ToolCall
from pivotmine.errors import UserError
from pivotmine.verifiers import Outcome, State, Verdict, make_spec, passes_gate, verify
from pivotmine.verifiers.composed import third_party

CALL = Action(tool_calls=(ToolCall(name="f", arguments={"a": "tea"}),))
SAID = Action(message="tea it is")
ASKED = State(messages=({"role": "user", "content": "tea"},))


def test_what_a_function_answers_becomes_a_verdict() -> None:
    asked, half = make_spec("own_verifiers:asked_for", {}), make_spec("own_verifiers:half", {})
    assert verify(asked, ASKED, [CALL], SAID) == Verdict(1.0, Outcome.CORRECT)
    # None is unproven, and what that is worth is an option: by default nothing for messages, 0 for calls.
    could_not = Verdict(None, Outcome.UNPROVEN, "the verifier could not tell")
    assert verify(asked, State(), [SAID], SAID) == could_not
    assert verify(asked, State(), [CALL], CALL) == replace(could_not, reward=0.0)
    assert verify(make_spec("own_verifiers:asked_for", {"unproven": "null"}), State(), [CALL], CALL) == could_not
    assert passes_gate(half, State(), CALL) == Verdict(1.0, Outcome.CORRECT, "itself")
    assert verify(half, State(), [CALL], SAID) == Verdict(0.5, Outcome.PARTIAL)
    nothing = make_spec("own_verifiers:nothing", {})
    assert verify(nothing, State(), [CALL], CALL) == Verdict(0.0, Outcome.WRONG_ARGUMENTS)
    assert verify(nothing, State(), [SAID], SAID) == Verdict(0.0, Outcome.WRONG_TEXT)
    assert verify(nothing, State(), [SAID], CALL) == Verdict(
        0.0, Outcome.WRONG_KIND, "a tool_call, demonstrated a message"
    )
    assert verify(make_spec("own_verifiers:twice", {}), State(), [CALL], SAID) == Verdict(
        None, Outcome.ERROR, "ValueError: a reward of 2.0 is not in [0, 1]"
    )


@pytest.mark.parametrize(
    ("number", "kind"), list(enumerate((None, "str", "str", "list", "dict", "complex", "Decimal")))
)
def test_a_wrong_answer_is_a_failure_that_names_its_type(number: int, kind: str | None) -> None:
    answering = make_spec("own_verifiers:answering", {})
    expected = f"TypeError: the reward is a value of type {kind}, not a number in [0, 1] or None"
    found = verify(answering, State(), [SAID], Action(message=str(number)))
    assert found == Verdict(None, Outcome.ERROR, expected if kind else "ValueError: a reward of nan is not in [0, 1]")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "TypeError: the verifier answered with None, not with a Verdict"),
        (1, "TypeError: the verifier answered with a value of type int, not with a Verdict"),
        (2, "TypeError: the reward is a value of type str, not a number in [0, 1] or None"),
        (3, "TypeError: the outcome of a Verdict is a value of type str, not an Outcome"),
        (4, "ValueError: a reward of nan is not in [0, 1]"),
    ],
)
def test_so_is_a_wrong_answer_of_a_verifier_with_options(number: int, words: str) -> None:
    spec = make_spec("own_verifiers:ANSWERING", {})
    assert verify(spec, State(), [SAID], Action(message=str(number))) == Verdict(None, Outcome.ERROR, words)


def test_true_and_numpys_numbers_are_rewards() -> None:
    answering = make_spec("own_verifiers:answering", {})
    assert verify(answering, State(), [SAID], Action(message="7")) == Verdict(1.0, Outcome.CORRECT)
    assert verify(answering, State(), [SAID], Action(message="8")) == Verdict(0.5, Outcome.PARTIAL)


def test_a_verifier_with_options_is_named_the_same_way() -> None:
    many = make_spec("own_verifiers:MANY", {"num_calls": 2})
    assert many.options_json == '{"note":"","num_calls":2}'
    assert verify(many, State(), [CALL], CALL).outcome == Outcome.MISSING_CALLS
    assert (many.handles("tool_call"), many.handles("message"), many.needs_messages) == (True, False, False)
    assert pickle.loads(pickle.dumps(many)) == many


def test_the_id_names_the_module_and_changes_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, half = make_spec("own_verifiers:asked_for", {}), make_spec("own_verifiers:half", {})
    assert asked.verifier_id.startswith("own_verifiers.asked_for-")
    assert half.verifier_id == "own_verifiers.half-be3ae511"
    before = asked.verifier_id
    monkeypatch.setattr("own_verifiers.__file__", __file__)
    third_party.load.cache_clear()
    assert make_spec("own_verifiers:asked_for", {}).verifier_id != before
    assert half.verifier_id == "own_verifiers.half-be3ae511"
    third_party.load.cache_clear()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (":f", 'verifier ":f": another package\'s verifier is written package.module:function'),
        ("a b:f", 'verifier "a b:f": another package\'s verifier is written package.module:function'),
        ("own_verifiers:", 'verifier "own_verifiers:": another package\'s verifier is written package.module:function'),
        ("no_such:f", "verifier \"no_such:f\": no_such cannot be imported: No module named 'no_such'"),
        (
            "own_verifiers:gone",
            'verifier "own_verifiers:gone": own_verifiers has no function and no Verifier called gone',
        ),
        (
            "own_verifiers:NUMBER",
            'verifier "own_verifiers:NUMBER": own_verifiers has no function and no Verifier called NUMBER',
        ),
    ],
)
def test_a_bad_name_is_one_line(name: str, message: str) -> None:
    with pytest.raises(UserError) as raised:
        make_spec(name, {})
    assert str(raised.value) == message


def test_a_function_has_no_options() -> None:
    with pytest.raises(UserError, match=r'verifier own_verifiers:half has no option "a": its options are none'):
        make_spec("own_verifiers:half", {"a": 1})
