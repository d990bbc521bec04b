"""`python`: programs with the same syntax tree. An equivalence, not a similarity.

The argument that holds the code (or the code block of a message) is parsed by the standard library's `ast`. These do
not count: white space, comments, parentheses that change nothing, how a string or a number is written, and
docstrings that the program cannot read. Everything else counts, including names of locals and the order of
statements. A last semicolon counts, too: in a notebook it hides the value.

A docstring counts if the program may read it: below a decorator, in a class with a base, in a function that is passed
on as a value, if it holds a doctest, and anywhere in a program that uses one of READERS. The docstring of the
module counts if nothing follows it, because a notebook shows the last value.

Two programs are different if they differ only in literals. Programs of another form are unproven, and so are texts
that are not Python (a notebook's `!ls` or `%time`). Nothing is compiled or run.
"""

from __future__ import annotations

import ast
import io
import tokenize
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pivotmine.actions.action import Action
from pivotmine.verifiers.base import Outcome, State, Verdict, Verifier
from pivotmine.verifiers.tool_calls.one_argument import prepare_code
from pivotmine.verifiers.tool_calls.tool_call import ToolCallOptions

MAX_CHARS = 50_000
"""Longer programs are not parsed."""

MAX_BRACKETS = 100
"""Programs with a deeper nesting of brackets and blocks are not parsed."""

MAX_OPERATORS = 500
"""Expressions with more operators are not parsed: the parser descends into each."""


READERS = frozenset((
    "__doc__", "cleandoc", "docopt", "doctest", "fire", "get_docstring", "getdoc", "help", "inspect", "plac", "pydoc",
    "xdoctest",
))  # fmt: skip
"""Names by which a program reads docstrings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonOptions:
    arguments: tuple[str, ...] = ("code", "python_code", "source", "python", "script", "cell")
    """Arguments that hold a program: the first of them that a call has. The rest compares as in `tool_call`."""
    rest: ToolCallOptions = field(default_factory=ToolCallOptions)
    """How the other arguments compare: options of `tool_call`; those of the same file, if it has any, by default."""


class _Form(NamedTuple):
    text: str
    tree: str | None
    """The syntax tree as text; None if there is none."""
    outline: str | None
    """The same without docstrings and literals."""


def prepare(state: State, demonstration: Action, options: PythonOptions) -> Callable[[Action], Verdict]:
    """Return a scorer for one demonstration: calls with a program, or a message that is one."""
    return prepare_code(state, demonstration, options.arguments, _read, _compare, options.rest)


def _compare(demonstrated: _Form, given: _Form) -> Outcome:
    if demonstrated.text == given.text:
        return Outcome.CORRECT
    if demonstrated.tree is None or given.tree is None:
        return Outcome.UNPROVEN
    if demonstrated.tree == given.tree:
        return Outcome.CORRECT
    return Outcome.WRONG_ARGUMENTS if demonstrated.outline == given.outline else Outcome.UNPROVEN


def _read(value: Any) -> _Form | None:
    if not isinstance(value, str):
        return None
    tree = syntax_tree(value)
    return _Form(value, tree, None if tree is None else _outline(value))


def _outline(text: str) -> str:
    """The tree without literals. It keeps docstrings as statements, so that another docstring stays unproven."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Constant):
                child.value, child.kind = type(child.value).__name__, None
    return ast.dump(tree)


def syntax_tree(text: str) -> str | None:
    """The syntax tree as text, without the parts that do not count; None if it is not Python, or too long or deep."""
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
    """The tokens; None if the parser might run out of stack: deep brackets and blocks, or long chains of operators."""
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
    names, passed = _names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            node.kind = None  # u"x" is "x"
        if not isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        docstring = ast.get_docstring(node, clean=False)
        if docstring is None or ">>>" in docstring or not READERS.isdisjoint(names) or _is_read(node, passed):
            continue
        node.body = node.body[1:] or [ast.Pass()]


def _is_read(node: ast.AST, passed: set[str]) -> bool:
    """Whether other code may ask for the docstring of this module, function or class."""
    if isinstance(node, ast.Module):
        return len(node.body) == 1
    if isinstance(node, ast.ClassDef):
        return bool(node.decorator_list or node.bases or node.keywords) or node.name in passed
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    return bool(node.decorator_list) or node.name in passed


def _names(tree: ast.Module) -> tuple[set[str], set[str]]:
    """All names that a program uses, and those that it uses in another way than to call them."""
    names: set[str] = set()
    called: set[int] = set()
    uses: list[tuple[str, int]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called.add(id(node.func))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update(part for alias in node.names for part in alias.name.split("."))
            names.update((getattr(node, "module", None) or "").split("."))
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            uses.append((node.id, id(node)))
        elif isinstance(node, ast.Attribute):
            uses.append((node.attr, id(node)))
    names.update(name for name, _ in uses)
    return names, {name for name, place in uses if place not in called}


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
