"""Whether a terminal runs a shell: its screen shows it before the first keystroke, the programs of each line after it.

Text that is typed into another program (an editor, a pager, a prompt of Python or a database, a question) is not a
command. A line counts as leaving the shell unless every program in it is known not to read the terminal.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pivotmine import messages

MAX_SCREEN_CHARS = 20_000
"""How many characters at the end of the last message are searched for the prompt."""

_PROMPT = re.compile(
    r"(?:\([\w.+-]+\)\s*)*(?:\[?[\w.-]+@[\w.-]+[: ][^>]*|\[[^\]]*\]|(?:ba|z|da)?sh(?:-[\d.]+)?|[~/][\w./~-]*)?\s*"
    r"(?<![=\-(!*'\"])(?:[#$]|(?<!\d)%)"
)
"""Matches a whole line that is the prompt of a shell, but not a database's, which ends in `=#`."""
_QUESTION = "Are you sure you want to mark the task as complete"
"""Terminus asks this below the screen."""

_NO_INPUT = frozenset((
    "[", "[[", "arch", "basename", "bg", "cal", "cargo", "cc", "cd", "chgrp", "chmod", "chown", "clang",
    "clear", "cmake", "configure", "cp", "curl", "date", "df", "dirname", "disown", "du", "echo", "env",
    "export", "false", "file", "find", "free", "g++", "gcc", "groups", "head", "history", "hostname", "id",
    "javac", "jobs", "kill", "killall", "ln", "ls", "lsblk", "lscpu", "make", "md5sum", "mkdir", "mv", "mypy",
    "ninja", "nproc", "pgrep", "pkill", "printenv", "printf", "ps", "pwd", "pytest", "readlink", "realpath",
    "reset", "rg", "rm", "rmdir", "ruff", "rustc", "seq", "set", "sha1sum", "sha256sum", "shopt", "sleep", "stat",
    "sync", "tail", "tar", "test", "touch", "tree", "true", "tsc", "type", "ulimit", "umask", "uname",
    "unset", "uptime", "wait", "wget", "which", "whoami", "xxd",
))  # fmt: skip
"""Programs that do not read the terminal if they have the operands that they need."""
_NEED_OPERANDS = {
    "cat": 1, "head": 1, "tail": 1, "wc": 1, "sort": 1, "uniq": 1, "cut": 1, "md5sum": 1, "sha1sum": 1, "sha256sum":
    1, "nl": 1, "tac": 1, "rev": 1, "od": 1, "hexdump": 1, "xxd": 1, "column": 1, "strings": 1, "grep": 2, "egrep":
    2, "fgrep": 2, "sed": 2, "awk": 2, "jq": 2, "diff": 2, "cmp": 2, "comm": 2, "join": 2, "tr": 3, "tee": 99,
    "xargs": 99,
}  # fmt: skip
"""Programs that read the terminal if they have fewer operands than this. After a pipe they never do."""
_SHELLS = frozenset(("bash", "sh", "zsh", "dash"))
_RESERVED = frozenset((
    "for", "while", "until", "if", "then", "else", "elif", "fi", "do", "done", "case", "esac", "in", "{", "}", "!",
    "time", "command", "nohup", "function",
))  # fmt: skip
_QUIET_GIT = frozenset((
    "add", "status", "checkout", "switch", "restore", "reset", "init", "mv", "rm", "rev-parse", "config", "stash",
))  # fmt: skip
_ASKING = re.compile(r"-[a-zA-Z]*[iI]|--interactive|-ok")
_JOINTS = re.compile(r"[;&|()]+")
_ASSIGNMENT = re.compile(r"\w+\+?=.*", re.DOTALL)


def is_shell(history: Sequence[dict[str, Any]]) -> bool:
    """Whether the last screen ends in a shell's prompt. True without messages, since a new terminal runs a shell."""
    last = next((message for message in reversed(history) if message.get("role") != "assistant"), None)
    if last is None:
        return True
    screen = messages.text_of(last.get("content"))[-MAX_SCREEN_CHARS:].partition(_QUESTION)[0].rstrip()
    return _PROMPT.fullmatch(screen[screen.rfind("\n") + 1 :].strip()) is not None


def stays_in_shell(line: str) -> bool:
    """Whether the shell also reads the next line after it has run this one."""
    if not line.strip() or line.lstrip().startswith("#"):
        return True
    if "`" in line:
        return False
    reader = shlex.shlex(line, posix=True, punctuation_chars=";&|()<>")
    reader.whitespace_split = True
    try:
        words = list(reader)
    except ValueError:  # an open quote: the command goes on in the next line
        return True
    return all(_reads_nothing(command, piped=piped) for command, piped in _commands(words))


def _commands(words: list[str]) -> Iterator[tuple[list[str], bool]]:
    """Yield each simple command of a line, and whether it reads a pipe or a file."""
    command: list[str] = []
    piped = False
    for word in [*words, ";"]:
        if _JOINTS.fullmatch(word) is None:
            command.append(word)
            continue
        if command and word != "&":  # a background command does not read the terminal
            yield command, piped or any(part.startswith("<") for part in command)
        command, piped = [], word in ("|", "|&")


def _reads_nothing(words: list[str], *, piped: bool) -> bool:
    """Whether a simple command does not read the terminal."""
    while words and (words[0] in _RESERVED or _ASSIGNMENT.fullmatch(words[0])):
        if words[0] in ("for", "case", "function"):
            return True
        words = words[1:]
    if not words:
        return True
    name, given = words[0], _without_redirects(words[1:])
    operands = [word for word in given if not word.startswith("-")]
    if name in _NEED_OPERANDS:
        searches = name in ("grep", "egrep", "fgrep") and any(re.match(r"-\w*[rR]|--recursive", word) for word in given)
        return piped or searches or len(operands) >= _NEED_OPERANDS[name]
    if name in _SHELLS:
        return not given and not piped
    if name in _RULES:
        return _RULES[name](given, operands)
    if name in ("cp", "find", "ln", "mv", "rm") and any(_ASKING.match(word) for word in given):
        return False
    return name in _NO_INPUT


def _without_redirects(words: list[str]) -> list[str]:
    kept: list[str] = []
    skip = False
    for word in words:
        is_sign = re.fullmatch(r"[<>]+&?", word) is not None
        if not skip and not is_sign:
            kept.append(word)
        skip = is_sign
    return kept


def _git(given: list[str], operands: list[str]) -> bool:
    asks = any(re.fullmatch(r"-[pie]|--patch|--interactive|--edit", word) for word in given)
    name = operands[0] if operands else ""
    if name == "commit":
        return not asks and any(re.match(r"-[a-z]*m|--message|-F|--file|--no-edit", word) for word in given)
    return not asks and (name in _QUIET_GIT or "--no-pager" in given)


def _install(given: list[str], operands: list[str]) -> bool:
    return operands[:1] in (["install"], ["list"], ["show"], ["freeze"], ["--version"])


def _apt(given: list[str], operands: list[str]) -> bool:
    return operands[:1] == ["update"] or any(re.fullmatch(r"-q*y|--yes|--assume-yes", word) for word in given)


def _python(given: list[str], operands: list[str]) -> bool:
    return given[:1] == ["--version"] or (given[:1] == ["-m"] and given[1:2] in (["pytest"], ["pip"], ["venv"]))


_RULES: dict[str, Callable[[list[str], list[str]], bool]] = {
    "git": _git,
    "pip": _install,
    "pip3": _install,
    "npm": lambda given, operands: operands[:1] in (["install"], ["ci"], ["test"], ["run"]),
    "go": lambda given, operands: operands[:1] in (["build"], ["test"], ["vet"], ["mod"]),
    "apt": _apt,
    "apt-get": _apt,
    "python": _python,
    "python3": _python,
}
