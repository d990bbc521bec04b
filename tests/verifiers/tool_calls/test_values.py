"""How `tool_call` compares single values, by the schema or an option."""

import json
from typing import Any

import pytest

from pivotmine.actions.action import Action, ToolCall
from pivotmine.errors import UserError
from pivotmine.verifiers import Outcome, State, make_spec, verify
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
    for name in ("replacement_text", "fileContents", "keys", "db_password", "new-lines", "HTMLText", "separator"):
        assert not same("x", "  x", name=name), name
    for name in ("customer", "context", "monkeys", "country_code", "source_city", "", "_", "9"):
        assert same("Ann", " Ann\n", name=name), name
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


WHITE_SPACE = ["", " ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u3000"]
SEPARATORS = [",", ", ", " , ", ";\n", ";", "|", " | ", "--", "-- "]


@pytest.mark.parametrize("texts", [WHITE_SPACE, SEPARATORS], ids=["white space", "separators"])
@pytest.mark.parametrize(
    "options", [{}, {"free_text": ["*.a"]}, {"dates": ["*.a"]}, {"any_case": ["*.*"]}], ids=lambda o: "".join(o)
)
def test_in_a_text_without_a_letter_or_digit_every_character_counts(texts: list[str], options: dict[str, Any]) -> None:
    for one in texts:
        assert [other for other in texts if same(one, other, **options)] == [one]
        assert [other for other in texts if same(one, other, {"format": "email"}, **options)] == [one]
        assert [other for other in texts if same([{"x": one}], [{"x": other}], **options)] == [one]


def test_case_may_be_declared_not_to_count() -> None:
    assert not same("Den Haag", "den haag")
    assert same("Den Haag", " den haag", any_case=["f.a"])
    assert not same("Den  Haag", "den haag", any_case=["f.a"])
    assert not same("Den Haag", "den haag", any_case=["g.a", "*.b"])
    assert same([{"x": {"y": "Up"}}], [{"x": {"y": "up"}}], any_case=["*.*"])
    assert not same([{"x": {"y": "Up"}}], [{"x": {"y": "up"}}], any_case=["*.a"])
    assert same("To Ann ", "TO ANN ", name="text", any_case=["*.*"])
    assert not same("To Ann ", "TO ANN", name="text", any_case=["*.*"])
    # A schema that lists its values means them.
    assert not same("up", "UP", {"enum": ["up", "UP"]}, any_case=["*.*"])
    assert not same("up", "UP", any_case=["*.*"], exact=["f.a"])


def test_a_star_stands_for_any_name() -> None:
    one, other = {"b": {"c": "X"}, "d": "x"}, {"b": {"c": "x"}, "d": "x"}
    for path in ("f.a.b.c", "f.a.*.c", "*.a.b.c", "*.*.*.c", "f.a.b.*", "f.a.*", "*.*"):
        assert same(one, other, free_text=[path]), path
    for path in ("f.a.b", "f.a.d.*", "*.b.c", "g.*", "f.a.*.d"):
        assert not same(one, other, free_text=[path]), path


def test_several_values_may_count_as_one() -> None:
    cities = [{"argument": "f.a", "values": ["NYC", "New York"]}, {"argument": "*.a", "values": [1, None, ["x", 2]]}]
    assert same("NYC", "New York", alternatives=cities)
    assert not same("NYC", "nyc", alternatives=cities)
    assert same(1, ["x", 2], alternatives=cities)
    assert same(None, 1, alternatives=cities)
    assert not same(True, 1, alternatives=cities)
    assert not same("NYC", None, alternatives=cities)
    assert not same(["NYC"], ["New York"], alternatives=cities)
    assert same({"b": "NYC"}, {"b": "New York"}, alternatives=[{"argument": "f.a.b", "values": ["NYC", "New York"]}])
    assert same([{"b": "NYC"}], [{"b": "New York"}], alternatives=[{"argument": "f.*", "values": ["NYC", "New York"]}])


def ignoring(parameters: Any, one: dict[str, Any], other: dict[str, Any], *paths: str) -> Outcome:
    state = State(tools=({"type": "function", "function": {"name": "f", "parameters": parameters}},))
    golds = [Action(tool_calls=(ToolCall(name="f", arguments=arguments),)) for arguments in (one, other)]
    return verify(make_spec("tool_call", {"ignore": list(paths)}), state, golds[:1], golds[1]).outcome


def test_the_value_of_an_ignored_argument_does_not_count() -> None:
    for parameters in (None, {"properties": {"thought": {"type": "string"}, "b": {}}}):
        assert ignoring(parameters, {"thought": "x"}, {"thought": "y"}, "f.thought") == Outcome.CORRECT
        assert ignoring(parameters, {"thought": {"x": 1}}, {"thought": {"y": [2]}}, "*.thought") == Outcome.CORRECT
        assert ignoring(parameters, {"thought": "x"}, {}, "f.thought") == Outcome.CORRECT
        assert ignoring(parameters, {}, {"thought": "x"}, "f.*") == Outcome.CORRECT
        assert ignoring(parameters, {"thought": "x"}, {"thought": "y"}, "g.thought") == Outcome.WRONG_ARGUMENTS
        assert ignoring(parameters, {"thought": "x", "b": 1}, {"b": 2}, "f.thought") == Outcome.WRONG_ARGUMENTS
    inside = {"properties": {"log": {"properties": {"note": {}, "level": {}}}}}
    one, other = {"log": {"note": "x", "level": 1}}, {"log": {"note": "y", "level": 1}}
    assert ignoring(inside, one, other, "f.log.note") == Outcome.CORRECT
    assert ignoring(inside, one, {"log": {"note": "x", "level": 2}}, "f.log.note") == Outcome.WRONG_ARGUMENTS


def test_an_ignored_argument_still_obeys_the_schema() -> None:
    required = {"properties": {"thought": {}}, "required": ["thought"]}
    assert ignoring(required, {"thought": "x"}, {"thought": "y"}, "f.thought") == Outcome.CORRECT
    assert ignoring(required, {"thought": "x"}, {}, "f.thought") == Outcome.MISSING_ARGUMENTS
    closed = {"properties": {"b": {}}}
    assert ignoring(closed, {"b": 1}, {"b": 1, "thought": "x"}, "f.thought") == Outcome.UNKNOWN_ARGUMENTS


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ignore": ["thought"]},
         'verifier tool_call, option ignore: "thought" names no argument: write "tool.argument" or "*.argument"'),
        ({"alternatives": [{"argument": "a", "values": [1, 2]}]},
         'verifier tool_call, option alternatives: "a" names no argument: write "tool.argument" or "*.argument"'),
        ({"alternatives": [{"argument": "f.a", "values": [1]}]},
         "verifier tool_call, option alternatives: f.a needs at least two values"),
        ({"alternatives": [{"argument": "f.a", "values": [{}, 1]}]},
         "verifier tool_call, option alternatives[0], option values[0]: must be a string, a number, true, false, null "
         "or a list of them, is {}"),
        ({"alternatives": ["f.a"]},
         "verifier tool_call, option alternatives[0]: must be a table with argument and values, is 'f.a'"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as raised:
        make_spec("tool_call", options)
    assert str(raised.value) == message


def test_the_options_are_made_again_from_their_json() -> None:
    spec = make_spec("tool_call", {"alternatives": [{"argument": "f.a", "values": ["x", ["y", 1.5, None]]}]})
    assert make_spec("tool_call", json.loads(spec.options_json)) == spec
    assert hash(spec) == hash(make_spec("tool_call", json.loads(spec.options_json)))
