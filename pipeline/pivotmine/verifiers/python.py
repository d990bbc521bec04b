"""`python`: programs with the same syntax tree; an equivalence, no similarity.

The argument that holds the code (or the code block of a message) is parsed by the standard library's `ast`. Left
out: white space, comments, parentheses that change nothing, how a string or a number is written, and docstrings
(of functions and classes; of the module only where something follows, for a notebook shows the last value). What
counts: everything else, names of locals and the order of statements included. A last semicolon counts, too: in a
notebook it hides the value. Programs of which only literals, names behind a dot or imports behind an `as` differ
are different; all others are unproven. So is what is not Python (a notebook's `!ls` or `%time`).

Nothing is compiled or run.
"""

from __future__ import annotations

import ast
import io
import tokenize
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from pivotmine.actions.action import Action
from pivotmine.verifiers.base import Outcome, State, Verdict, Verifier
from pivotmine.verifiers.tool_calls.one_argument import prepare_code

MAX_CHARS = 50_000
"""Longer programs are not parsed."""

MAX_BRACKETS = 100
"""Nor are those with more brackets and blocks inside each other."""

MAX_OPERATORS = 500
"""Nor are those with more operators in one expression: the parser descends into each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonOptions:
    arguments: tuple[str, ...] = ("code", "python_code", "source", "python", "script", "cell")
    """Arguments that hold a program: the first of them that a call has. The rest compares as in `tool_call`."""


class _Form(NamedTuple):
    text: str
    tree: str | None
    """The syntax tree as text; None where there is none."""


def prepare(state: State, demonstration: Action, options: PythonOptions) -> Callable[[Action], Verdict]:
    """A judge of actions against one demonstration: calls with a program, or a message that is one."""
    return prepare_code(state, demonstration, options.arguments, _read, _compare)


def _compare(demonstrated: _Form, given: _Form) -> Outcome:
    if demonstrated.text == given.text:
        return Outcome.CORRECT
    if demonstrated.tree is None or given.tree is None:
        return Outcome.UNPROVEN
    if demonstrated.tree == given.tree:
        return Outcome.CORRECT
    return Outcome.WRONG_ARGUMENTS if _skeleton(demonstrated) == _skeleton(given) else Outcome.UNPROVEN


def _skeleton(form: _Form) -> str:
    """The tree without literals and names behind a dot: if only these differ, the programs differ."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(form.text)
    _drop_docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            node.value = None
        elif isinstance(node, ast.Attribute):
            node.attr = ""
        elif isinstance(node, ast.alias) and node.asname:
            node.name = ""
    silent = form.tree is not None and form.tree.endswith(";")
    return f"{ast.dump(tree)}{silent}"


def _read(value: Any) -> _Form | None:
    return _Form(value, syntax_tree(value)) if isinstance(value, str) else None


def syntax_tree(text: str) -> str | None:
    """The syntax tree as text, without what does not matter; None for what is no Python, or too much of it."""
    if len(text) > MAX_CHARS or "# ///" in text:  # a script's metadata is a comment that counts (PEP 723)
        return None
    try:
        tokens = _read_tokens(text)
        if tokens is None:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
        _drop_docstrings(tree)
        shown = ast.dump(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError):
        return None
    return f"{shown}{';' if _is_silent(tokens) else ''}" if tree.body else None


def _read_tokens(text: str) -> list[tokenize.TokenInfo] | None:
    """The tokens; None where the parser might run out of stack: deep brackets and blocks, long chains without them."""
    tokens: list[tokenize.TokenInfo] = []
    depth = links = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        tokens.append(token)
        if token.type == tokenize.INDENT or token.string in ("(", "[", "{"):
            depth += 1
        elif token.type == tokenize.DEDENT or token.string in (")", "]", "}"):
            depth -= 1
        elif token.type in (tokenize.NEWLINE, tokenize.NL) or token.string == ",":
            links = 0
            continue
        links += token.type == tokenize.OP or token.string in ("not", "lambda", "await", "else", "if", "elif")
        if depth > MAX_BRACKETS or links > MAX_OPERATORS:
            return None
    return tokens


def _drop_docstrings(tree: ast.Module) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            node.kind = None  # u"x" is "x"
        if not isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if ast.get_docstring(node, clean=False) is None or (isinstance(node, ast.Module) and len(node.body) == 1):
            continue
        node.body = node.body[1:] or [ast.Pass()]


def _is_silent(tokens: list[tokenize.TokenInfo]) -> bool:
    code = [token.string for token in tokens if token.type not in _NO_CODE]
    return code[-1:] == [";"]


_NO_CODE = frozenset(
    (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
)


VERIFIER = Verifier(
    prepare=prepare,
    options=PythonOptions,
    version=2,
    kinds=frozenset({"tool_call", "message"}),
    abstains=True,
    reads_commands=True,
)
