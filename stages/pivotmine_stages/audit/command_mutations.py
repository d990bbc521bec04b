"""Mutations of a shell command: other commands that a comparison of texts may take for the same one."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pivotmine_stages.audit.rivals import Rivals
from pivotmine_stages.audit.text_mutations import MAX_EACH, TextMutation

# Not `-e` and `--`: the word after them means the same without them. Not `-u` and `-v`: they may only print more.
_FLAG = re.compile(r"(?<= )-(?!(?:-|[euv])?(?: |$))[\w-]+(?: |$)")
_REDIRECT = re.compile(r"(?<= )(>>? ?)([\w./-]+)")
# Endings after which text does not belong to the same command, or where the command's status means nothing.
_ENDS_OTHERWISE = re.compile(r"(?:[;&|\\]|\btrue|\bexit(?: \d+)?)\s*$")
# Commands with short flags that take no value and whose order does not matter.
_FLAGS = {"ls": "lahtrRS1", "rm": "rfv", "cp": "rvp", "grep": "rnivlc", "du": "shac", "wc": "lwc", "df": "haT"}
_FLAG_WORDS = re.compile(r"(\w+)((?: -[A-Za-z0-9])+)((?: [\w./*-]+)*)")


def command_mutations(command: str, rivals: Rivals) -> Iterator[TextMutation]:
    """Yield all mutations of a command; fewer if it has comments, here-documents or several lines."""
    for other in rivals.other_commands(command, MAX_EACH):
        yield TextMutation("another_turns_command", False, other)
    found = _FLAG_WORDS.fullmatch(command)
    flags = found[2].split() if found else []
    if found and len(set(flags)) > 1 and all(flag[1] in _FLAGS.get(found[1], "") for flag in flags):
        yield TextMutation("flags_reordered", True, " ".join([found[1], *reversed(flags)]) + found[3])
    if "\n" in command.strip() or "#" in command or "<<" in command or not command.strip():
        return
    for found in list(_FLAG.finditer(command))[:MAX_EACH]:
        yield TextMutation("flag_dropped", False, command[: found.start()].rstrip() + " " + command[found.end() :])
    program, space, rest = command.strip().partition(" ")
    yield TextMutation("flag_added", False, f"{program} --zzyzx{space}{rest}")
    for found in list(_REDIRECT.finditer(command))[:1]:
        yield TextMutation("other_redirect", False, f"{command[: found.start(2)]}zzyzx{command[found.end(2) :]}")
    if not _ENDS_OTHERWISE.search(command):
        yield TextMutation("or_true", False, f"{command.strip()} || true")
        yield TextMutation("other_redirect", False, f"{command.strip()} > zzyzx")
