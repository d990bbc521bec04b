"""The file texts that a state's messages show: written, viewed or printed, and not changed since.

A text is known from a file that an editor created, from a view with line numbers, or from `cat`, `sed -n` and
`nl` on an absolute path. It is forgotten once something may have changed it: an edit whose effect is not known, a
call that may change files, or an assistant turn without a call (some harnesses read commands from text).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from itertools import islice, takewhile
from typing import Any

from pivotmine import messages
from pivotmine.verifiers.edits.editor_tools import (
    COMMAND,
    OPEN_FILE,
    PATH,
    Change,
    Edit,
    Text,
    Write,
    changed,
    read_edit,
)
from pivotmine.verifiers.shell.shell_commands import clean_path

WRITERS = frozenset(("write_file", "create_file", "write", "save_file", "Write"))
"""Tools without a `command` argument that write a whole file."""

VIEWERS = frozenset(("view", "view_file", "read_file", "read", "open_file", "cat", "Read"))
"""Tools that show a file and change nothing."""

COMMANDS = ("command", "cmd")
"""Arguments that hold a shell command."""

_NUMBERED = re.compile(r" {0,8}(\d{1,7})(?:\t|→)(.*)")
# A view or a print that may not show all of its lines.
_CUT = re.compile(r"truncated|clipped|omitted|too long|\[\.\.\.", re.IGNORECASE)
# Replies of editors that changed nothing.
_NOT_DONE = re.compile(r"no replacement was performed|invalid `|did not appear verbatim", re.IGNORECASE)
_PRINTS = re.compile(r"(?:cat|cat -n|nl -ba|sed -n '?\d+,\d+p'?) (/[\w./-]+)")
# Commands that change no file, in any combination.
_READS = re.compile(
    r"(?:ls|cat|head|tail|wc|pwd|cd|grep|rg|nl|which|stat|du|df|git (?:status|log|diff|show|blame))"
    r"(?= |$)(?!.* (?:-o|--out))[^;|&<>`$(){}\n\\]*"
    r"|sed -n '?\d+(?:,\d+)?p'? [\w./][\w./-]*"
)
_STEPS = re.compile(r"\s*(?:&&|\|\||[;|\n])\s*")


def known_texts(
    history: Sequence[dict[str, Any]], paths: Collection[str], harmless_tools: Collection[str]
) -> dict[str, Text]:
    """Texts of the files at these paths after the messages of a state."""
    known: dict[str, Text] = {}
    for index, message in enumerate(history):
        calls = message.get("tool_calls") or []
        answers = _answers(history, index + 1) if calls else {}
        if message.get("role") == "assistant" and not calls:
            known.clear()
        for call in calls:
            _follow(known, call["function"], answers.get(str(call.get("id"))), paths, harmless_tools)
    return known


def _answers(history: Sequence[dict[str, Any]], start: int) -> dict[str, dict[str, Any]]:
    """Call id -> tool result, up to the next assistant message, because later calls may have the same ids."""
    found: dict[str, dict[str, Any]] = {}
    for message in takewhile(lambda message: message.get("role") != "assistant", islice(history, start, None)):
        if message.get("role") == "tool":
            found[str(message.get("tool_call_id"))] = message
    return found


def _follow(
    known: dict[str, Text],
    function: dict[str, Any],
    answer: dict[str, Any] | None,
    paths: Collection[str],
    harmless_tools: Collection[str],
) -> None:
    """Update the known text by one call."""
    name, arguments = function["name"], messages.argument_value(function.get("arguments"))
    reply = "" if answer is None else messages.text_of(answer.get("content"))
    if not isinstance(arguments, dict) or answer is None:
        known.clear()
        return
    failed = messages.call_failed([answer]) or _NOT_DONE.search(reply[:500]) is not None
    edit = read_edit(arguments)
    if edit is not None and (COMMAND in arguments or name in WRITERS or not isinstance(edit.changes[0], Write)):
        _follow_edit(known, edit, reply, paths, failed=failed)
    elif arguments.get(COMMAND) == "view" or name in VIEWERS:
        _follow_view(known, arguments, "" if failed else reply, paths)
    elif not _is_read_command(arguments) and name not in harmless_tools:
        known.clear()
    elif not failed:
        _follow_print(known, arguments, reply, paths)


def _follow_edit(known: dict[str, Text], edit: Edit, reply: str, paths: Collection[str], *, failed: bool) -> None:
    for change in edit.changes:
        if change.path == OPEN_FILE:
            known.clear()
            continue
        before = known.get(change.path)
        # The same file may be known by another path.
        name = change.path.rsplit("/", 1)[-1]
        for path in [path for path in known if path.rsplit("/", 1)[-1] == name]:
            del known[path]
        if change.path not in paths:
            continue
        after = before if failed and len(edit.changes) == 1 else None if failed else _after(change, before, reply)
        if after is not None:
            known[change.path] = after


def _after(change: Change, before: Text | None, reply: str) -> Text | None:
    if isinstance(change, Write):
        return Text(change.text, complete=True)
    after = changed(change, before)
    if after is not None and after.complete:
        return after
    shown = _shown(reply)  # a snippet around the edit
    return None if shown is None else shown._replace(complete=False)


def _follow_view(known: dict[str, Text], arguments: dict[str, Any], reply: str, paths: Collection[str]) -> None:
    named = [clean_path(arguments[name]) for name in PATH if isinstance(arguments.get(name), str)]
    if len(named) != 1 or named[0] not in paths or (named[0] in known and known[named[0]].complete):
        return
    # A command and a path, and no range of lines.
    whole = arguments.get(COMMAND) == "view" and len([v for v in arguments.values() if v is not None]) == 2
    _learn(known, named[0], _shown(reply), whole=whole and not _CUT.search(reply))


def _follow_print(known: dict[str, Text], arguments: dict[str, Any], reply: str, paths: Collection[str]) -> None:
    command = next((arguments[name] for name in COMMANDS if isinstance(arguments.get(name), str)), "")
    match = _PRINTS.fullmatch(command.strip())
    if match and (path := clean_path(match[1])) in paths and path not in known:
        shown = None if _CUT.search(reply) else _shown(reply) or Text(reply, complete=False, first_line=None)
        _learn(known, path, shown, whole=False)


def _learn(known: dict[str, Text], path: str, shown: Text | None, *, whole: bool) -> None:
    if shown is not None and shown.text:
        known[path] = shown._replace(complete=whole and shown.complete and shown.first_line == 1)


def _shown(reply: str) -> Text | None:
    """The first run of numbered lines; it is `complete` if only white space follows."""
    lines = reply.split("\n")
    start = next((i for i, line in enumerate(lines) if _NUMBERED.fullmatch(line)), None)
    if start is None:
        return None
    found: list[str] = []
    first = 0
    for line in lines[start:]:
        match = _NUMBERED.fullmatch(line)
        number = int(match[1]) if match else -1
        if match is None or (found and number != first + len(found)):
            break
        first = first if found else number
        found.append(match[2])
    rest = lines[start + len(found) :]
    return Text("\n".join(found), complete=not any(line.strip() for line in rest), first_line=first)


def _is_read_command(arguments: dict[str, Any]) -> bool:
    command = next((arguments[name] for name in COMMANDS if isinstance(arguments.get(name), str)), None)
    if command is None or len(command) > 2000:
        return False
    harmless = command.replace("2>&1", "").replace("2>/dev/null", "").strip()
    return all(_READS.fullmatch(step) for step in _STEPS.split(harmless))
