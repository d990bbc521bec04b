"""Cheap proofs that two readable programs are different. Programs without a proof may still be different.

- Another program: single commands with different names, or compound ones with different programs. Text tools that can
  replace each other do not count (`cat a | grep x` may be `grep x a`).
- Other files: one writes and the other only reads, or they redirect into different files.
- Another literal: the same commands in the same order, but one has a plain word that the other lacks. Words of tools
  that take a script or a pattern are not compared, because `s/a/b/` and `s|a|b|` are the same script.
- Another output: filters that turn one source into different text (`shell_outputs`).
- Another target: no absolute path of one program is, contains or lies in a path of the other.

A word is a literal only if the shell passes it on unchanged and it cannot hold a unit, an escape or a format. Relative
and absolute paths with the same end may be the same file and prove nothing. Links are not considered.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from pivotmine.verifiers.shell.shell_commands import canonical, clean_path
from pivotmine.verifiers.shell.shell_flags import RULES
from pivotmine.verifiers.shell.shell_outputs import outputs_differ
from pivotmine.verifiers.shell.shell_syntax import Form, UnreadableCommand, read_program
from pivotmine.verifiers.shell.shell_words import OPAQUE, is_plain

_SAME_PROGRAM = {
    "egrep": "grep", "fgrep": "grep", "rg": "grep", "ag": "grep", "gawk": "awk", "mawk": "awk", "python3": "python",
    "pip3": "pip", "source": ".", "[": "test", "dir": "ls", "vdir": "ls", "vim": "vi", "nodejs": "node", "sh": "bash",
    "gsed": "sed", "apt": "apt-get", "gmake": "make", "rmdir": "rm", "unlink": "rm", "less": "cat", "more": "cat",
    "py.test": "pytest", "printf": "echo",
}  # fmt: skip
"""A program, and the one that may do the same."""
_PLUMBING = frozenset((
    "cat", "echo", "printf", "cd", "pwd", "true", "false", ":", "xargs", "test", "exit", "set", "export", "sleep",
    "time", "sudo", "env", "command", "bash", "eval", "exec", "read", "tee", "seq", "pushd", "popd", "nohup", "let",
    "expr", "bc", "basename", "dirname", "local", "declare", "shopt", "stdbuf",
))  # fmt: skip
"""Programs that a compound command may run more or less often and still do the same."""
_SELECTORS = frozenset((
    "grep", "sed", "awk", "cut", "head", "tail", "tr", "perl", "python", "column", "paste", "rev", "fold", "fmt", "jq",
    "wc", "sort", "uniq", "tac", "nl", "expand", "comm", "join", "strings",
))  # fmt: skip
"""Text tools that can do each other's work."""
_HAVE_SCRIPTS = frozenset((
    "sed", "awk", "perl", "jq", "python", "bash", "eval", "expr", "bc", "find", "test", "date", "printf", "tr", "ssh",
    "let", "exec", "env", "xargs", "sudo", "time", "nohup", "stat", "sort", "cut", "sleep", "timeout", "kill",
))  # fmt: skip
"""Programs whose words are a script or have several spellings: only their numbers and paths are compared."""
_WRITERS = frozenset(("rm", "mv", "cp", "mkdir", "touch", "chmod", "chown", "ln", "dd", "truncate", "install", "tee"))
_RUNNERS = frozenset(("xargs", "bash", "python", "perl", "eval", "exec", "env", "sudo", "find", ".", "awk", "sed"))
"""Programs that may write although no word of the command shows it."""
_WRAPPERS = frozenset(
    ("xargs", "bash", "eval", "exec", "env", "sudo", "find", "time", "nohup", "command", "stdbuf", ".")
)
"""Programs that run another one."""
_IN_ORDER = frozenset(("cp", "mv", "ln", "diff", "cmp"))
"""Commands whose operands have roles."""
_LITERAL = re.compile(r"[\w./:,@+ -]+")
_NUMBER = re.compile(r"[+-]?\d+")
_TOKEN = re.compile(r"[\w.+-]+")
_DIGITS = re.compile(r"\d{1,30}")
_SUMMAND = re.compile(r"(.*[\w)])\s*([-+])\s*(\d{1,9})\s*\}\s*", re.DOTALL)
_SUBSTITUTION = re.compile(r'"?[$<>]\((?!\()(.*)\)"?', re.DOTALL)
_MEASURE = re.compile(r"[+-]?\d[\d.]*\s?[A-Za-z%]*")


class _Command(NamedTuple):
    name: str
    flags: tuple[tuple[str, str | None], ...]
    words: tuple[str, ...]


class _Parts(NamedTuple):
    """A program, split into its parts."""

    commands: list[_Command]
    shape: list[str]
    """Connectors and statement types, in order."""
    written: list[str]
    """Files that redirections write."""
    hidden: list[str]
    """Text that is not parsed further."""

    @property
    def names(self) -> set[str]:
        """Names of the programs in `commands`."""
        return {command.name for command in self.commands} - {""}

    @property
    def tokens(self) -> set[str]:
        """Every word that may name a program, also in arguments and hidden text."""
        texts = (*self.hidden, *self.names, *(word for command in self.commands for word in command.words))
        found = {token for text in texts for token in _TOKEN.findall(text)}
        return found | self.names | {_SAME_PROGRAM[token] for token in found if token in _SAME_PROGRAM}


def are_different(one: Form, other: Form) -> bool:
    """Whether two programs of `shell_commands.canonical` are provably different."""
    first, second = _parts(one), _parts(other)
    if _has_other_program(first, second) or _has_other_program(second, first) or outputs_differ(one, other):
        return True
    if first.hidden or second.hidden:
        return False
    return (
        _is_longer(first, second)
        or _is_longer(second, first)
        or _other_files(first, second)
        or _other_literal(first, second)
        or _other_targets(first, second)
    )


def _parts(form: Form) -> _Parts:
    parts = _Parts([], [], [], [])
    _collect(form, parts)
    return parts


def _collect(form: Any, parts: _Parts) -> None:
    """Add a statement to the parts."""
    if isinstance(form, str):
        parts.shape.append(form)
    elif form[0] == "raw":
        parts.hidden.append(form[2])
    elif form[0] == "command":
        _collect_command(form, parts)
    elif form[0] == "redirected":
        for redirect in form[2]:
            if redirect[1] in (">", ">>", "&>", ">|", "&>>") and redirect[-1] != "/dev/null":
                parts.written.append(redirect[-1])
            _collect_word(redirect[-1], parts)
        _collect(form[1], parts)
    else:
        parts.shape.append(form[0])
        for part in form[1:]:
            _collect(part, parts)


def _collect_command(form: Form, parts: _Parts) -> None:
    written: str = form[2].strip("'").rpartition("/")[2]
    name: str = _SAME_PROGRAM.get(written, written)
    flags, words = (form[3], form[4]) if len(form) == 5 else ((), tuple(_flat(form[3])))
    parts.commands.append(_Command(name, flags, words))
    if not is_plain(name):
        parts.hidden.append(name)
    for word in (*form[1], *words):
        _collect_word(word, parts)


def _flat(words: Any) -> Iterator[str]:
    """Flatten the words of `find`, which come in groups."""
    for word in words:
        if isinstance(word, tuple):
            yield from _flat(word)
        else:
            yield word


def _collect_word(word: str, parts: _Parts) -> None:
    """Add the program that a substitution in the word runs."""
    if is_plain(word) or not any(mark in word for mark in ("$(", "`", "<(", ">(")):
        return
    inner = _SUBSTITUTION.fullmatch(word.removeprefix(OPAQUE))
    try:
        program = canonical(read_program(inner[1])) if inner else None
    except UnreadableCommand:
        program = None
    if program is None:
        parts.hidden.append(word)
    else:
        _collect(program, parts)


def _has_other_program(one: _Parts, other: _Parts) -> bool:
    """Whether the first runs a program that the second neither names nor can replace by others."""
    if any(not is_plain(command.name) for command in (*one.commands, *other.commands)):
        return False
    alone = one.shape == other.shape == ["program"] and len(one.commands) == len(other.commands) == 1
    alone = alone and not one.hidden and not other.hidden
    telling = one.names - (_WRAPPERS if alone else _PLUMBING | _SELECTORS)
    return not telling <= other.tokens


def _is_longer(one: _Parts, other: _Parts) -> bool:
    """Whether the second is the first with more text tools in its pipeline."""
    if set(other.shape) != {"program", "pipeline", "|"} or not set(one.shape) <= set(other.shape):
        return False
    rest = iter(other.commands)
    is_part = len(one.commands) < len(other.commands) and all(command in rest for command in one.commands)
    added = Counter(other.commands) - Counter(one.commands)
    return is_part and any(command.name in _SELECTORS for command in added)


def _other_files(one: _Parts, other: _Parts) -> bool:
    if one.written and other.written:
        return len(one.written) == len(other.written) == 1 and _contradict(one.written[0], other.written[0])
    if not one.written and not other.written:
        return False
    return all(_only_reads(command.name) for command in (other if one.written else one).commands)


def _only_reads(name: str) -> bool:
    """Whether a program writes no file, with any arguments."""
    is_known = name in _PLUMBING | _SELECTORS or (name in RULES and RULES[name].reads_only)
    return is_known and name not in _WRITERS | _RUNNERS


def _other_literal(one: _Parts, other: _Parts) -> bool:
    if one.shape != other.shape or len(one.commands) != len(other.commands):
        return False
    pairs = list(zip(one.commands, other.commands, strict=True))
    if any(a.name != b.name for a, b in pairs):
        return False
    return any(_words_contradict(a, b) for a, b in pairs if a.name not in _HAVE_SCRIPTS) or any(
        _other_number(a, b) for one_command, other_command in pairs for a, b in _aligned(one_command, other_command)
    )


def _aligned(one: _Command, other: _Command) -> Iterator[tuple[str, str]]:
    """Pair the words of two commands of equal length by place, values of flags included."""
    words, others = ([*[f"{n}={v}" for n, v in c.flags], *c.words] for c in (one, other))
    return iter(zip(words, others, strict=True)) if len(words) == len(others) else iter(())


def _other_number(one: str, other: str) -> bool:
    """Whether two words or scripts differ only in numbers, or only in the number that the last block adds."""
    (core, summand), (other_core, other_summand) = _without_summand(one), _without_summand(other)
    if core == other_core and "print" in core:
        return summand != other_summand
    if one == other or _DIGITS.sub("0", one) != _DIGITS.sub("0", other):
        return False
    return list(map(int, _DIGITS.findall(one))) != list(map(int, _DIGITS.findall(other)))


def _without_summand(script: str) -> tuple[str, int]:
    """Split off the number that the last block of a script adds to what it prints: `{print n - 2}`."""
    found = _SUMMAND.fullmatch(script)
    return (script.rstrip(" }"), 0) if found is None else (found[1], int(f"{found[2]}{found[3]}"))


def _words_contradict(one: _Command, other: _Command) -> bool:
    values, others = dict(one.flags), dict(other.flags)
    for flag in values.keys() & others.keys():
        value, given = values[flag], others[flag]
        if value is not None and given is not None and _contradict(value, given):
            return True
    if one.name in _IN_ORDER and len(one.words) == len(other.words):
        return any(_contradict(a, b) for a, b in zip(one.words, other.words, strict=True))
    left, right = Counter(one.words) - Counter(other.words), Counter(other.words) - Counter(one.words)
    if not left or not right or left.total() != right.total():
        return False
    # One word that contradicts all words that only the other command has is enough.
    return any(all(_contradict(a, b) for b in right) for a in left)


def _contradict(one: str, other: str) -> bool:
    """Whether two words cannot mean the same value."""
    if not (is_plain(one) and is_plain(other) and _LITERAL.fullmatch(one) and _LITERAL.fullmatch(other)):
        return False
    if one.startswith("-") or other.startswith("-") or one.casefold() == other.casefold():
        return False
    if _NUMBER.fullmatch(one) and _NUMBER.fullmatch(other):
        return int(one[:40]) != int(other[:40])  # int() of thousands of digits is slow, or refused
    if _MEASURE.fullmatch(one) or _MEASURE.fullmatch(other):
        return False
    return not _may_be_one_path(one, other)


def _may_be_one_path(one: str, other: str) -> bool:
    first, second = clean_path(one), clean_path(other)
    if first == second:
        return True
    if first.startswith("/") and second.startswith("/"):
        return ".." in (*first.split("/"), *second.split("/"))
    ends, other_ends = first.split("/"), second.split("/")
    if {".", ".."} & {ends[-1], other_ends[-1]}:  # they may stand for a folder of any name
        return first.startswith("/") or second.startswith("/") or ".." in (*ends, *other_ends)
    return ends[-1] == other_ends[-1]


def _other_targets(one: _Parts, other: _Parts) -> bool:
    paths, others = list(_absolute_paths(one.commands)), list(_absolute_paths(other.commands))
    if not paths or not others or any(c.name == "cd" for c in (*one.commands, *other.commands)):
        return False
    return not any(_contains(a, b) or _contains(b, a) for a in paths for b in others)


def _absolute_paths(commands: Sequence[_Command]) -> Iterator[str]:
    for command in commands:
        for word in command.words:
            if word.startswith("/") and len(word) > 1 and is_plain(word) and ".." not in word.split("/"):
                yield clean_path(word)


def _contains(folder: str, path: str) -> bool:
    return path == folder or path.startswith(f"{folder}/") or folder == "/"
