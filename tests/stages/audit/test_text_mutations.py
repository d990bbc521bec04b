"""Mutations of messages in JSON: every kind once, with its label."""

import json
from typing import Any

from pivotmine.actions import Action
from pivotmine.verifiers import State
from pivotmine_stages.audit.mutations import mutations
from pivotmine_stages.audit.text_mutations import UNRELATED, other_leaf


def made(text: str) -> dict[str, list[str]]:
    """By mutation of a message, + or - for its label: the texts."""
    found: dict[str, list[str]] = {}
    for name, must_pass, mutated in mutations(State(), Action(message=text)):
        if not mutated.truncated and mutated.message not in ("", text):
            found.setdefault(("+" if must_pass else "-") + name, []).append(mutated.message)
    return found


def values(text: str) -> dict[str, list[Any]]:
    """Of a message that is JSON, the mutations that still are."""
    return {
        name: [json.loads(mutated) for mutated in texts]
        for name, texts in made(text).items()
        if name[1:] not in ("white_space", "other_text", "json_cut_off")
    }


def test_every_mutation_of_json() -> None:
    value = {"go": True, "n": 1, "list": ["a"]}
    text = json.dumps(value)
    assert values(text) == {
        "+json_respelled": [value],
        "-json_value_changed": [{**value, "list": [UNRELATED]}, {**value, "go": False}, {**value, "n": 2}],
        "-json_key_added": [{**value, "zzyzx": 1}],
        "-json_key_dropped": [
            {"n": 1, "list": ["a"]}, {"go": True, "list": ["a"]}, {"go": True, "n": 1},
        ],
    }  # fmt: skip
    (respelled,), (cut_off,) = made(text)["+json_respelled"], made(text)["-json_cut_off"]
    assert (list(json.loads(respelled)), cut_off) == (["list", "n", "go"], respelled[:-1])
    assert values("[1.5]") == {"+json_respelled": [[1.5]], "-json_value_changed": [[2.5]]}
    assert made("```json\n[0]\n```")["-json_value_changed"] == ["[1]"]


def test_every_mutation_of_keystrokes() -> None:
    commands = [{"keystrokes": "ls 1\n"}, {"keystrokes": "echo 2\n"}, {"keystrokes": "C-c"}]
    batch = {"analysis": "so", "plan": "1", "commands": commands}
    (ls, echo, stop) = commands
    assert values(json.dumps(batch)) == {
        "+json_respelled": [batch],
        "+other_reasoning": [{**batch, "analysis": UNRELATED, "plan": UNRELATED}],
        "-completion_flipped": [{**batch, "task_complete": True}],
        "-json_key_dropped": [
            {"plan": "1", "commands": commands},
            {"analysis": "so", "commands": commands},
            {"analysis": "so", "plan": "1"},
        ],
        "-command_added": [{**batch, "commands": [*commands, {"keystrokes": "touch zzyzx\n"}]}],
        "-command_left_out": [{**batch, "commands": [echo, stop]}, {**batch, "commands": [ls, echo]}],
        "-keystrokes_changed": [
            {**batch, "commands": [{"keystrokes": f"{UNRELATED}\n"}, echo, stop]},
            {**batch, "commands": [ls, echo, {"keystrokes": f"{UNRELATED}\n"}]},
        ],
        "-number_changed": [{**batch, "commands": [{"keystrokes": "ls 2\n"}, echo, stop]}],
    }


def test_another_leaf_is_another_value() -> None:
    for value in ("a", True, False, 0, -1, -0.5, 1e300, 10**400):
        other = other_leaf(value)
        assert (other != value, type(other)) == (True, type(value)), value
