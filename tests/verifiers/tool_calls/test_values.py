"""How `tool_call` compares single values: what a schema or an option says of them."""

from typing import Any

import pytest

from pivotmine.actions.action import Action, ToolCall
from pivotmine.verifiers import State, make_spec, verify
from pivotmine.verifiers.tool_calls.canonical import MAX_UNORDERED
from pivotmine.verifiers.tool_calls.string_formats import MAX_CHARS


def same(one: Any, other: Any, schema: dict[str, Any] | None = None, name: str = "a", **options: Any) -> bool:
    """Whether two values of one argument are worth 1 for each other, and the two ways round agree."""
    parameters = {"type": "object", "properties": {name: schema or {}}}
    state = State(tools=({"type": "function", "function": {"name": "f", "parameters": parameters}},))
    calls = [Action(tool_calls=(ToolCall(name="f", arguments={name: value}),)) for value in (one, other)]
    spec = make_spec("tool_call", options)
    rewards = {verify(spec, state, [calls[i]], calls[1 - i]).reward for i in (0, 1)}
    assert len(rewards) == 1, "not symmetric"
    assert all(verify(spec, state, [call], call).reward == 1 for call in calls), "not reflexive"
    return rewards == {1.0}


@pytest.mark.parametrize("schema", [{"enum": ["up", "UP", " up"]}, {"const": "up"}])
def test_what_a_schema_enumerates_is_compared_as_it_is(schema: dict[str, Any]) -> None:
    assert same("up", "up", schema)
    for other in (" up", "up ", "UP", "Up"):
        assert not same("up", other, schema)
        assert not same("up", other, schema, free_text=["f.a"])
    assert same("up", " UP", free_text=["f.a"])


def test_white_space_counts_in_what_is_written_or_pressed() -> None:
    for name in ("new_str", "newString", "file_text", "content", "keystrokes", "code", "OLD_STRING"):
        assert not same("x = 1", "    x = 1", name=name), name
        assert not same("ls", "ls\n", name=name), name
    assert same("Ann", " Ann\n", name="customer")
    # A declaration of one's own wins over the name.
    assert same("To Ann", " to ann\n", name="text", free_text=["*.text"])


def test_the_names_go_for_what_is_inside_lists_too() -> None:
    assert not same([{"new_str": "x"}], [{"new_str": " x"}], name="edits")
    assert not same(["x"], [" x"], name="content")
    assert same([{"file": "x"}], [{"file": " x"}], name="edits")


def test_of_several_lines_the_outer_white_space_counts_under_any_name() -> None:
    assert not same("if x:\n    y", "  if x:\n    y")
    assert not same("one\ntwo", "one\ntwo\n")
    assert same("one", "one\n")


def test_a_pattern_or_a_declaration_keeps_white_space() -> None:
    assert not same("AB1", " AB1", {"pattern": "^[A-Z]"})
    assert not same("AB1", " AB1", exact=["f.a"])
    assert not same("AB1", "ab1", exact=["*.a"], free_text=["*.a"])


@pytest.mark.parametrize(
    ("form", "one", "other", "expected"),
    [
        ("date-time", "2024-05-01T10:00:00Z", "2024-05-01t12:00+02:00", True),
        ("date-time", "2024-05-01T10:00:00Z", "2024-05-01 10:00:00.000Z", True),
        ("date-time", "2024-05-01T10:00:00Z", "2024-05-01T10:00:00", False),
        ("date-time", "2024-05-01T10:00:00Z", "2024-05-01T10:00:00.001Z", False),
        ("date-time", "2024-05-01T00:00:00", "2024-05-01", False),
        ("date-time", "0001-01-01T00:00+12:00", "0001-01-01T00:00+11:00", False),
        ("date-time", "2024-13-01T10:00Z", "2024-13-01T10:00+00:00", False),
        ("date-time", "2024-05-01T10:00:00.0000001Z", "2024-05-01T10:00:00Z", False),
        ("date", "2024-05-01", " 2024-05-01", True),
        ("date", "2024-05-01", "2024-01-05", False),
        ("time", "10:00", "10:00:00.000", True),
        ("time", "10:00Z", "10:00:00+00:00", True),
        ("time", "10:00", "22:00", False),
        ("uuid", "6F9619FF-8B86-D011-B42D-00C04FC964FF", "6f9619ff-8b86-d011-b42d-00c04fc964ff", True),
        ("uuid", "6f9619ff8b86d011b42d00c04fc964ff", "6F9619FF8B86D011B42D00C04FC964FF", False),
        ("email", "Ann@Example.COM", "Ann@example.com", True),
        ("email", "Ann@example.com", "ann@example.com", False),
        ("hostname", "Example.com", "example.com", True),
        ("hostname", "example.com", "ex\u0430mple.com", False),
        ("ipv6", "2001:DB8::1", "2001:db8:0:0:0:0:0:1", True),
        ("ipv6", "2001:db8::1", "2001:db8::2", False),
        ("uri", "HTTP://Example.com", "http://example.com/", True),
        ("uri", "http://example.com/A", "http://example.com/a", False),
        ("uri", "http://a@Example.com/?q=A", "http://a@example.com/?q=A", True),
        ("uri", "http://A@example.com/", "http://a@example.com/", False),
        ("uri", "ht\ntp://example.com/", "http://example.com/", False),
        ("uri", "http://exa\nmple.com/", "http://example.com/", False),
        ("uri", "mailto:Ann", "mailto:ann", False),
        ("unheard-of", "A", "a", False),
    ],
)
def test_a_format_has_one_form_for_what_says_the_same(form: str, one: str, other: str, expected: bool) -> None:  # noqa: FBT001
    assert same(one, other, {"format": form}) == expected
    if expected and one != other.strip():
        assert not same(one, other), "without the format they are two texts"


def test_dates_may_be_declared_and_long_texts_are_none() -> None:
    assert same("2024-05-01T10:00:00Z", "2024-05-01T12:00+02:00", dates=["*.a"])
    assert not same("2024-05-01T10:00:00Z", "2024-05-01T12:00+02:00", dates=["*.b"])
    host = "a" * MAX_CHARS
    assert same(host, host.upper(), {"format": "hostname"})
    assert not same(host + "a", host.upper() + "A", {"format": "hostname"})


def test_lists_without_order_where_they_are_declared() -> None:
    unique = {"type": "array", "uniqueItems": True}
    assert same(["a", "b ", 1], [1.0, "b", "a"], unique)
    assert not same(["a", "b"], ["b", "a"])
    assert same(["a", "b"], ["b", "a"], unordered=["f.a"])
    assert not same(["a", "a", "b"], ["a", "b", "b"], unique)
    assert not same(["a", "b"], ["a", "b", "b"], unique)
    assert not same([["a", "b"]], [["b", "a"]], unordered=["f.a"])
    assert not same([1], [True], unique)
    assert not same(["a"], "a", unique)
    many = list(range(MAX_UNORDERED + 1))
    assert same(many[1:], many[:0:-1], unique)
    assert not same(many, many[::-1], unique)


def test_measures_may_differ_by_a_declared_tolerance() -> None:
    assert not same(0.1, 0.1000001)
    assert same(0.1, 0.1000001, tolerance=1e-5)
    assert not same(0.1, 0.11, tolerance=1e-5)
    assert same([{"x": 0.1}], [{"x": 0.1000001}], tolerance=1e-5)
    assert not same([{"x": 0.1}], [{"y": 0.1000001}], tolerance=1e-5)
    assert not same([0.1], [0.1, 0.1], tolerance=1e-5)
    assert not same(1e300, 10**400, tolerance=0.5)
    # Whole numbers name or count; so does what the schema calls an integer.
    assert not same(12345678, 12345679, tolerance=0.1)
    assert not same(3.0, 3.1, {"type": "integer"}, tolerance=0.1)
    assert same(3.0, 3.1, {"type": "number"}, tolerance=0.1)
    assert not same(3.0, 3.1, {"enum": [3.0, 3.1]}, tolerance=0.1)
    assert not same(0.5, [0.5], {"items": {"type": "integer"}}, tolerance=0.1)
    assert not same(1, True, tolerance=0.5)
