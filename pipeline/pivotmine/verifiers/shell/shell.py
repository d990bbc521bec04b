"""`shell`: commands that are the same program, by their parsed structure. An equivalence, not a similarity.

tree-sitter-bash parses the argument that holds the command, or the code block of a message. `shell_syntax` drops
quoting, white space and comments. `shell_commands` sorts what has no order (flags of known commands, tests of `find`)
and joins `cd a && cd b`. Expansions, substitutions and here-documents are compared as written. Programs of another form
are different only if `shell_difference` proves it; otherwise they are unproven. Text that is not readable as bash is
unproven too. An argument that is a list of words is a command without a shell; `["bash", "-lc", SCRIPT]` is its script.

Nothing is run or expanded. The working directory is unknown, so `cat a/b` and `cd a && cat b` are not the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pivotmine.actions.action import Action
from pivotmine.errors import UserError
from pivotmine.verifiers.base import Outcome, State, Verdict, Verifier
from pivotmine.verifiers.shell.shell_commands import canonical
from pivotmine.verifiers.shell.shell_difference import are_different
from pivotmine.verifiers.shell.shell_flags import RULES, arguments
from pivotmine.verifiers.shell.shell_syntax import UnreadableCommand, read_program
from pivotmine.verifiers.tool_calls.one_argument import prepare_code
from pivotmine.verifiers.tool_calls.tool_call import ToolCallOptions

_SHELLS = frozenset(("bash", "sh", "/bin/bash", "/bin/sh"))
_TEXT = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellOptions:
    arguments: tuple[str, ...] = ("command", "cmd", "bash_command", "shell_command", "script")
    """Arguments that may hold a command; the first one that a call has counts. `tool_call` compares the rest."""
    working_directory: str = ""
    """The directory in which every command starts; a leading `cd` to it does not count. Empty if unknown."""
    ignored_flags: tuple[str, ...] = ()
    """Flags of read-only commands to ignore if no other command reads the output. With "ls -a -l", the commands `ls`,
    `ls -a` and `ls -la` are the same."""
    rest: ToolCallOptions = field(default_factory=ToolCallOptions)
    """Options of `tool_call` for the other arguments. Default: those of the same config file, if it has any."""

    def __post_init__(self) -> None:
        _ignored(self.ignored_flags)


def prepare(state: State, demonstration: Action, options: ShellOptions) -> Callable[[Action], Verdict]:
    """Return a scorer for one demonstration: a call with a command, or a message that is one."""
    ignored = _ignored(options.ignored_flags)

    def read(value: Any) -> tuple[Any, ...] | None:
        if isinstance(value, str):
            return _read_script(value, options.working_directory, ignored)
        return _read_words(value, options.working_directory, ignored)

    return prepare_code(state, demonstration, options.arguments, read, _compare, options.rest)


def _compare(demonstrated: tuple[Any, ...], given: tuple[Any, ...]) -> Outcome:
    if demonstrated == given:
        return Outcome.CORRECT
    if _TEXT in (demonstrated[0], given[0]):
        return Outcome.UNPROVEN
    if demonstrated[0] != given[0]:  # a list of words against a script: values of two types
        return Outcome.WRONG_ARGUMENTS
    return Outcome.WRONG_ARGUMENTS if are_different(demonstrated, given) else Outcome.UNPROVEN


def _read_script(text: str, start: str, ignored: dict[str, frozenset[str]]) -> tuple[Any, ...]:
    try:
        return canonical(read_program(text), start, ignored)
    except UnreadableCommand:
        return _TEXT, text


def _read_words(value: Any, start: str, ignored: dict[str, frozenset[str]]) -> tuple[Any, ...] | None:
    if not isinstance(value, list) or not value or not all(isinstance(word, str) for word in value):
        return None
    if any("\0" in word for word in value):
        return _TEXT, tuple(value)
    if len(value) == 3 and value[0] in _SHELLS and value[1] in ("-c", "-lc"):
        script = _read_script(value[2], start, ignored)
        return script[0], value[0], value[1], script
    return "words", canonical(("command", (), value[0], tuple(value[1:])), start, ignored)


def _ignored(rules: tuple[str, ...]) -> dict[str, frozenset[str]]:
    """First names of the flags to ignore, by command; raises UserError for a rule that cannot be used."""
    found: dict[str, frozenset[str]] = {}
    for rule in rules:
        words = rule.split()
        size = next((i for i, word in enumerate(words) if word.startswith("-")), len(words))
        command = " ".join(words[:size])
        if command not in RULES or not RULES[command].reads_only:
            allowed = ", ".join(sorted(name for name in RULES if RULES[name].reads_only))
            raise UserError(f'verifier shell, option ignored_flags: "{rule}" names no read-only command: {allowed}')
        read = arguments(command, words[size:])
        if read is None or not read.flags or read.operands or any(value is not None for _, value in read.flags):
            raise UserError(f'verifier shell, option ignored_flags: "{rule}": write flags without values, as "ls -a"')
        found[command] = found.get(command, frozenset()) | {name for name, _ in read.flags}
    return found


VERIFIER = Verifier(
    prepare=prepare,
    options=ShellOptions,
    version=4,
    kinds=frozenset({"tool_call", "message"}),
    abstains=True,
    reads_commands=True,
    requires=("tree_sitter", "tree_sitter_bash"),
    extra="verifiers",
)
