"""Which calls run a command, a query or a program, or edit a file.

An argument's name alone proves little: `code` may be a coupon, `query` a web search, `command` an order to a robot. A
verifier of bash, SQL or Python accepts texts that such a tool tells apart. Therefore the tool's name or the content
must confirm the kind. Otherwise `tool_call` compares the call.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from typing import Any

from pivotmine.actions.action import ToolCall
from pivotmine.verifiers.edits.editor_tools import read_edit
from pivotmine.verifiers.python import PythonOptions, parsed
from pivotmine.verifiers.shell.shell import ShellOptions
from pivotmine.verifiers.shell.shell_flags import RULES
from pivotmine.verifiers.sql.sql import SqlOptions

MAX_CHARS = 20_000
"""Only so many first characters of a text are examined. A longer Python program needs a tool whose name says so."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SHELL_TOOLS = frozenset(("bash", "shell", "sh", "zsh", "terminal", "cmd", "console", "exec", "command", "commands"))
"""Words of tool names. The text conventions also imply a tool called `execute`."""
_SQL_TOOLS = frozenset((
    "sql", "database", "db", "sqlite", "postgres", "postgresql", "mysql", "mariadb", "bigquery", "snowflake", "duckdb",
))  # fmt: skip
_PYTHON_TOOLS = frozenset(("python", "ipython", "jupyter", "notebook"))
_EDITORS = frozenset(("edit", "edits", "editor", "multiedit", "write", "patch", "diff", "replace"))
_EDITOR_NAMES = frozenset(("create_file", "create", "insert", "file"))
_OTHER_LANGUAGES = frozenset((
    "javascript", "js", "typescript", "ts", "node", "ruby", "java", "go", "rust", "cpp", "c", "csharp", "php", "perl",
    "r", "julia", "bash", "sh", "shell", "sql", "html", "css", "powershell", "lua", "kotlin", "swift", "scala",
))  # fmt: skip
_PROGRAMS = frozenset(name.split()[0] for name in RULES) | frozenset((
    "cd", "echo", "printf", "find", "python", "python3", "pip", "pip3", "git", "make", "npm", "npx", "node", "docker",
    "tar", "zip", "unzip", "ssh", "scp", "export", "env", "test", "kill", "sudo", "bash", "sh", "xargs", "go", "cargo",
))  # fmt: skip
_SHELL_SIGNS = re.compile(r"\s-{1,2}\w|[|&;<>$`\n]|[\w.]/|/\w|\w\.\w")
_SQL_WORD = re.compile(
    r"\s*(?:select|with|values|insert|replace|update|delete|merge|upsert|create|alter|drop|truncate|pragma|explain|show"
    r"|describe|desc|begin|commit|rollback|grant|revoke|analyze|vacuum|use|set|call)\b",
    re.IGNORECASE,
)
"""How a statement begins. This is enough if the name of the tool or the argument says SQL."""
_SELECTED = re.compile(r"\s*select\s+(?:[\d'\"(*]|[\w.]{1,60}\s*\()|\s*(?:pragma|explain)\s", re.IGNORECASE)
"""A statement without a table that is hardly anything but SQL."""
_COMMENTS = re.compile(r"(?:\s|--[^\n]*(?:\n|$)|/\*[^*]*\*/|\((?=\s*(?:select|with|values)\b))+", re.IGNORECASE)
_STATEMENT = re.compile(
    r"\s*(?:select\b.*\bfrom\b|with\b.*\bas\s*\(|insert\s+into\b|update\b.*\bset\b|delete\s+from\b"
    r"|(?:create|alter|drop)\s+(?:table|view|index)\b)",
    re.IGNORECASE | re.DOTALL,
)
_SQL_SIGNS = re.compile(r"[*=,();'\"<>]|\b(?:where|join|limit|group\s+by|order\s+by)\b", re.IGNORECASE)


def _tool_words(call: ToolCall) -> set[str]:
    return {word.lower() for word in _WORD.findall(call.name)}


def _text(call: ToolCall, names: tuple[str, ...]) -> tuple[str, str] | None:
    """Name and text of the first of these arguments that the call has; None if it is not text."""
    name = next((name for name in names if name in call.arguments), None)
    value = None if name is None else call.arguments[name]
    return (name, value) if name is not None and isinstance(value, str) else None


def is_command(call: ToolCall) -> bool:
    """Whether the call runs a shell command."""
    names = ShellOptions().arguments
    in_shell = bool(_SHELL_TOOLS & _tool_words(call)) or call.name == "execute"
    if (found := _text(call, names)) is None:
        words: Any = next((call.arguments[name] for name in names if name in call.arguments), None)
        return in_shell and isinstance(words, list) and bool(words)
    name, text = found
    if in_shell or name in ("bash_command", "shell_command"):
        # A script may be in another language, unless the tool is named after a shell.
        return name != "script" or bool({"bash", "shell", "sh", "zsh"} & _tool_words(call))
    first, _, _ = text[:MAX_CHARS].strip().partition(" ")
    return name in ("command", "cmd") and first in _PROGRAMS and _SHELL_SIGNS.search(text[:MAX_CHARS]) is not None


def command_of(call: ToolCall) -> tuple[str, str] | None:
    """Argument and text of the shell command that the call runs; None if it runs none or a list of words."""
    return _text(call, ShellOptions().arguments) if is_command(call) else None


def is_query(call: ToolCall) -> bool:
    """Whether the call runs an SQL statement."""
    if (found := _text(call, SqlOptions().arguments)) is None:
        return False
    name, text = found
    text = text[:MAX_CHARS]
    if begin := _COMMENTS.match(text):
        text = text[begin.end() :]
    words = _tool_words(call)
    if name in ("sql", "sql_query") or not words.isdisjoint(_SQL_TOOLS - {"database", "db"}):
        return _SQL_WORD.match(text) is not None
    runs_queries = "query" in words and not words.isdisjoint(("run", "execute", "exec", "read", "write"))
    of_database = runs_queries or not words.isdisjoint(_SQL_TOOLS)
    if of_database and _SELECTED.match(text):
        return True
    return _STATEMENT.match(text) is not None and (of_database or _SQL_SIGNS.search(text) is not None)


def is_code(call: ToolCall) -> bool:
    """Whether the call runs a Python program."""
    if (found := _text(call, PythonOptions().arguments)) is None:
        return False
    name, text = found
    language = str(call.arguments.get("language", call.arguments.get("lang", "python"))).lower()
    words = _tool_words(call)
    if not language.startswith("py") or _OTHER_LANGUAGES & words:
        return False
    if _PYTHON_TOOLS & words or name == "python_code":
        return True
    return name == "code" and len(text) <= MAX_CHARS and _has_statement(text)


def _has_statement(text: str) -> bool:
    """Whether a text is a program that does something. A coupon code or a number is only an expression."""
    tree = parsed(text)
    return tree is not None and any(
        not isinstance(statement, ast.Expr) or any(isinstance(node, ast.Call) for node in ast.walk(statement))
        for statement in tree.body
    )


def is_edit(call: ToolCall) -> bool:
    """Whether the call changes a file by a known editor."""
    if not (_EDITORS & _tool_words(call) or call.name.lower() in _EDITOR_NAMES):
        return False
    return read_edit(call.arguments) is not None


EDIT, COMMAND, QUERY, CODE = "edit", "command", "query", "code"
CALL_KINDS: Mapping[str, Callable[[ToolCall], bool]] = {
    EDIT: is_edit,
    COMMAND: is_command,
    QUERY: is_query,
    CODE: is_code,
}
"""Kinds of call; the first that fits counts."""


def kind_of(call: ToolCall) -> str:
    """The kind of a call; empty if it is for `tool_call`."""
    return next((kind for kind, fits in CALL_KINDS.items() if fits(call)), "")
