"""Properties for every schema and every action, found by search."""

from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from specs import CALLS_AS_JSON, SPECS

from pivotmine.actions.action import Action, ToolCall
from pivotmine.verifiers import Outcome, State, Verdict, make_spec, passes_gate, prepare, verify
from pivotmine.verifiers.tool_calls.canonical import canonical_form
from pivotmine.verifiers.tool_calls.schema import Schema

SCALARS: tuple[tuple[dict[str, Any], st.SearchStrategy[Any]], ...] = (
    ({"type": "string"}, st.text(max_size=6)),
    ({"type": "integer"}, st.integers()),
    ({"type": "number"}, st.floats(allow_nan=False, allow_infinity=False)),
    ({"type": "boolean"}, st.booleans()),
    ({"type": "null"}, st.none()),
)
NAMES = st.text(min_size=1, max_size=3)  # no longer, so that the named scalars below are other names
patient = settings(deadline=None, max_examples=40)


@st.composite
def typed(draw: st.DrawFn, depth: int = 3) -> tuple[dict[str, Any], st.SearchStrategy[Any]]:
    """A schema and the values that are valid under it."""
    shape = draw(st.sampled_from(["scalar", "array", "object"] if depth else ["scalar"]))
    if shape == "scalar":
        return draw(st.sampled_from(SCALARS))
    if shape == "object":
        return draw(typed_object(depth))
    items, values = draw(typed(depth - 1))
    return {"type": "array", "items": items}, st.lists(values, max_size=3)


@st.composite
def typed_object(
    draw: st.DrawFn, depth: int = 3, scalars: tuple[str, ...] = ()
) -> tuple[dict[str, Any], st.SearchStrategy[Any]]:
    """An object of anything, and of the required scalars that are named."""
    picked = {name: draw(st.sampled_from(SCALARS)) for name in scalars}
    properties: dict[str, Any] = {name: schema for name, (schema, _) in picked.items()}
    needed = {name: values for name, (_, values) in picked.items()}
    free: dict[str, st.SearchStrategy[Any]] = {}
    for name in draw(st.lists(NAMES, max_size=4, unique=True)):
        schema, values = draw(typed(depth - 1))
        if draw(st.booleans()):
            schema = {**schema, "default": draw(values)}
            values = st.one_of(values, st.just(schema["default"]))
        properties[name] = schema
        (needed if draw(st.booleans()) else free)[name] = values
    schema = {"type": "object", "properties": properties, "required": list(needed)}
    return schema, st.fixed_dictionaries(needed, optional=free)


Case = tuple[State, dict[str, Any], dict[str, Any], dict[str, Any]]


@st.composite
def cases(draw: st.DrawFn, scalars: tuple[str, ...] = ()) -> Case:
    """A state with the tools f and g, the parameters of f, and two sets of arguments valid for it."""
    schema, values = draw(typed_object(scalars=scalars))
    tools = ({"type": "function", "function": {"name": name, "parameters": schema}} for name in "fg")
    return State(tools=tuple(tools)), schema, draw(values), draw(values)


def call(arguments: dict[str, Any], name: str = "f") -> Action:
    return Action(tool_calls=(ToolCall(name=name, arguments=arguments),))


def verdict(state: State, demonstration: Action, action: Action, name: str = "tool_call") -> Verdict:
    return verify(SPECS[name], state, [demonstration], action)


def assert_passes(state: State, arguments: dict[str, Any], same: dict[str, Any]) -> None:
    for one, other in ((arguments, same), (same, arguments)):
        assert verdict(state, call(one), call(other)) == Verdict(1.0, Outcome.CORRECT)


def assert_fails(state: State, demonstration: Action, action: Action, *outcomes: Outcome) -> None:
    for name in CALLS_AS_JSON:
        found = verdict(state, demonstration, action, name)
        assert found.reward == 0.0
        assert found.outcome in outcomes
        assert found.detail.isprintable()


ARGUMENTS = (Outcome.WRONG_ARGUMENTS, Outcome.MISSING_ARGUMENTS, Outcome.UNKNOWN_ARGUMENTS)


@patient
@given(cases())
def test_gold_passes_its_gate(case: Case) -> None:
    state, _, arguments, _ = case
    for name in CALLS_AS_JSON:
        found = passes_gate(SPECS[name], state, call(arguments))
        assert (found.reward, found.outcome) == (1.0, Outcome.CORRECT)


@patient
@given(cases())
def test_the_verdict_is_symmetric_and_exact_is_the_stricter(case: Case) -> None:
    state, _, one, other = case
    by_name = {name: verdict(state, call(one), call(other), name).reward for name in CALLS_AS_JSON}
    assert by_name == {name: verdict(state, call(other), call(one), name).reward for name in CALLS_AS_JSON}
    assert (by_name["exact"] or 0.0) <= (by_name["tool_call"] or 0.0)


@patient
@given(cases(), st.data())
def test_a_judge_remembers_nothing_of_what_it_judged(case: Case, data: st.DataObject) -> None:
    state, _, one, other = case
    actions = [call(one), call(other), call(other, "g"), call({**other, "unknown": 1}), call({})]
    judge = prepare(make_spec("tool_call", {}), state, [call(one)])
    for action in data.draw(st.permutations(actions * 2)):
        assert judge(action) == verdict(state, call(one), action)


# Mutations that do the same.


def reversed_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: reversed_keys(value[name]) for name in reversed(value)}
    return [reversed_keys(item) for item in value] if isinstance(value, list) else value


def padded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: padded(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [padded(item) for item in value]
    # White space counts around several lines, and around a text without a letter or digit.
    is_plain = isinstance(value, str) and "\n" not in value.strip() and any(map(str.isalnum, value))
    return f" \t{value}\n" if is_plain else value


def other_number_type(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: other_number_type(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [other_number_type(item) for item in value]
    if type(value) is int:
        return float(value) if abs(value) <= 2**53 else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def toggled_defaults(value: Any, schema: dict[str, Any]) -> Any:
    """Every optional argument at its default goes, every absent one with a default comes, at every level."""
    if isinstance(value, list):
        return [toggled_defaults(item, schema["items"]) for item in value]
    if not isinstance(value, dict):
        return value
    toggled: dict[str, Any] = {}
    for name, inner in schema["properties"].items():
        optional_default = name not in schema["required"] and "default" in inner
        if name not in value:
            toggled.update({name: inner["default"]} if optional_default else {})
        elif not (optional_default and repr(value[name]) == repr(inner["default"])):
            toggled[name] = toggled_defaults(value[name], inner)
    return toggled


@patient
@given(cases())
def test_calls_that_do_the_same_pass(case: Case) -> None:
    state, schema, arguments, _ = case
    assert_passes(state, arguments, reversed_keys(arguments))
    assert_passes(state, arguments, padded(arguments))
    assert_passes(state, arguments, other_number_type(arguments))
    assert_passes(state, arguments, toggled_defaults(arguments, schema))
    assert_passes(state, arguments, padded(reversed_keys(other_number_type(toggled_defaults(arguments, schema)))))


# Mutations that do something else.


@patient
@given(cases(("must have",)), st.data())
def test_without_a_required_argument_it_fails(case: Case, data: st.DataObject) -> None:
    state, schema, arguments, _ = case
    dropped = data.draw(st.sampled_from(schema["required"]))
    rest = {name: value for name, value in arguments.items() if name != dropped}
    assert_fails(state, call(arguments), call(rest), Outcome.MISSING_ARGUMENTS)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict | list):
        keys = value if isinstance(value, dict) else range(len(value))
        return [leaf for key in keys for leaf in leaves(value[key], (*path, key))]
    return [path]


def changed(value: Any, path: tuple[Any, ...]) -> Any:
    if path:
        copy = value.copy()
        copy[path[0]] = changed(value[path[0]], path[1:])
        return copy
    if isinstance(value, bool):
        return not value
    return f"{value.strip()}~" if isinstance(value, str) else [value]


@patient
@given(cases(("must have",)), st.data())
def test_with_one_value_changed_anywhere_it_fails(case: Case, data: st.DataObject) -> None:
    state, _, arguments, _ = case
    other = changed(arguments, data.draw(st.sampled_from(leaves(arguments))))
    assert_fails(state, call(arguments), call(other), *ARGUMENTS)
    assert_fails(state, call(other), call(arguments), *ARGUMENTS)


def kind_and_value(value: Any) -> Any:
    return (isinstance(value, bool), value.strip() if isinstance(value, str) else value)


@patient
@given(cases(("left", "right")))
def test_with_two_different_values_swapped_it_fails(case: Case) -> None:
    state, _, arguments, _ = case
    left, right = arguments["left"], arguments["right"]
    assume(kind_and_value(left) != kind_and_value(right))
    swapped = {**arguments, "left": right, "right": left}
    assert_fails(state, call(arguments), call(swapped), *ARGUMENTS)


@patient
@given(cases())
def test_with_a_call_more_or_less_it_fails(case: Case) -> None:
    state, _, arguments, other = case
    one, two = call(arguments), Action(tool_calls=(*call(arguments).tool_calls, *call(other).tool_calls))
    assert_fails(state, one, two, Outcome.SURPLUS_CALLS)
    assert_fails(state, two, one, Outcome.MISSING_CALLS)


@patient
@given(cases())
def test_by_another_tool_it_fails(case: Case) -> None:
    state, _, arguments, _ = case
    assert_fails(state, call(arguments), call(arguments, "g"), Outcome.WRONG_TOOL)
    assert_fails(state, call(arguments), call(arguments, "F"), Outcome.WRONG_TOOL)


# Hostile input.

KEYWORDS = st.sampled_from(
    [
        "properties",
        "required",
        "default",
        "items",
        "additionalProperties",
        "$ref",
        "$defs",
        "anyOf",
        "type",
        "a",
        "b",
    ]
)
HOSTILE = st.recursive(
    st.sampled_from([None, True, 0, 1.0, "a", "", "#", "#/$defs/a", "#/properties/b"]),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYWORDS, inner, max_size=4)),
    max_leaves=25,
)
VALUES = st.dictionaries(KEYWORDS, HOSTILE, max_size=3)


@patient
@given(HOSTILE, VALUES, VALUES)
def test_no_schema_makes_a_verdict_fail_or_lopsided(schema: Any, one: Any, other: Any) -> None:
    state = State(tools=({"type": "function", "function": {"name": "f", "parameters": schema}},))
    there, back = verdict(state, call(one), call(other)), verdict(state, call(other), call(one))
    assert there.outcome != Outcome.ERROR
    assert there.reward == back.reward
    assert verdict(state, call(one), call(reversed_keys(one))) == verdict(state, call(one), call(one))


def test_deep_and_long_arguments_are_compared_like_any_other() -> None:
    deep: Any = "x"
    for _ in range(49):
        deep = {"a": [deep], "b": 1}
    assert_passes(State(), {"d": deep}, {"d": reversed_keys(padded(deep))})
    assert_fails(State(), call({"d": deep}), call({"d": changed(deep, ("a", 0) * 49)}), Outcome.WRONG_ARGUMENTS)
    long = "é" * 1_000_000
    assert_passes(State(), {"s": long}, {"s": f" {long} "})
    assert_fails(State(), call({"s": long}), call({"s": long + "x"}), Outcome.WRONG_ARGUMENTS)
    assert len(verdict(State(), call({"s": long}), call({"s": long + "x"})).detail) < 250


def test_characters_that_look_alike_stay_different_even_in_free_text() -> None:
    spec = make_spec("tool_call", {"free_text": ["f.s"]})
    for one, other in (("a", "а"), ("o", "ο"), ("-", "–"), ("0", "O"), ("x", "x\u200b"), ("é", "e\u0301")):
        assert verify(spec, State(), [call({"s": one})], call({"s": other})).reward == 0.0


@patient
@given(cases(), st.data())
def test_two_calls_are_the_same_where_their_forms_are_equal(case: Case, data: st.DataObject) -> None:
    """The walk over both at once, which tells the first difference, against forms made of each alone."""
    state, parameters, one, other = case
    for name in list(other):
        if name in one and data.draw(st.booleans()):
            other = {**other, name: one[name]}
    schema = Schema(parameters)
    same = canonical_form(one, schema) == canonical_form(other, schema)
    for demonstrated, answer in ((one, other), (other, one)):
        found = verdict(state, call(demonstrated), call(answer))
        assert (found.reward, found.outcome == Outcome.CORRECT) == (float(same), same)
        assert bool(found.detail) != same


def test_two_zeros_are_one_number_and_two_spellings() -> None:
    state, one, other = State(), call({"a": [0.0], "b": 0.0}), call({"a": [-0.0], "b": -0.0})
    assert verdict(state, one, other) == Verdict(1.0, Outcome.CORRECT)
    assert verdict(state, one, other, "exact") == Verdict(
        0.0, Outcome.WRONG_ARGUMENTS, "f.a[0]: -0.0, demonstrated 0.0"
    )
