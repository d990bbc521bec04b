"""Mutations of a demonstration, each labelled by its construction: it must pass, or it must fail.

The labels come from the schema and from JSON, never from a verifier, so they can test any verifier. A mutation that
does not apply to a demonstration (no number in it, nothing optional) is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice, pairwise
from typing import Any, NamedTuple

from pivotmine import strict_json
from pivotmine.actions import Action, ToolCall, is_text, parse_action
from pivotmine.actions.conventions import read_text
from pivotmine.actions.conventions.terminus import TOOL
from pivotmine.verifiers import State
from pivotmine.verifiers.composed.call_kinds import command_of
from pivotmine.verifiers.texts.json_texts import json_of
from pivotmine.verifiers.tool_calls.one_argument import code_block
from pivotmine.verifiers.tool_calls.schema import parameters_by_tool, white_space_counts
from pivotmine_stages.audit.command_mutations import command_mutations
from pivotmine_stages.audit.prose_mutations import prose_mutations
from pivotmine_stages.audit.rivals import Rivals
from pivotmine_stages.audit.text_mutations import (
    LEAVES,
    UNRELATED,
    TextMutation,
    any_text_mutations,
    changed_leaves,
    json_mutations,
    other_leaf,
    reversed_keys,
    with_other_number,
)

MAX_EACH = 3
"""Maximum number of arguments of a call that each mutation is applied to, the first ones."""
_NUMBER = re.compile(r"\d")
# Two letters or digits next to each other: the second one can be doubled, and no letter of a name is lost.
_LETTERS = re.compile(r"[A-Za-z0-9]{2}")
NO_RIVALS = Rivals()


class Mutation(NamedTuple):
    name: str
    """The kind of change."""
    must_pass: bool
    """Whether the action still equals the demonstration."""
    action: Action


Change = Callable[[dict[str, Any], dict[str, Any]], Iterator[dict[str, Any]]]
"""Arguments and the properties of their schema -> changed arguments."""


def mutations(
    state: State,
    demonstration: Action,
    rivals: Rivals = NO_RIVALS,
    *,
    is_command: bool = False,
    ignored: Sequence[str] = (),
) -> Iterator[Mutation]:
    """Yield all mutations of a demonstration, first the demonstration itself.

    is_command: whether a message is a command that the harness runs, as `VerifierSpec.is_command` says.
    ignored: arguments whose value does not count, as in the option `ignore` of `tool_call`.
    """
    yield Mutation("itself", True, demonstration)
    yield Mutation("other_reasoning", True, replace(demonstration, reasoning=UNRELATED))
    yield Mutation("truncated", False, replace(demonstration, truncated=True))
    yield Mutation("empty", False, Action(reasoning=demonstration.reasoning))
    if is_text(state.action_format) and demonstration.text and demonstration.tool_calls[0].name == TOOL:
        for name, must_pass, text in _of_text(demonstration.text, rivals, is_command=False):
            yield Mutation(name, must_pass, read_text(text, state.action_format))
    elif demonstration.tool_calls:
        yield from _of_calls(state, demonstration, rivals, ignored)
    else:
        for name, must_pass, text in _of_text(demonstration.message, rivals, is_command=is_command):
            yield Mutation(name, must_pass, replace(demonstration, message=text))
        for name in list(parameters_by_tool(state.tools))[:1]:
            yield Mutation("call_for_message", False, Action(tool_calls=(ToolCall(name=name, arguments={}),)))


def _of_text(text: str, rivals: Rivals, *, is_command: bool) -> Iterator[TextMutation]:
    yield from any_text_mutations(text)
    if (value := json_of(text)) is not None:
        yield from json_mutations(value)
    elif not is_command:
        yield from prose_mutations(text, rivals)
    elif (block := code_block(text)) is not None:
        for name, must_pass, command in command_mutations(block[1].strip(), rivals):
            fenced = command if block[0] is None else text.replace(block[1].strip(), command)
            yield TextMutation(name, must_pass, fenced)


def _of_calls(state: State, demonstration: Action, rivals: Rivals, ignored: Sequence[str]) -> Iterator[Mutation]:
    first, *others = demonstration.tool_calls

    def calling(*calls: ToolCall) -> Action:
        return replace(demonstration, tool_calls=calls)

    yield Mutation("message_for_call", False, Action(message=f"I would call {first.name}."))
    yield Mutation("cut_off", False, _cut_off(first))
    yield Mutation("same_call_twice", False, calling(first, *others, first))
    surplus = ToolCall(name=first.name, arguments={**first.arguments, "zzyzx": 1})
    yield Mutation("other_call_added", False, calling(surplus, first, *others))
    if others:
        yield Mutation("call_left_out", False, calling(*others))
        yield Mutation("calls_reversed", True, calling(*reversed((first, *others))))
    parameters = parameters_by_tool(state.tools)
    called = {call.name for call in demonstration.tool_calls}
    other = next((name for name in parameters if name not in called), f"{first.name}_other")
    yield Mutation("other_tool", False, calling(ToolCall(name=other, arguments=first.arguments), *others))
    properties = _properties(parameters.get(first.name))
    paths = {f"{tool}.{name}": name for tool in ("*", first.name) for name in (*first.arguments, "*")}
    uncounted = {paths[path] for path in ignored if path in paths}
    uncounted = set(first.arguments) if "*" in uncounted else uncounted
    counted = {name: value for name, value in first.arguments.items() if name not in uncounted}
    for name, (must_pass, change) in _CHANGES.items():
        for arguments in change(first.arguments, properties):
            # Only ignored arguments changed, so the mutation does not have to fail.
            if not must_pass and counted == {key: arguments[key] for key in arguments if key not in uncounted}:
                continue
            yield Mutation(name, must_pass, calling(ToolCall(name=first.name, arguments=arguments), *others))
    if (found := command_of(first)) is not None:
        argument, command = found
        for name, must_pass, text in command_mutations(command, rivals):
            changed = ToolCall(name=first.name, arguments={**first.arguments, argument: text})
            yield Mutation(name, must_pass, calling(changed, *others))


def _cut_off(call: ToolCall) -> Action:
    """Return the parsed action of a call whose text ends one character early, as after a stop sequence."""
    written = strict_json.dumps({"name": call.name, "arguments": call.arguments})
    return parse_action(f"<tool_call>\n{written[:-1]}", parser="hermes")


def _properties(parameters: Any) -> dict[str, dict[str, Any]]:
    """Return the schema of each argument. An optional argument with a default also gets `optional_default`."""
    if not isinstance(parameters, dict) or not isinstance(found := parameters.get("properties"), dict):
        return {}
    required = parameters.get("required")
    known = {name: schema for name, schema in found.items() if isinstance(schema, dict)}
    # With other keywords in the schema, a default may depend on other arguments. Then it gives no label.
    plain = set(parameters) <= {"type", "properties", "required", "additionalProperties", "description", "title"}
    for name, schema in known.items():
        if plain and "default" in schema and isinstance(required, list | None) and name not in (required or ()):
            known[name] = {**schema, "optional_default": schema["default"]}
    return known


def _drop(arguments: dict[str, Any], properties: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in list(arguments)[:MAX_EACH]:
        if "default" not in properties.get(name, {}):
            yield {key: value for key, value in arguments.items() if key != name}


def _change(arguments: dict[str, Any], properties: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name, value in list(arguments.items())[:MAX_EACH]:
        other = _other_value(value, properties.get(name, {}))
        if other != properties.get(name, {}).get("default", value):
            yield {**arguments, name: other}


def _other_value(value: Any, schema: dict[str, Any]) -> Any:
    members = schema.get("enum")
    others = [member for member in members if member != value] if isinstance(members, list) else []
    if others:
        return others[0]
    return [*value, UNRELATED] if isinstance(value, list) else other_leaf(value)


def _change_inside(arguments: dict[str, Any], properties: dict[str, Any]) -> Iterator[dict[str, Any]]:
    nested = {name: value for name, value in arguments.items() if isinstance(value, dict | list)}
    for kind in LEAVES:
        yield from ({**arguments, **changed} for changed in islice(changed_leaves(nested, kind), MAX_EACH))


def _change_number(arguments: dict[str, Any], properties: dict[str, Any]) -> Iterator[dict[str, Any]]:
    texts = [(name, value) for name, value in arguments.items() if isinstance(value, str) and _NUMBER.search(value)]
    for name, value in texts[:MAX_EACH]:
        yield {**arguments, name: with_other_number(value)}


def _swap(arguments: dict[str, Any], properties: dict[str, Any]) -> Iterator[dict[str, Any]]:
    texts = [(name, value) for name, value in arguments.items() if isinstance(value, str)]
    for (one, left), (other, right) in list(pairwise(texts))[:MAX_EACH]:
        if left.strip().casefold() != right.strip().casefold():
            yield {**arguments, one: right, other: left}


def _add_unknown(arguments: dict[str, Any], properties: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {**arguments, "zzyzx": 1}


def _reverse_keys(arguments: dict[str, Any], properties: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield reversed_keys(arguments)


def _pad(arguments: dict[str, Any], properties: dict[str, Any]) -> Iterator[dict[str, Any]]:
    kept_apart = {"enum", "const", "pattern", "format"}
    names = [
        name
        for name, value in arguments.items()
        if isinstance(value, str) and "\n" not in value and not kept_apart & properties.get(name, {}).keys()
    ]
    for name in [name for name in names if not white_space_counts(name)][:MAX_EACH]:
        yield {**arguments, name: f" {arguments[name]} "}


def _spell_number(arguments: dict[str, Any], properties: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name, value in list(arguments.items()):
        if type(value) is int and abs(value) <= 2**53:
            yield {**arguments, name: float(value)}


def _add_default(arguments: dict[str, Any], properties: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name, schema in properties.items():
        if "optional_default" in schema and name not in arguments:
            yield {**arguments, name: schema["optional_default"]}


def _drop_default(arguments: dict[str, Any], properties: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name, value in arguments.items():
        default = properties.get(name, {}).get("optional_default")
        if default is not None and type(default) is type(value) and default == value:
            yield {key: inner for key, inner in arguments.items() if key != name}


def _permute(arguments: dict[str, Any], properties: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name, value in arguments.items():
        if isinstance(value, list) and len(value) > 1 and properties.get(name, {}).get("uniqueItems") is True:
            yield {**arguments, name: value[::-1]}


def _blank(arguments: dict[str, Any], properties: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Replace a text by an empty one, and a blank text by another blank one."""
    texts = [(name, value) for name, value in arguments.items() if isinstance(value, str)]
    for name, value in texts[:MAX_EACH]:
        for blank in ("", " ", "\n"):
            if blank not in (value, properties.get(name, {}).get("default")) and (blank or not value.strip()):
                yield {**arguments, name: blank}
                break


def _near_miss(arguments: dict[str, Any], properties: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Double a letter, or make a number a little larger."""
    for name, value in list(arguments.items())[:MAX_EACH]:
        if isinstance(value, str) and (found := _LETTERS.search(value)):
            yield {**arguments, name: value[: found.end()] + value[found.end() - 1 :]}
        elif type(value) is float and value * 1.0004 != value:
            yield {**arguments, name: value * 1.0004}
        elif type(value) is int and abs(value) < 2**52:
            yield {**arguments, name: value + 0.5}


_CHANGES: dict[str, tuple[bool, Change]] = {
    "argument_dropped": (False, _drop),
    "value_changed": (False, _change),
    "value_inside_changed": (False, _change_inside),
    "number_changed": (False, _change_number),
    "values_swapped": (False, _swap),
    "blank_value": (False, _blank),
    "near_miss": (False, _near_miss),
    "unknown_argument": (False, _add_unknown),
    "keys_reversed": (True, _reverse_keys),
    "white_space": (True, _pad),
    "whole_number_as_float": (True, _spell_number),
    "default_made_explicit": (True, _add_default),
    "default_left_out": (True, _drop_default),
    "unordered_list_permuted": (True, _permute),
}
