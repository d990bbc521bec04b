"""Mutations: every kind once, with its label, and none if it cannot be made."""

from typing import Any

from pivotmine.actions import Action, ToolCall, Unparsed
from pivotmine.verifiers import State
from pivotmine_stages.audit.mutations import mutations
from pivotmine_stages.audit.rivals import Rivals
from pivotmine_stages.audit.text_mutations import UNRELATED

PARAMETERS = {
    "type": "object",
    "properties": {
        "room": {"type": "string"},
        "to": {"type": "string", "enum": ["EDE", "AMS"]},
        "count": {"type": "integer", "default": 1},
        "late": {"type": "boolean", "default": False},
        "tags": {"type": "array", "uniqueItems": True},
        "code": {"type": "string"},
    },
    "required": ["room", "to"],
}
STATE = State(
    tools=tuple({"type": "function", "function": {"name": name, "parameters": PARAMETERS}} for name in ("book", "bash"))
)


def call(**arguments: Any) -> Action:
    return Action(tool_calls=(ToolCall(name="book", arguments=arguments),))


def made(action: Action, state: State = STATE) -> dict[str, list[Any]]:
    """By mutation, + or - for its label: the arguments of its call, or all of it where it is not one such call."""
    found: dict[str, list[Any]] = {}
    for name, must_pass, mutated in mutations(state, action):
        plain = len(mutated.tool_calls) == 1 and mutated.tool_calls[0].name == action.tool_calls[0].name
        shown = mutated.tool_calls[0].arguments if plain and not mutated.truncated else mutated
        found.setdefault(("+" if must_pass else "-") + name, []).append(shown)
    return found


CUT_OFF = """<tool_call>
{"name":"book","arguments":{"room":"R1","to":"EDE","count":1,"tags":["a","b"]}"""
NOT_CLOSED = "not closed by </tool_call>; not JSON: Expecting ',' delimiter at character 78"


def test_every_mutation_of_a_call() -> None:
    arguments = {"room": "R1", "to": "EDE", "count": 1, "tags": ["a", "b"]}
    gold = call(**arguments)
    first = gold.tool_calls[0]
    assert made(gold) == {
        "+itself": [arguments],
        "+other_reasoning": [arguments],
        "-truncated": [Action(tool_calls=(first,), truncated=True)],
        "-empty": [Action()],
        "-message_for_call": [Action(message="I would call book.")],
        "-same_call_twice": [Action(tool_calls=(first, first))],
        "-cut_off": [Action(unparsed=(Unparsed(text=CUT_OFF, reason=NOT_CLOSED),))],
        "-other_call_added": [
            Action(tool_calls=(ToolCall(name="book", arguments={**arguments, "zzyzx": 1}), first)),
        ],
        "-other_tool": [Action(tool_calls=(ToolCall(name="bash", arguments=arguments),))],
        "-argument_dropped": [
            {"to": "EDE", "count": 1, "tags": ["a", "b"]},
            {"room": "R1", "count": 1, "tags": ["a", "b"]},
        ],
        "-value_changed": [
            {**arguments, "room": UNRELATED},
            {**arguments, "to": "AMS"},
            {**arguments, "count": 2},
        ],
        "-value_inside_changed": [{**arguments, "tags": [UNRELATED, "b"]}, {**arguments, "tags": ["a", UNRELATED]}],
        "-number_changed": [{**arguments, "room": "R2"}],
        "-values_swapped": [{**arguments, "room": "EDE", "to": "R1"}],
        "-unknown_argument": [{**arguments, "zzyzx": 1}],
        "-blank_value": [{**arguments, "room": " "}, {**arguments, "to": " "}],
        "-near_miss": [
            {**arguments, "room": "R11"},
            {**arguments, "to": "EDDE"},
            {**arguments, "count": 1.5},
        ],
        "+keys_reversed": [arguments],
        "+white_space": [{**arguments, "room": " R1 "}],
        "+whole_number_as_float": [{**arguments, "count": 1.0}],
        "+default_made_explicit": [{**arguments, "late": False}],
        "+default_left_out": [{"room": "R1", "to": "EDE", "tags": ["a", "b"]}],
        "+unordered_list_permuted": [{**arguments, "tags": ["b", "a"]}],
    }
    reversed_keys = made(gold)["+keys_reversed"][0]
    assert list(reversed_keys) == ["tags", "count", "to", "room"]


def test_white_space_is_added_only_where_it_says_nothing() -> None:
    assert "+white_space" not in made(call(to="EDE", code="x = 1"))
    assert made(call(room="one\ntwo", to="EDE"))["-value_changed"][0]["room"] == UNRELATED
    assert "+white_space" not in made(call(room="one\ntwo", to="EDE"))


def test_a_blank_value_is_exchanged_for_another_one() -> None:
    found = made(call(room="\t", to=" ", code=""))["-blank_value"]
    assert [(one["room"], one["to"], one["code"]) for one in found] == [("", " ", ""), ("\t", "", ""), ("\t", " ", " ")]


def test_a_command_is_changed_in_its_argument_and_in_a_block_of_code() -> None:
    rivals = Rivals(commands=("ls -l src", "ls src -l", "rm -r src"))
    changed = {"another_turns_command": "rm -r src", "or_true": "ls -l src || true", "flag_dropped": "ls src"}
    bash = Action(tool_calls=(ToolCall(name="bash", arguments={"command": "ls -l src", "timeout": 5}),), reasoning="so")
    found = {one.name: one.action for one in mutations(STATE, bash, rivals) if one.name in changed}
    assert {name: one.tool_calls[0].arguments for name, one in found.items()} == {
        name: {"command": text, "timeout": 5} for name, text in changed.items()
    }
    assert {one.reasoning for one in found.values()} == {"so"}
    fenced = Action(message="I look.\n\n```bash\nls -l src\n```")
    found = {one.name: one.action.message for one in mutations(STATE, fenced, rivals, is_command=True)}
    assert {name: found[name] for name in changed} == {
        name: f"I look.\n\n```bash\n{text}\n```" for name, text in changed.items()
    }
    assert "courtesy" not in found


def test_what_lies_inside_lists_and_objects_is_changed_too() -> None:
    inside = {"a": [{"b": "x"}, True], "n": -0.5}
    found = made(call(room="R1", who=inside))["-value_inside_changed"]
    assert [arguments["who"] for arguments in found] == [
        {**inside, "a": [{"b": UNRELATED}, True]},
        {**inside, "a": [{"b": "x"}, False]},
        {**inside, "n": 0.5},
    ]


def test_a_message_is_labelled_as_its_text_is() -> None:
    found = {found.name: found for found in mutations(STATE, Action(message="Room 9 is yours.", reasoning="so"))}
    assert found["other_number"].action == Action(message="Room 0 is yours.", reasoning="so")
    assert not found["other_number"].must_pass
    assert found["white_space"].must_pass
    assert found["call_for_message"].action == Action(tool_calls=(ToolCall(name="book", arguments={}),))
    assert {"itself", "truncated", "empty", "other_text"} <= set(found)


def test_calls_side_by_side() -> None:
    one, two = (ToolCall(name="book", arguments={"room": room, "to": "EDE"}) for room in "ab")
    found = {name: actions for name, actions in made(Action(tool_calls=(one, two))).items() if "call" in name}
    assert found["+calls_reversed"] == [Action(tool_calls=(two, one))]
    assert found["-call_left_out"] == [{"room": "b", "to": "EDE"}]
    assert found["-same_call_twice"] == [Action(tool_calls=(one, two, one))]


def test_hostile_schemas_make_no_label_and_no_error() -> None:
    for parameters in (
        None,
        [],
        {"properties": 3},
        {"properties": {"room": 3}},
        {"properties": {"room": {"enum": 3}}, "required": 3},
    ):
        state = State(tools=({"type": "function", "function": {"name": "book", "parameters": parameters}},))
        names = {found.name for found in mutations(state, call(room="R1", count=True, deep={"a": [1]}, none=None))}
        assert "default_made_explicit" not in names
        assert {"itself", "value_changed", "argument_dropped"} <= names
    conditional = {"properties": {"a": {"default": 1}}, "oneOf": []}
    state = State(tools=({"type": "function", "function": {"name": "book", "parameters": conditional}},))
    assert "default_made_explicit" not in {found.name for found in mutations(state, call(room="R1"))}
