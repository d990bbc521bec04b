"""Terminus: the answer is one JSON object with keystrokes, alone or in one code fence (`keystrokes` has its two forms).

The object is a call of `send_keystrokes`: the argument `commands` and the completion flag, as written. Analysis and
plan are the thought. Anything else is a format error, including text around the object.

Source: Terminal-Bench, `agents/terminus_1.py`, and Harbor, `agents/terminus_2`, as NVIDIA's terminus_judge server
checks their answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from pivotmine.actions import calls
from pivotmine.actions.conventions.command_blocks import no_action
from pivotmine.actions.conventions.convention import Convention, tool
from pivotmine.actions.conventions.keystrokes import FORMS, json_in, read_batch
from pivotmine.actions.pieces import Piece

TOOL = "send_keystrokes"


def split(text: str, form: str) -> Iterator[Piece]:
    """Read the whole text as one call."""
    try:
        value = json_in(text)
        if isinstance(problem := read_batch(value, form), str):
            raise ValueError(problem)
        call = calls.make_call(TOOL, {k: v for k, v in value.items() if k in ("commands", FORMS[form].complete)})
    except ValueError as error:
        yield from no_action(text, str(error))
        return
    yield Piece(kind="calls", text=text, calls=(call,))


def thought(text: str) -> str:
    """The analysis and the plan in an answer, one line each."""
    value = json_in(text)
    return "\n".join(v.strip() for k, v in value.items() if k in _THOUGHTS and isinstance(v, str) and v.strip())


_THOUGHTS = ("analysis", "plan", "state_analysis", "explanation")


def _convention(form: str, **command: Any) -> Convention:
    shape = FORMS[form]
    item = {"type": "object", "properties": command, "required": list(shape.command_required)}
    required = tuple(key for key in ("commands", shape.complete) if key in shape.required)
    definition = tool(
        TOOL,
        "Type keystrokes into a terminal.",
        required,
        commands={"type": "array", "items": item},
        **{shape.complete: "boolean" if shape.complete in required else {"type": "boolean", "default": False}},
    )
    return Convention(partial(split, form=form), "only", "format_error", (definition,), thought=thought, marks=("{",))


_TEXT = {"type": "string"}
TERMINUS_1 = _convention(
    "terminus_1", keystrokes=_TEXT, is_blocking={"type": "boolean"}, timeout_sec={"type": "number"}
)
TERMINUS_2 = _convention("terminus_2", keystrokes=_TEXT, duration={"type": "number"})
