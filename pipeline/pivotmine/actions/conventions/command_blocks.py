"""Command blocks: fenced ones (mini-swe-agent, SWE-agent) and SWE-agent's `<command>` tags.

    fenced_command      one ```bash (or ```mswea_bash_command) block, and no other of that kind
    swe_agent_thought   any fenced block: the last one that is not inside another
    swe_agent_xml       <command> ... </command>: the last pair

The block is a call of `bash` with the argument `command`, outer white space stripped. The text around it is the
thought. Without a block the harness answers with a format error, so the text is `unparsed`.

Sources: mini-swe-agent 1.x, `agents/default.py` (`action_regex`, `parse_action`); SWE-agent 1.x,
`tools/parsing.py` (`ThoughtActionParser`, `XMLThoughtActionParser`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pivotmine.actions import pieces
from pivotmine.actions.action import ToolCall
from pivotmine.actions.conventions.convention import SHELL, Convention
from pivotmine.actions.pieces import Piece

_BASH_FENCE = re.compile(r"```(?:bash|mswea_bash_command)[^\S\n]*+\n")
_FENCE_END = "\n```"
_ANY_FENCE = re.compile(r"^```(\S*)\s*\n|^```\s*$", re.MULTILINE)
_OPENING, _CLOSING = "<command>", "</command>"


def split_only_block(text: str) -> Iterator[Piece]:
    """mini-swe-agent: exactly one block."""
    found: list[tuple[int, int, str]] = []
    at = 0
    while opening := _BASH_FENCE.search(text, at):
        end = text.find(_FENCE_END, opening.end() - 1)
        if end < 0:
            break
        at = end + len(_FENCE_END)
        found.append((opening.start(), at, text[opening.end() : end]))
    if len(found) == 1:
        yield from _around(text, *found[0])
    else:
        yield from no_action(text, f"{len(found)} command blocks, needed exactly one" if found else "no command block")


def split_last_block(text: str) -> Iterator[Piece]:
    """SWE-agent's thought and action: the last outermost fenced block."""
    stack: list[re.Match[str]] = []
    last: tuple[int, int, str] | None = None
    for mark in _ANY_FENCE.finditer(text):
        if stack and not mark[1]:
            opening = stack.pop()
            if not stack:
                last = opening.start(), mark.end(), text[opening.end() : mark.start()]
        elif mark[1] is not None:
            stack.append(mark)
    yield from _around(text, *last) if last else no_action(text, "no fenced block")


def split_last_tags(text: str) -> Iterator[Piece]:
    """SWE-agent's XML: the last `<command>`."""
    start, end = text.rfind(_OPENING), text.rfind(_CLOSING)
    if start < 0 or end < start:
        yield from no_action(text, f"no {_OPENING} with a {_CLOSING} behind it")
    else:
        yield from _around(text, start, end + len(_CLOSING), text[start + len(_OPENING) : end])


def _around(text: str, start: int, end: int, command: str) -> Iterator[Piece]:
    yield from around(text, start, end, pieces.calls(text[start:end], lambda: (_call(command),)))


def _call(command: str) -> ToolCall:
    if not command.strip():
        raise ValueError("the command is empty")
    return ToolCall(name="bash", arguments={"command": command.strip()})


def around(text: str, start: int, end: int, action: Piece) -> Iterator[Piece]:
    """The pieces of a text with one action from `start` to `end`; the text around it is the thought."""
    if start:
        yield Piece(kind="reasoning", text=text[:start])
    yield action
    if end < len(text):
        yield Piece(kind="reasoning", text=text[end:])


def no_action(text: str, reason: str) -> Iterator[Piece]:
    """The piece of a text without an action: a format error, or an empty message if it is only white space."""
    if text:
        yield pieces.unparsed(text, reason) if text.strip() else pieces.message(text)


FENCED_COMMAND = Convention(
    split_only_block, "only", "format_error", (SHELL,), marks=("```bash", "```mswea_bash_command"), must_be_taught=True
)
SWE_AGENT_THOUGHT = Convention(split_last_block, "last", "format_error", (SHELL,), marks=("```",), must_be_taught=True)
SWE_AGENT_XML = Convention(split_last_tags, "last", "format_error", (SHELL,), marks=(_OPENING,))
