"""What `tool_call` uses of a schema, honest or hostile."""

from typing import Any

import pytest

from pivotmine.actions.action import Action, ToolCall
from pivotmine.verifiers import Outcome, State, make_spec, verify
from pivotmine.verifiers.tool_calls.schema import MAX_SHARED, shared_schema


def outcome(parameters: Any, demonstrated: dict[str, Any], given: dict[str, Any]) -> Outcome:
    tools = ({"type": "function", "function": {"name": "f", "parameters": parameters}},)
    gold, action = (Action(tool_calls=(ToolCall(name="f", arguments=a),)) for a in (demonstrated, given))
    return verify(make_spec("tool_call", {}), State(tools=tools), [gold], action).outcome


@pytest.mark.parametrize(
    ("rest", "expected"),
    [({}, "unknown_arguments"), ({"additionalProperties": False}, "unknown_arguments"),
     ({"additionalProperties": True}, "correct"), ({"additionalProperties": {}}, "correct"),
     ({"patternProperties": {"^x": {}}}, "correct"),
     ({"additionalProperties": False, "patternProperties": {"^x": {}}}, "correct"),
     ({"allOf": [{"properties": {"x": {}}}]}, "correct"),
     ({"required": ["x"]}, "correct")],
)  # fmt: skip
def test_what_closes_a_schema_to_other_names(rest: dict[str, Any], expected: str) -> None:
    assert outcome({"properties": {"a": {}}, **rest}, {"x": 1}, {"x": 1}) == expected


def test_a_closed_schema_needs_no_properties() -> None:
    assert outcome({"properties": {}}, {"x": 1}, {"x": 1}) == "unknown_arguments"
    assert outcome({"additionalProperties": False}, {"x": 1}, {"x": 1}) == "unknown_arguments"
    assert outcome({"type": "object"}, {"x": 1}, {"x": 1}) == "correct"


def test_a_default_stands_for_an_optional_argument_only() -> None:
    optional = {"properties": {"a": {"default": 5}}}
    assert outcome(optional, {}, {"a": 5}) == "correct"
    assert outcome({**optional, "required": ["a"]}, {"a": 5}, {}) == "missing_arguments"
    assert outcome({**optional, "required": ["a"]}, {"a": 5}, {"a": 5}) == "correct"


def test_a_null_default_is_a_default_and_no_default_is_none() -> None:
    assert outcome({"properties": {"a": {"default": None}}}, {}, {"a": None}) == "correct"
    assert outcome({"properties": {"a": {}}}, {}, {"a": None}) == "wrong_arguments"


def test_a_default_that_is_an_object_has_defaults_inside() -> None:
    inner = {"properties": {"b": {"default": 1}, "c": {}}, "default": {"b": 1, "c": 2}}
    schema = {"properties": {"a": inner}}
    for same in ({"a": {"b": 1, "c": 2}}, {"a": {"c": 2}}, {}):
        assert outcome(schema, {}, same) == "correct"
    assert outcome(schema, {}, {"a": {}}) == "wrong_arguments"


def test_references_are_followed_and_a_default_beside_one_counts() -> None:
    schema = {
        "properties": {
            "a": {"$ref": "#/$defs/a~1b", "default": {"n": 1}},
            "b": {"$ref": "#/definitions/chain"},
        },
        "$defs": {"a/b": {"properties": {"n": {"default": 1}}, "default": {"n": 2}}},
        "definitions": {"chain": {"$ref": "#/$defs/a~1b"}},
    }
    assert outcome(schema, {}, {"a": {}}) == "correct"
    assert outcome(schema, {}, {"a": {"n": 2}}) == "wrong_arguments"
    assert outcome(schema, {}, {"b": {"n": 2}}) == "correct"
    assert outcome(schema, {"a": {"x": 1}}, {"a": {"x": 1}}) == "unknown_arguments"


def test_the_arguments_themselves_may_be_a_reference() -> None:
    schema = {"$ref": "#/definitions/f", "definitions": {"f": {"properties": {"a": {"default": 1}}}}}
    assert outcome(schema, {}, {"a": 1}) == "correct"
    assert outcome(schema, {}, {"b": 1}) == "unknown_arguments"


@pytest.mark.parametrize("keyword", ["anyOf", "oneOf", "allOf"])
def test_no_default_is_applied_inside_a_combination(keyword: str) -> None:
    inner = {"type": "object", "properties": {"n": {"default": 1}}}
    schema = {"properties": {"a": {keyword: [inner], "default": None}}}
    assert outcome(schema, {"a": {}}, {"a": {"n": 1}}) == "unknown_arguments"
    assert outcome(schema, {"a": {"n": 1}}, {"a": {"n": 1.0}}) == "correct"
    # A default next to it is the argument's own.
    assert outcome(schema, {"a": None}, {}) == "correct"


def test_no_default_is_applied_beside_a_rule_about_which_arguments_are_there() -> None:
    schema = {
        "properties": {"a": {"default": 1}, "b": {}},
        "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
    }
    assert outcome(schema, {"a": 1}, {}) == "missing_arguments"
    schema = {"properties": {"a": {"default": 1}}, "minProperties": 1}
    assert outcome(schema, {"a": 1}, {}) == "missing_arguments"


def test_a_default_that_its_own_schema_refuses_is_still_the_same_as_nothing() -> None:
    schema = {"properties": {"a": {"properties": {}, "default": {"z": 1}}}}
    assert outcome(schema, {"a": {"z": 1}}, {}) == "correct"
    assert outcome(schema, {}, {"a": {"z": 1}}) == "correct"


def test_a_reference_that_leads_nowhere_does_not_lead_to_the_start() -> None:
    schema = {"properties": {"a": {"$ref": "#nowhere"}, "n": {"default": 1}}}
    assert outcome(schema, {"a": {}}, {"a": {"n": 1}}) == "unknown_arguments"


def test_values_of_a_map_have_the_schema_of_its_rest() -> None:
    schema = {"additionalProperties": {"properties": {"n": {"default": 1}}}}
    assert outcome(schema, {"any": {}}, {"any": {"n": 1}}) == "correct"
    assert outcome(schema, {"any": {}}, {"other": {}}) == "missing_arguments"
    # Which names a pattern takes out of the rest is not asked: a hostile pattern runs for ever.
    schema["patternProperties"] = {"^a": {}}
    assert outcome(schema, {"any": {}}, {"any": {"n": 1}}) == "unknown_arguments"


def test_list_positions_with_schemas_of_their_own_compare_as_json() -> None:
    item = {"properties": {"n": {"default": 1}}}
    assert outcome({"properties": {"a": {"items": item}}}, {"a": [{}]}, {"a": [{"n": 1}]}) == "correct"
    tuples = {"properties": {"a": {"prefixItems": [{}], "items": item}}}
    assert outcome(tuples, {"a": [{}]}, {"a": [{"n": 1}]}) == "unknown_arguments"


MALFORMED: list[Any] = [
    None, [], "object", 7, True, {"properties": ["a"]}, {"properties": "a"}, {"properties": {"a": [1]}},
    {"required": "a"}, {"required": {"a": 1}}, {"required": [1, None, ["z"], {}]}, {"$ref": 7}, {"$ref": "#"},
    {"$ref": "#/$defs/none"}, {"$ref": "#nowhere"}, {"$ref": "https://host/s"}, {"$ref": "#/" * 10_000},
    {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    {"$ref": "#/$defs/a", "properties": {"b": {}}, "$defs": {"a": {"properties": {"c": {}}}}},
    {"properties": {"a": {"items": [{}]}}}, {"properties": {"a": {"properties": 3, "default": {}}}},
    {"additionalProperties": "no"}, {"patternProperties": {"(a+)+$": {}}, "additionalProperties": False},
]  # fmt: skip


@pytest.mark.parametrize("parameters", MALFORMED, ids=lambda value: str(value)[:40])
def test_what_is_malformed_is_as_if_it_were_not_there(parameters: Any) -> None:
    assert outcome(parameters, {"a": [{"b": 1}]}, {"a": [{"b": 1.0}]}) == "correct"
    assert outcome(parameters, {"a": [{"b": 1}]}, {"a": [{"b": 2}]}) == "wrong_arguments"


@pytest.mark.parametrize("tools", [(7,), (None, []), ({},), ({"function": 1},), ({"function": {"name": 3}},)])
def test_tools_that_cannot_be_read_are_no_tools(tools: tuple[Any, ...]) -> None:
    gold = Action(tool_calls=(ToolCall(name="f", arguments={"a": 1}),))
    assert verify(make_spec("tool_call", {}), State(tools=tools), [gold], gold).outcome == "correct"


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def test_a_schema_that_contains_itself_describes_every_level() -> None:
    schema = {"properties": {"a": {"$ref": "#"}, "n": {"default": 0}}}
    assert outcome(schema, nested(99), nested(99)) == "correct"
    assert outcome(schema, {"a": {"a": {}}}, {"a": {"a": {"n": 0}}, "n": 0}) == "correct"
    assert outcome(schema, {"a": {"a": {}}}, {"a": {"a": {"z": 0}}}) == "unknown_arguments"


def test_a_default_that_contains_itself_ends() -> None:
    schema = {"properties": {"a": {"$ref": "#", "default": nested(50)}}}
    assert outcome(schema, nested(99), nested(99)) == "correct"
    assert outcome(schema, {}, {"a": 1}) == "wrong_arguments"


def test_references_that_multiply_at_every_level_cost_nothing() -> None:
    levels = {
        f"l{i}": {"properties": {x: {"$ref": f"#/$defs/l{i + 1}", "default": {}} for x in "ab"}} for i in range(60)
    }
    schema = {"$ref": "#/$defs/l0", "$defs": levels}
    assert outcome(schema, {}, {"a": {"b": {"a": {}}}}) == "correct"


def test_defaults_that_multiply_at_every_level_end() -> None:
    wide: dict[str, Any] = {str(i): {} for i in range(200)}
    node = {"$ref": "#/$defs/node", "default": wide}
    schema = {"$ref": "#/$defs/node", "$defs": {"node": {"properties": {str(i): node for i in range(200)}}}}
    assert outcome(schema, {"0": wide}, {"0": wide}) == "correct"


def test_a_huge_schema_costs_no_more_than_reading_it() -> None:
    names = [f"p{i}" for i in range(100_000)]
    schema = {"properties": {name: {"default": 0} for name in names}, "required": names[:50_000]}
    assert outcome(schema, {"p99999": 1}, {"p99999": 1}) == "missing_arguments"


def test_a_schema_is_shared_by_identity_and_never_by_likeness() -> None:
    one, other = {"properties": {"a": {}}}, {"properties": {"a": {}}}
    assert shared_schema(one, ()) is shared_schema(one, ())
    assert shared_schema(one, ()) is not shared_schema(other, ())
    assert shared_schema(one, ()) is not shared_schema(one, (("exact", "a"),))
    kept = [shared_schema({"required": [str(i)]}, ()) for i in range(3 * MAX_SHARED)]
    assert [schema.required for schema in kept] == [frozenset([str(i)]) for i in range(3 * MAX_SHARED)]
