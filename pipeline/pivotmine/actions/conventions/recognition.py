"""Recognise the text convention of a recorded segment, from all of its turns.

Every turn but the last must contain an action of the convention, and a message of the user or a tool must answer it. So
a single turn is not evidence. Two conventions (fenced blocks) look like an ordinary chat about commands. For these the
segment must also show a harness: a prompt that asks for one command, a run that ends with `submit`, or observations in
a form that harnesses write.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pivotmine.actions.conventions import CONVENTIONS, read_message
from pivotmine.actions.conventions.convention import Convention
from pivotmine.messages import is_assistants

_TAUGHT = re.compile(r"\b(?:one|single)\b[^.\n]{0,60}\b(?:command|code block|bash|action)\b", re.IGNORECASE)
_OBSERVED = re.compile(
    r"\A\s*(?:<returncode>|<output>|observation\b[ \d]*:|execution result|new terminal output)|\bbash-\$\s*\Z"
    r"|\(current directory: ",
    re.IGNORECASE,
)
_ENDINGS = ("submit", "exit", "exit_forfeit")
_FINAL = "COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"
SERIALISED = ("qwen3_xml", "hermes", "mistral")
"""Conventions that only write native calls as text. They are tried if no other convention is recognised."""
_ANSWERS = ("user", "tool", "function")


def recognise(messages: Sequence[Any], turns: Sequence[int]) -> str | None:
    """The convention that a segment follows, except those in `SERIALISED`; None if there is no evidence.

    turns: the result of `own_turns`.
    """
    if len(turns) < 2 or not all(_is_text_turn(messages[place]) for place in turns):
        return None
    return next((name for name in CONVENTIONS if name not in SERIALISED and _follows(name, messages, turns)), None)


def serialised(messages: Sequence[Any], turns: Sequence[int]) -> str | None:
    """The serialised convention that parses every turn with its markup, at least one of them as a call; else None."""
    texts = [messages[place] for place in turns if _has_markup(messages[place])]
    for name in SERIALISED if texts else ():
        marked = [turn for turn in texts if _is_marked(turn, CONVENTIONS[name])]
        actions = [read_message(turn, name) for turn in marked]
        if any(action.tool_calls for action in actions) and not any(action.unparsed for action in actions):
            return name
    return None


def own_turns(messages: Sequence[Any], num_inherited: int = 0) -> list[int]:
    """The indices of a segment's turns, without those among the first `num_inherited` messages."""
    return [place for place in range(num_inherited, len(messages)) if is_assistants(messages[place])]


def _has_markup(message: dict[str, Any]) -> bool:
    """Whether a turn is text that may contain a call: all markup has one of two characters."""
    text = message.get("content")
    return isinstance(text, str) and ("<" in text or "[" in text) and _is_text_turn(message)


def _is_text_turn(message: dict[str, Any]) -> bool:
    return isinstance(message.get("content"), str) and not (message.get("tool_calls") or message.get("function_call"))


def _is_marked(message: dict[str, Any], convention: Convention) -> bool:
    return any(mark in message["content"] for mark in convention.marks)


def _follows(name: str, messages: Sequence[Any], turns: Sequence[int]) -> bool:
    convention = CONVENTIONS[name]
    if not all(_is_marked(messages[place], convention) for place in turns[:-1]):
        return False
    answered = all(_role(messages, place + 1) in _ANSWERS for place in turns[:-1])
    if not answered or not all(_acts(messages[place], name) for place in turns[:-1]):
        return False
    return not convention.must_be_taught or _is_harness(name, messages, turns)


def _role(messages: Sequence[Any], place: int) -> Any:
    return messages[place].get("role") if isinstance(messages[place], dict) else None


def _acts(message: dict[str, Any], name: str) -> bool:
    action = read_message(message, name)
    return bool(action.tool_calls) and not action.unparsed


def _is_harness(name: str, messages: Sequence[Any], turns: Sequence[int]) -> bool:
    last = read_message(messages[turns[-1]], name).tool_calls
    command = str(last[0].arguments.get("command")) if last else ""
    if command in _ENDINGS or _FINAL in command:
        return True
    if any(_TAUGHT.search(_content(message)) for message in messages[: turns[0]]):
        return True
    return all(_OBSERVED.search(_content(messages[place + 1])) for place in turns[:-1])


def _content(message: Any) -> str:
    content = message.get("content") if isinstance(message, dict) else None
    return content if isinstance(content, str) else ""
