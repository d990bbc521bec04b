"""`<function=NAME>` in text: how OpenHands, SWE-agent and SWE-smith call functions without an API for it.

    thought
    <function=execute_bash>
    <parameter=command>
    ls
    </parameter>
    </function>

The first function counts. OpenHands stops the model at `</function`, so the end tag may be missing at the end of the
text. A line break behind the opening tag of a parameter and one before its end tag are markup. Text without a function
is a message in OpenHands (`function_tags`), and a format error in SWE-agent (`swe_agent_function_tags`).

Sources: OpenHands 0.48, `llm/fn_call_converter.py`; SWE-agent 1.x, `tools/parsing.py` (`XMLFunctionCallingParser`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pivotmine.actions import calls, pieces, schema_values
from pivotmine.actions.action import ToolCall
from pivotmine.actions.conventions.command_blocks import around, no_action
from pivotmine.actions.conventions.convention import SHELL, Convention, tool
from pivotmine.actions.pieces import Piece

_FUNCTION = re.compile(r"<function=([^<>\n]++)>")
_PARAMETER = re.compile(r"\s*+<parameter=([^<>\n]++)>")
_PARAMETER_END, _FUNCTION_END = "</parameter>", "</function>"
_CUT_END = re.compile(r"\s*+(?:</function>?+)?+")
_MARK = "<function="

TOOLS = (
    SHELL,
    tool(
        "execute_bash",
        "Run a shell command.",
        ("command",),
        command="string",
        is_input="string",
        timeout="number",
        security_risk="string",
    ),
    tool(
        "str_replace_editor",
        "View, create and edit files.",
        ("command", "path"),
        command="string",
        path="string",
        file_text="string",
        old_str="string",
        new_str="string",
        insert_line="integer",
        view_range={"type": "array", "items": {"type": "integer"}},
        security_risk="string",
    ),
    tool("execute_ipython_cell", "Run a cell of Python code.", ("code",), code="string", security_risk="string"),
    tool("think", "Log a thought.", ("thought",), thought="string"),
    tool("finish", "End the task.", message="string", task_completed="string"),
    tool("submit", "Submit the changes and end the task."),
)
"""The tools of both harnesses. A tool of the prompt that is not among them takes any arguments."""
_TYPES = schema_values.declared_types(TOOLS)


def split_or_message(text: str) -> Iterator[Piece]:
    """OpenHands: text without a function is a message."""
    if text and _MARK not in text:
        yield pieces.message(text)
    else:
        yield from split(text)


def split(text: str) -> Iterator[Piece]:
    """SWE-agent: text without a function is a format error."""
    found = _FUNCTION.search(text)
    if found is None:
        yield from no_action(text, "no <function=NAME>")
        return
    try:
        call, end = _read(text, found)
    except ValueError as error:
        yield pieces.unparsed(text, str(error))
        return
    yield from around(text, found.start(), end, Piece(kind="calls", text=text[found.start() : end], calls=(call,)))


def _read(text: str, function: re.Match[str]) -> tuple[ToolCall, int]:
    """The call and the index behind it; ValueError with the reason if the call cannot be read."""
    name, at = function[1].strip(), function.end()
    arguments: dict[str, Any] = {}
    while parameter := _PARAMETER.match(text, at):
        key = parameter[1].strip()
        end = text.find(_PARAMETER_END, parameter.end())
        if end < 0:
            raise ValueError(f"a parameter is not closed by {_PARAMETER_END}")
        if key in arguments:
            raise ValueError(f"parameter {key[:80]!r} is given twice")
        written = text[parameter.end() : end].removeprefix("\n").removesuffix("\n")
        arguments[key] = schema_values.value_of(written, _TYPES.get(name, {}).get(key))
        at = end + len(_PARAMETER_END)
    behind = pieces.skip_white_space(text, at)
    if text.startswith(_FUNCTION_END, behind):
        at = behind + len(_FUNCTION_END)
    elif _CUT_END.fullmatch(text, at):
        at = len(text)
    else:
        raise ValueError(f"neither a parameter nor {_FUNCTION_END}")
    return calls.make_call(name, arguments), at


FUNCTION_TAGS = Convention(split_or_message, "first", "message", TOOLS, marks=(_MARK,))
SWE_AGENT_FUNCTION_TAGS = Convention(split, "first", "format_error", TOOLS, marks=(_MARK,))
