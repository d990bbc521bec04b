"""`exact`: identical as JSON; the order of calls matters, the order of keys does not."""

from typing import Any

import pytest

from pivotmine.actions.action import Action, ToolCall
from pivotmine.verifiers import Outcome, State, Verdict, make_spec, verify


def calls(*named: tuple[str, dict[str, Any]]) -> Action:
    return Action(tool_calls=tuple(ToolCall(name=name, arguments=arguments) for name, arguments in named))


def verdict(demonstration: Action, action: Action) -> Verdict:
    return verify(make_spec("exact", {}), State(), [demonstration], action)


def test_key_order_is_free() -> None:
    gold = calls(("f", {"a": {"x": 1, "y": [2]}, "b": "c"}))
    assert verdict(gold, calls(("f", {"b": "c", "a": {"y": [2], "x": 1}}))) == Verdict(1.0, Outcome.CORRECT)


@pytest.mark.parametrize(
    ("demonstrated", "given", "words"),
    [(1, 1.0, "1.0, demonstrated 1"), (1, True, "true, demonstrated 1"),
     ("a", "a ", '"a ", demonstrated "a"'), ("a", "A", '"A", demonstrated "a"'), ([1, 2], [2, 1], None),
     (None, "null", '"null", demonstrated null')],
)  # fmt: skip
def test_values_differ_wherever_their_json_does(demonstrated: Any, given: Any, words: str | None) -> None:
    found = verdict(calls(("f", {"a": demonstrated})), calls(("f", {"a": given})))
    assert found == Verdict(0.0, Outcome.WRONG_ARGUMENTS, f"f.a: {words}" if words else "f.a[0]: 2, demonstrated 1")


def test_every_mismatch_has_its_outcome() -> None:
    gold = calls(("f", {"a": 1}), ("g", {}))
    assert verdict(gold, calls(("f", {"a": 1}))) == Verdict(0.0, Outcome.MISSING_CALLS, "calls: 1, demonstrated 2")
    assert verdict(gold, calls(("f", {"a": 1}), ("g", {}), ("g", {}))).outcome == Outcome.SURPLUS_CALLS
    assert verdict(gold, Action(message="f")) == Verdict(0.0, Outcome.WRONG_KIND, "a message, demonstrated f")
    assert verdict(gold, calls(("g", {}), ("f", {"a": 1}))) == Verdict(0.0, Outcome.WRONG_TOOL, "g, demonstrated f")
    assert verdict(gold, calls(("f", {}), ("g", {}))) == Verdict(
        0.0, Outcome.MISSING_ARGUMENTS, "f.a: missing, demonstrated 1"
    )
    assert verdict(gold, calls(("f", {"a": 1}), ("g", {"b": 2}))) == Verdict(
        0.0, Outcome.UNKNOWN_ARGUMENTS, "g.b: 2, not demonstrated"
    )
