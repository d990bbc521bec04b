"""`tool_call` by example: each rule once, with the whole verdict."""

from typing import Any

import pytest

from pivotmine.actions.action import Action, ToolCall
from pivotmine.verifiers import Outcome, State, Verdict, make_spec, passes_gate, verify

ADDRESS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "country": {"type": "string", "default": "NL"}},
    "required": ["city"],
}
ORDER = {
    "type": "object",
    "properties": {
        "item": {"type": "string"},
        "count": {"type": "integer", "default": 1},
        "gift": {"type": "boolean", "default": False},
        "note": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "address": ADDRESS,
        "parcels": {"type": "array", "items": ADDRESS},
    },
    "required": ["item"],
}


def function(name: str, parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


STATE = State(tools=(function("order", ORDER), function("cancel", {"type": "object", "properties": {}})))
NO_TOOLS = State()


def calls(*named: tuple[str, dict[str, Any]]) -> Action:
    return Action(tool_calls=tuple(ToolCall(name=name, arguments=arguments) for name, arguments in named))


def order(**arguments: Any) -> Action:
    return calls(("order", arguments))


def verdict(demonstration: Action, action: Action, state: State = STATE, **options: Any) -> Verdict:
    return verify(make_spec("tool_call", options), state, [demonstration], action)


CORRECT = Verdict(1.0, Outcome.CORRECT)


@pytest.mark.parametrize(
    ("demonstrated", "given"),
    [
        ({"item": "pen", "note": "hi"}, {"note": "hi", "item": "pen"}),
        ({"item": "pen", "count": 2}, {"item": "pen", "count": 2.0}),
        ({"item": "pen"}, {"item": "  pen\n"}),
        ({"item": "pen"}, {"item": "pen", "count": 1, "gift": False}),
        ({"item": "pen", "count": 1.0}, {"item": "pen"}),
        (
            {"item": "pen", "address": {"city": "Ede"}},
            {"item": "pen", "address": {"city": "Ede", "country": "NL "}},
        ),
        (
            {"item": "pen", "parcels": [{"city": "Ede", "country": "NL"}]},
            {"item": "pen", "parcels": [{"city": "Ede"}]},
        ),
    ],
    ids=["key order", "number", "trim", "defaults added", "default left out", "nested", "in a list"],
)
def test_calls_that_do_the_same_pass(demonstrated: dict[str, Any], given: dict[str, Any]) -> None:
    assert verdict(order(**demonstrated), order(**given)) == CORRECT
    assert verdict(order(**given), order(**demonstrated)) == CORRECT


@pytest.mark.parametrize(
    ("demonstrated", "given", "outcome", "detail"),
    [
        ({"item": "pen"}, {"item": "Pen"}, "wrong_arguments", 'order.item: "Pen", demonstrated "pen"'),
        ({"item": "a b"}, {"item": "a  b"}, "wrong_arguments", 'order.item: "a  b", demonstrated "a b"'),
        ({"item": "pen"}, {"item": "pen", "count": 2}, "wrong_arguments", "order.count: 2, not demonstrated"),
        (
            {"item": "pen"},
            {"item": "pen", "count": True},
            "wrong_arguments",
            "order.count: true, not demonstrated",
        ),
        ({"item": "pen"}, {"item": "pen", "gift": 0}, "wrong_arguments", "order.gift: 0, not demonstrated"),
        ({"item": "7"}, {"item": 7}, "wrong_arguments", 'order.item: 7, demonstrated "7"'),
        ({"item": "pen"}, {"item": ["pen"]}, "wrong_arguments", 'order.item: ["pen"], demonstrated "pen"'),
        (
            {"item": "pen", "count": 3},
            {"item": "pen"},
            "missing_arguments",
            "order.count: missing, demonstrated 3",
        ),
        ({"item": "pen"}, {}, "missing_arguments", 'order.item: missing, demonstrated "pen"'),
        ({"item": "pen"}, {"item": "pen", "x": None}, "unknown_arguments", "order.x: null, not demonstrated"),
        ({"item": "p"}, {"ITEM": "p"}, "missing_arguments", 'order.item: missing, demonstrated "p"'),
        (
            {"item": "p", "tags": ["a", "b"]},
            {"item": "p", "tags": ["b", "a"]},
            "wrong_arguments",
            'order.tags[0]: "b", demonstrated "a"',
        ),
        (
            {"item": "p", "tags": ["a"]},
            {"item": "p", "tags": ["a", "a"]},
            "wrong_arguments",
            'order.tags: ["a","a"], demonstrated ["a"]',
        ),
        (
            {"item": "p", "parcels": [{"city": "Ede"}]},
            {"item": "p", "parcels": [{"city": "Ede", "country": "BE"}]},
            "wrong_arguments",
            'order.parcels[0].country: "BE", not demonstrated',
        ),
    ],
)
def test_calls_that_do_something_else_fail(
    demonstrated: dict[str, Any], given: dict[str, Any], outcome: str, detail: str
) -> None:
    assert verdict(order(**demonstrated), order(**given)) == Verdict(0.0, Outcome(outcome), detail)


def test_parallel_calls_are_a_multiset() -> None:
    pen, ink = ("order", {"item": "pen"}), ("order", {"item": "ink"})
    cancel = ("cancel", {})
    assert verdict(calls(pen, ink, cancel), calls(cancel, ink, pen)) == CORRECT
    assert verdict(calls(pen, pen, ink), calls(pen, ink, ink)) == Verdict(
        0.0, Outcome.WRONG_ARGUMENTS, 'order.item: "ink", demonstrated "pen"'
    )
    assert verdict(calls(pen, ink), calls(pen, cancel)) == Verdict(
        0.0, Outcome.WRONG_TOOL, "cancel, demonstrated order"
    )
    assert verdict(calls(pen, ink), calls(pen)) == Verdict(0.0, Outcome.MISSING_CALLS, "calls: 1, demonstrated 2")
    assert verdict(calls(pen), calls(pen, pen)) == Verdict(0.0, Outcome.SURPLUS_CALLS, "calls: 2, demonstrated 1")


def test_of_parallel_calls_those_of_one_tool_are_held_against_each_other() -> None:
    gold = calls(("order", {"item": "pen"}), ("cancel", {"id": 1}))
    given = calls(("cancel", {"id": 2}), ("order", {"item": "ink"}))
    assert verdict(gold, given).detail == "cancel.id: 2, demonstrated 1"


def test_a_default_on_one_side_is_not_the_difference_that_is_told() -> None:
    one = order(address={"city": "Ede"}, item="pen")
    other = order(address={"city": "Ede", "country": "NL"}, item="Pen")
    assert verdict(one, other).detail == 'order.item: "Pen", demonstrated "pen"'
    assert verdict(other, one).detail == 'order.item: "pen", demonstrated "Pen"'


def test_of_two_tools_with_one_name_the_first_counts() -> None:
    state = State(tools=(function("f", {"properties": {"a": {"default": 1}}}), function("f", {"properties": {}})))
    assert verdict(calls(("f", {})), calls(("f", {"a": 1})), state) == CORRECT


def test_a_message_is_not_the_call() -> None:
    said = Action(message="I would call order")
    assert verdict(order(item="pen"), said) == Verdict(0.0, Outcome.WRONG_KIND, "a message, demonstrated order")


def test_text_and_reasoning_beside_the_call_do_not_matter() -> None:
    call = ToolCall(name="order", arguments={"item": "pen"})
    action = Action(message="On its way.", reasoning="A pen, then.", tool_calls=(call,))
    assert verdict(order(item="pen"), action) == CORRECT


@pytest.mark.parametrize(
    ("demonstration", "verdict"),
    [
        (
            calls(("refund", {})),
            Verdict(0.0, Outcome.WRONG_TOOL, "refund: no tool of this state, though demonstrated"),
        ),
        (order(count=2), Verdict(0.0, Outcome.MISSING_ARGUMENTS, "order.item: missing, as demonstrated")),
        (
            order(item="pen", colour="red"),
            Verdict(0.0, Outcome.UNKNOWN_ARGUMENTS, "order.colour: unknown to the schema, as demonstrated"),
        ),
        (
            order(item="pen", parcels=[{"city": "Ede"}, {"country": "BE"}]),
            Verdict(0.0, Outcome.MISSING_ARGUMENTS, "order.parcels[1].city: missing, as demonstrated"),
        ),
    ],
    ids=["tool not offered", "required missing", "unknown", "nested"],
)
def test_a_demonstration_that_is_wrong_by_its_own_tools_fails_its_gate(demonstration: Action, verdict: Verdict) -> None:
    assert passes_gate(make_spec("tool_call", {}), STATE, demonstration) == verdict


def test_without_a_schema_the_arguments_are_those_of_the_demonstration() -> None:
    gold = calls(("search", {"q": "pens", "n": 3}))
    for state in (NO_TOOLS, State(tools=(function("search", None),)), State(tools=(function("search", {}),))):
        assert verdict(gold, calls(("search", {"n": 3.0, "q": "pens "})), state) == CORRECT
        assert verdict(gold, calls(("search", {"q": "pens", "n": 3, "x": 1})), state) == Verdict(
            0.0, Outcome.UNKNOWN_ARGUMENTS, "search.x: 1, not demonstrated"
        )
        assert verdict(gold, calls(("search", {"q": "pens"})), state) == Verdict(
            0.0, Outcome.MISSING_ARGUMENTS, "search.n: missing, demonstrated 3"
        )


def test_free_text_folds_case_and_inner_white_space_where_it_is_declared_only() -> None:
    gold = order(item="Blue  Pen", note="To Ann", tags=["A B"], address={"city": "Den Haag"})
    folded = order(item="Blue  Pen", note="to   ann", tags=["a b"], address={"city": "den haag"})
    declared = ["order.note", "*.tags", "order.address.city"]
    assert verdict(gold, folded, free_text=declared) == CORRECT
    assert verdict(gold, folded, free_text=declared[:2]).detail == (
        'order.address.city: "den haag", demonstrated "Den Haag"'
    )
    assert verdict(gold, folded, free_text=["cancel.note", "order.notes"]).reward == 0.0
    assert verdict(order(item="Pen"), order(item="pen"), free_text=declared).reward == 0.0


def test_free_text_reaches_through_lists_and_dotted_names() -> None:
    gold = calls(("shop.order", {"parcels": [{"to.city": "Den Haag"}]}))
    given = calls(("shop.order", {"parcels": [{"to.city": "den haag"}]}))
    assert verdict(gold, given, NO_TOOLS, free_text=["shop.order.parcels.to.city"]) == CORRECT
    assert verdict(gold, given, NO_TOOLS, free_text=["shop.order.parcels"]).reward == 0.0
    unnamed, folded = calls(("f", {"a": {"": "X"}})), calls(("f", {"a": {"": "x"}}))
    assert verdict(unnamed, folded, NO_TOOLS, free_text=["f.a"]).reward == 0.0


def test_numbers_are_compared_by_value_exactly() -> None:
    big = 2**53
    assert verdict(calls(("f", {"n": big})), calls(("f", {"n": float(big)})), NO_TOOLS) == CORRECT
    assert verdict(calls(("f", {"n": big + 1})), calls(("f", {"n": float(big)})), NO_TOOLS).reward == 0.0
    assert verdict(calls(("f", {"n": 0.0})), calls(("f", {"n": -0.0})), NO_TOOLS) == CORRECT


def test_a_detail_is_one_short_line_that_a_terminal_cannot_obey() -> None:
    action = order(item="\x1b[2J\u202e\n" + "x" * 1000, **{"k\r\udc80" * 100: 1})
    found = verdict(order(item="pen"), action)
    assert found.outcome == Outcome.UNKNOWN_ARGUMENTS
    assert found.detail.isprintable()
    assert found.detail.startswith("order.k\\r\\udc80k\\r")
    assert len(found.detail) < 400
    found = verdict(order(item="pen"), order(item="\x1b[2J\u202e\n" + "x" * 1000))
    assert found.detail == 'order.item: "\\u001b[2J\\u202e\\n' + "x" * 67 + '..., demonstrated "pen"'
