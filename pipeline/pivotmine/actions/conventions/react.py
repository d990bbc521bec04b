"""ReAct: `Thought: ...`, then `Action: name[input]`; with InterCode's `execute[command]` and `submit`.

The first action counts. The model imagines the lines behind it (`Observation: ...`, another thought): the harness stops
before them. The action's input extends to the last closing bracket before those lines. Numbers (`Action 2:`) are
ignored. If the whole text is an action, `Action:` may be missing. `execute[...]` calls `execute` with the argument
`command`. `submit` and `skip` take no argument. Any other name is a tool with the argument `input`. Text without an
action is a format error.

Sources: ReAct (2210.03629) and its `hotpotqa.ipynb`; InterCode, `experiments/eval_react.py` and `utils/prompts.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pivotmine.actions import pieces
from pivotmine.actions.action import ToolCall
from pivotmine.actions.conventions.command_blocks import around, no_action
from pivotmine.actions.conventions.convention import Convention, tool
from pivotmine.actions.pieces import Piece

_ACTION = re.compile(r"^[ \t]*+Action(?: ?\d++)?[ \t]*+:[ \t]*+", re.MULTILINE)
_NEXT = re.compile(r"^[ \t]*+(?:Observation|Thought|Action)(?: ?\d++)?[ \t]*+:", re.MULTILINE)
_NAME = re.compile(r"\s*+([A-Za-z_][\w-]*+)")
_WITHOUT_INPUT = ("submit", "skip")

TOOLS = (
    tool("execute", "Execute a command or query.", ("command",), command="string"),
    tool("submit", "Submit the result of the last execution and end the task."),
    tool("skip", "Do nothing in this turn."),
)


def split(text: str) -> Iterator[Piece]:
    """Split into the thought, the action and the text behind it."""
    mark = _ACTION.search(text)
    begin = mark.end() if mark else 0
    following = _NEXT.search(text, begin)
    limit = following.start() if following else len(text)
    name = _NAME.match(text, begin, limit)
    if name is None:
        yield from no_action(text, "no action of the form name[input]")
        return
    start, end = mark.start() if mark else 0, text.rfind("]", name.end(), limit) + 1
    if text.startswith("[", name.end()) and end:
        if mark or not text[end:].strip():
            call = _call(name[1], text[name.end() + 1 : end - 1].strip())
            yield from around(text, start, end, pieces.calls(text[start:end], lambda: (call,)))
            return
    elif name[1].lower() in _WITHOUT_INPUT and not text[name.end() : limit].strip():
        call = ToolCall(name=name[1].lower(), arguments={})
        yield from around(text, start, name.end(), Piece(kind="calls", text=text[start : name.end()], calls=(call,)))
        return
    yield from no_action(text, "no action of the form name[input]")


def _call(name: str, value: str) -> ToolCall:
    if name.lower() in _WITHOUT_INPUT and not value:
        return ToolCall(name=name.lower(), arguments={})
    if name.lower() == "execute":
        return ToolCall(name="execute", arguments={"command": value})
    return ToolCall(name=name, arguments={"input": value})


REACT = Convention(split, "first", "format_error", TOOLS, argument="input", marks=("[", "submit", "skip"))
