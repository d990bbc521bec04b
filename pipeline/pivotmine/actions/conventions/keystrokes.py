"""Keystroke batches: the JSON object that a terminal agent answers with, in the two forms of the Terminus agents.

    terminus_1   {"state_analysis", "explanation", "commands": [{"keystrokes", "is_blocking", "timeout_sec"}],
                  "is_task_complete"}
    terminus_2   {"analysis", "plan", "commands": [{"keystrokes", "duration"?}], "task_complete"?}

No other keys are allowed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from pivotmine import strict_json

_FENCE = re.compile(r"```(?:json)?\s*\n(.*?)\n?```", re.DOTALL)

_Kind = type | tuple[type, ...]
_NUMBER = (int, float)


class _Form(NamedTuple):
    required: dict[str, _Kind]
    optional: dict[str, _Kind]
    command_required: dict[str, _Kind]
    command_optional: dict[str, _Kind]
    complete: str
    """The key of the completion flag."""
    example: dict[str, Any]
    """A command that types nothing."""


FORMS = {
    "terminus_1": _Form(
        {"state_analysis": str, "explanation": str, "commands": list, "is_task_complete": bool},
        {},
        {"keystrokes": str, "is_blocking": bool, "timeout_sec": _NUMBER},
        {},
        "is_task_complete",
        {"keystrokes": "", "is_blocking": True, "timeout_sec": 1.0},
    ),
    "terminus_2": _Form(
        {"analysis": str, "plan": str, "commands": list},
        {"task_complete": bool},
        {"keystrokes": str},
        {"duration": _NUMBER},
        "task_complete",
        {"keystrokes": ""},
    ),
}


@dataclass(frozen=True, slots=True)
class Batch:
    keystrokes: tuple[str, ...]
    """The keystrokes of each command, in order."""
    complete: bool
    """Whether the agent reports that the task is done."""


def form_of(value: Any) -> str:
    """The name of the form that an answer is written in, valid or not."""
    return "terminus_1" if isinstance(value, dict) and "state_analysis" in value else "terminus_2"


def form_in(text: Any) -> str | None:
    """The form of the batch that a text consists of, alone or in one code fence; None if it is not a batch."""
    if not isinstance(text, str):
        return None
    try:
        value = json_in(text)
    except ValueError:
        return None
    return form_of(value) if is_batch(value) else None


def json_in(text: str) -> Any:
    """The JSON object that a text consists of, in one code fence or in none; ValueError if it is something else."""
    text = text.strip()
    if fenced := _FENCE.fullmatch(text):
        text = fenced[1].strip()
    if not text.startswith("{"):
        raise ValueError("not a JSON object")
    return strict_json.loads(text)


def is_batch(value: Any) -> bool:
    """Whether a JSON value is a batch in one of the forms."""
    return not isinstance(read_batch(value, form_of(value)), str)


def read_batch(value: Any, form: str) -> Batch | str:
    """The value as a batch in this form, or the reason why it is not one."""
    shape = FORMS[form]
    if problem := _problem(value, shape.required, shape.optional):
        return problem
    for number, command in enumerate(value["commands"]):
        if problem := _problem(command, shape.command_required, shape.command_optional):
            return f"command {number}: {problem}"
    keystrokes = tuple(command["keystrokes"] for command in value["commands"])
    return Batch(keystrokes, value.get(shape.complete, False))


def read_call(arguments: dict[str, Any], form: str) -> Batch | str:
    """The batch in a call's arguments, as `read_batch` returns it. A call has no analysis and no plan."""
    free = {key: "" for key in FORMS[form].required if key not in ("commands", FORMS[form].complete)}
    return read_batch({**arguments, **free}, form)


def _problem(value: Any, required: dict[str, _Kind], optional: dict[str, _Kind]) -> str | None:
    if not isinstance(value, dict):
        return "not a JSON object"
    if missing := sorted(required.keys() - value.keys()):
        return f"lacks {missing[0]}"
    for key, inner in value.items():
        kind = required.get(key) or optional.get(key)
        if kind is None:
            return f"unknown key {key}"
        # To Python, true is a number.
        if not isinstance(inner, kind) or (isinstance(inner, bool) and kind is not bool):
            return f"{key} has the wrong type"
    return None
