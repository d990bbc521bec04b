from typing import Any

import pytest
from pivotmine.actions.schema_values import declared_types, schema_types, value_of


@pytest.mark.parametrize(
    ("schema", "types"),
    [
        ({"type": "integer"}, {"integer"}),
        ({"type": ["string", "null"]}, {"string", "null"}),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, {"integer", "null"}),
        ({"oneOf": [{"allOf": [{"type": "array"}]}]}, {"array"}),
        (
            {"enum": ["a", 1, None, True, 1.5, [], {}]},
            {"string", "number", "null", "boolean", "array", "object"},
        ),
        ({"const": "a"}, {"string"}),
        ({"type": "integer", "enum": ["a"]}, {"integer"}),
        ({}, set[str]()),
        ({"type": 3, "anyOf": "x", "enum": {}}, set[str]()),
        (None, set[str]()),
    ],
)
def test_types_that_a_schema_lets_through(schema: Any, types: set[str]) -> None:
    assert schema_types(schema) == types


@pytest.mark.parametrize(
    ("text", "declared", "value"),
    [
        ("3", None, "3"),
        ("3", {"string"}, "3"),
        ("3", {"integer", "string"}, "3"),
        ("3", {"integer"}, 3),
        ("3.0", {"number"}, 3.0),
        ("3", set[str](), 3),
        ("tea", set[str](), "tea"),
        ("tea", {"integer"}, "tea"),
        ("NaN", {"number"}, "NaN"),
        ('{"a": 1, "a": 2}', {"object"}, '{"a": 1, "a": 2}'),
        ('{"a": [1]}', {"object"}, {"a": [1]}),
        ("true", {"boolean"}, True),
        ("True", {"boolean"}, True),
        (" False ", {"boolean", "null"}, False),
        ("True", {"string", "boolean"}, "True"),
        ("True", set[str](), "True"),
        ("null", {"string"}, "null"),
        ("null", {"string", "null"}, None),
        ("None", {"integer", "null"}, None),
        ("None", {"integer"}, "None"),
        ("null", {"integer"}, None),
        ("", {"integer"}, ""),
    ],
)
def test_text_becomes_the_declared_value(text: str, declared: set[str] | None, value: Any) -> None:
    read = value_of(text, None if declared is None else frozenset(declared))
    assert (type(read), read) == (type(value), value)


def test_definitions_of_another_form_declare_nothing() -> None:
    odd: list[Any] = [
        None,
        {},
        {"function": 3},
        {"function": {"name": "a", "parameters": {"properties": [1]}}},
    ]
    good = {"function": {"name": "b", "parameters": {"properties": {"x": {"type": "integer"}}}}}
    assert declared_types([*odd, good]) == {"None": {}, "a": {}, "b": {"x": {"integer"}}}
