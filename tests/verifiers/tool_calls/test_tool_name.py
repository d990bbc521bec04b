"""The same tools pass in any order and with any arguments: here the leaks are the rule."""

from typing import Any

from pivotmine.actions.action import Action, ToolCall
from pivotmine.verifiers import Outcome, State, Verdict, make_spec, passes_gate, verify

SPEC = make_spec("tool_name", {})
STATE = State(tools=tuple({"type": "function", "function": {"name": name, "parameters": {}}} for name in ("f", "g")))


def calls(*names: str, **arguments: Any) -> Action:
    return Action(tool_calls=tuple(ToolCall(name=name, arguments=arguments) for name in names))


def verdict(demonstrated: Action, given: Action, state: State = STATE) -> Verdict:
    return verify(SPEC, state, [demonstrated], given)


def test_leak_any_arguments_pass() -> None:
    for given in (calls("f", path="/a"), calls("f", path="/b"), calls("f"), calls("f", junk=[1])):
        assert verdict(calls("f", path="/a"), given) == Verdict(1.0, Outcome.CORRECT)


def test_the_names_are_a_multiset() -> None:
    assert verdict(calls("f", "g"), calls("g", "f")).reward == 1.0
    assert verdict(calls("f", "g"), calls("f", "f")) == Verdict(0.0, Outcome.WRONG_TOOL, "f, demonstrated g")
    assert verdict(calls("f"), calls("f", "f")) == Verdict(0.0, Outcome.SURPLUS_CALLS, "calls: 2, demonstrated 1")
    assert verdict(calls("f", "f"), calls("f")) == Verdict(0.0, Outcome.MISSING_CALLS, "calls: 1, demonstrated 2")


def test_names_are_equal_to_the_letter() -> None:
    for name in ("F", "f ", "\u0192", "g"):
        assert verdict(calls("f"), calls(name), State()).outcome == Outcome.WRONG_TOOL


def test_a_message_is_no_call() -> None:
    assert verdict(calls("f"), Action(message="f")) == Verdict(0.0, Outcome.WRONG_KIND, "a message, demonstrated f")


def test_a_tool_that_the_state_does_not_offer_fails_its_gate() -> None:
    expected = Verdict(0.0, Outcome.WRONG_TOOL, "h: no tool of this state, though demonstrated")
    assert passes_gate(SPEC, STATE, calls("h")) == expected
    assert passes_gate(SPEC, State(), calls("h")).reward == 1.0
