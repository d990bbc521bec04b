"""Mutations of a message, each labelled by its construction: of any text, JSON, or a terminal agent's keystrokes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from pivotmine.actions.conventions.keystrokes import FORMS, form_of, is_batch

MAX_EACH = 3
"""Maximum number of places of a message that each mutation is applied to, the first ones."""
UNRELATED = "qvx 8213 zzyzx"
"""A text that no demonstration has."""
LEAVES = (str, bool, int, float)
"""Types of JSON values that a mutation changes without changing the type."""
_NUMBER = re.compile(r"\d")
# The text of these commands is only shown to a reader.
_SHOWN_ONLY = re.compile(r"echo|printf|#|commit")


class TextMutation(NamedTuple):
    name: str
    """The kind of change."""
    must_pass: bool
    """Whether the text still says or types the same as the demonstration."""
    text: str


def any_text_mutations(text: str) -> Iterator[TextMutation]:
    """Yield the mutations that any message can have."""
    yield TextMutation("white_space", True, f"\n {text} \n")
    yield TextMutation("other_text", False, UNRELATED)


def json_mutations(value: Any) -> Iterator[TextMutation]:
    """Yield all mutations of a message that is a JSON object or list."""
    respelled = json.dumps(reversed_keys(value), indent=3)
    yield TextMutation("json_respelled", True, respelled)
    yield TextMutation("json_cut_off", False, respelled[:-1])
    changes = _of_batch(value) if is_batch(value) else _of_json(value)
    yield from (TextMutation(name, must_pass, json.dumps(changed)) for name, must_pass, changed in changes)


def with_other_number(text: str, at: int = 0) -> str:
    """Change the first digit of the text from an index on; return the text unchanged if there is no digit."""
    return text[:at] + re.sub(r"\d", lambda digit: str((int(digit[0]) + 1) % 10), text[at:], count=1)


def _of_json(value: Any) -> Iterator[tuple[str, bool, Any]]:
    for kind in LEAVES:
        yield from (("json_value_changed", False, changed) for changed in islice(changed_leaves(value, kind), MAX_EACH))
    if isinstance(value, dict):
        yield "json_key_added", False, {**value, "zzyzx": 1}
        for name in list(value)[:MAX_EACH]:
            yield "json_key_dropped", False, _without(value, name)


def changed_leaves(value: Any, kind: type) -> Iterator[Any]:
    """Yield the value with one leaf of a type changed, for each such leaf."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from ({**value, name: changed} for changed in changed_leaves(inner, kind))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from ([*value[:index], changed, *value[index + 1 :]] for changed in changed_leaves(inner, kind))
    elif type(value) is kind:
        yield other_leaf(value)


def other_leaf(value: Any) -> Any:
    """Return another value of the same type, for a string, a boolean or a number."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1 if value + 1 != value else -value
    return UNRELATED


def _of_batch(value: dict[str, Any]) -> Iterator[tuple[str, bool, dict[str, Any]]]:
    """Mutate a batch: other keystrokes or another completion flag must fail; the agent's comments do not count."""
    form = FORMS[form_of(value)]
    commands: list[dict[str, Any]] = value["commands"]
    yield "completion_flipped", False, {**value, form.complete: not value.get(form.complete, False)}
    for name in form.required:
        yield "json_key_dropped", False, _without(value, name)
    said = {name: UNRELATED for name, inner in value.items() if isinstance(inner, str)}
    yield "other_reasoning", True, {**value, **said}
    added = {**form.example, "keystrokes": "touch zzyzx\n"}
    yield "command_added", False, {**value, "commands": [*commands, added]}
    for index, command in enumerate(commands[:MAX_EACH]):
        typed = command["keystrokes"]
        if typed.strip() and not _SHOWN_ONLY.search(typed):
            yield "command_left_out", False, {**value, "commands": commands[:index] + commands[index + 1 :]}
            yield "keystrokes_changed", False, _typing(value, index, f"{UNRELATED}\n")
            if _NUMBER.search(typed):
                yield "number_changed", False, _typing(value, index, with_other_number(typed))


def _typing(value: dict[str, Any], index: int, keystrokes: str) -> dict[str, Any]:
    commands = list(value["commands"])
    commands[index] = {**commands[index], "keystrokes": keystrokes}
    return {**value, "commands": commands}


def _without(value: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: inner for key, inner in value.items() if key != name}


def reversed_keys(value: Any) -> Any:
    """Return the value with the keys of its objects in reverse order, at every level."""
    if isinstance(value, dict):
        return {name: reversed_keys(value[name]) for name in reversed(value)}
    return [reversed_keys(item) for item in value] if isinstance(value, list) else value
