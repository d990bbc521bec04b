"""`python`: programs with the same syntax tree. An equivalence, not a similarity.

The argument that holds the code (or the code block of a message) is parsed by the standard library's `ast`. These do
not count: white space, comments, parentheses that change nothing, how a string or a number is written, and
docstrings that the program cannot read. Everything else counts, including names of locals and the order of
statements. A semicolon at the end also counts, because it hides the value in a notebook.

A docstring is ignored only if nothing can read it. All docstrings count in a program that names one of READERS
(in its code or in a string) or imports a module that is not in HARMLESS. Libraries find functions by name (ply, doit)
or in objects that are passed to them (fire, tool servers). In other programs a docstring counts below a decorator, in
a class with a base, in a function or a class that is used as a value, and if it holds a doctest. The docstring of the
module counts if nothing follows it, because a notebook shows the last value.

If a program may read its own source (SOURCE_READERS), only equal texts are the same: comments and layout count.

Two programs are different if they differ only in literals. Programs that differ in anything else are unproven, and so
are texts that are not Python (a notebook's `!ls` or `%time`). Nothing is compiled or run.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pivotmine.actions.action import Action
from pivotmine.verifiers.base import Outcome, State, Verdict, Verifier
from pivotmine.verifiers.tool_calls.one_argument import prepare_code
from pivotmine.verifiers.tool_calls.tool_call import ToolCallOptions

MAX_CHARS = 50_000
"""Longer programs are not parsed."""

MAX_BRACKETS = 100
"""Programs with deeper nesting of brackets and blocks are not parsed."""

MAX_OPERATORS = 500
"""Programs with more operators in one expression are not parsed, because the parser recurses into each."""

READERS = frozenset((
    "__code__", "__dict__", "__doc__", "__import__", "_getframe", "cleandoc", "co_consts", "docopt", "doctest",
    "get_docstring", "getdoc", "modules", "pydoc", "xdoctest",
))  # fmt: skip
"""Names by which a program can find docstrings, or the objects that have them."""

BUILTIN_READERS = frozenset(("__builtins__", "compile", "dir", "eval", "exec", "globals", "help", "locals", "vars"))
"""Further such names; they count as plain names, but not as attributes (`re.compile`)."""

SOURCE_READERS = frozenset((
    "__cached__", "__file__", "__loader__", "__spec__", "_ih", "executing", "history_manager", "icecream", "inspect",
    "linecache", "orig_argv", "tracemalloc", "varname",
))  # fmt: skip
"""Names by which a program can find its own source. Names that contain "lineno" count, too."""

HARMLESS = sys.stdlib_module_names - {
    "__main__", "ast", "cmd", "code", "codeop", "dis", "doctest", "gc", "idlelib", "importlib", "inspect", "pkgutil",
    "pyclbr", "pydoc", "runpy", "symtable", "trace", "types", "unittest", "xmlrpc",
} | {
    "PIL", "aiohttp", "bs4", "cv2", "datasets", "httpx", "joblib", "lxml", "markdown", "matplotlib", "mpl_toolkits",
    "networkx", "numpy", "openpyxl", "pandas", "plotly", "polars", "psutil", "psycopg2", "pyarrow", "pymysql", "pypdf",
    "requests", "scipy", "seaborn", "skimage", "sklearn", "sqlalchemy", "statsmodels", "sympy", "torch", "torchvision",
    "tqdm", "transformers", "xgboost", "yaml",
}  # fmt: skip
"""Modules that read a program's docstrings only through decorators, base classes or values that they get."""

_OPENERS = frozenset(("Path", "Popen", "check_output", "exec", "open", "read_text", "run", "run_path", "system"))
"""Names that open or run a file. With `argv[0]`, that may be the program's own source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonOptions:
    arguments: tuple[str, ...] = ("code", "python_code", "source", "python", "script", "cell")
    """Names of arguments that hold a program; the first one that a call has counts. `tool_call` compares the rest."""
    rest: ToolCallOptions = field(default_factory=ToolCallOptions)
    """Options of `tool_call` for the other arguments; by default those in the same file, if it has any."""


class _Form(NamedTuple):
    text: str
    tree: str | None
    """The syntax tree as text (`syntax_tree`)."""
    outline: str | None
    """The syntax tree without literals, as text; None if the text cannot be parsed."""


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
    program = None if tree is None else parsed(value)
    return _Form(value, tree, None if program is None else _outline(program))


def _outline(tree: ast.Module) -> str:
    """The tree without literals. It keeps docstrings as statements, so that another docstring stays unproven."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Constant):
                child.value, child.kind = type(child.value).__name__, None
    return ast.dump(tree)


def parsed(text: str) -> ast.Module | None:
    """The program as the standard library parses it; None if it is not Python, empty, or too long or deep."""
    if len(text) > MAX_CHARS:
        return None
    try:
        if _read_tokens(text) is None:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
        ast.dump(tree)  # a tree that is too deep fails here, not in a later comparison
    except (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError):
        return None
    return tree if tree.body else None


def syntax_tree(text: str) -> str | None:
    """The syntax tree as text, without the parts that do not count; None if it cannot be parsed or layout counts."""
    tree = None if "# ///" in text else parsed(text)  # a script's metadata is a comment that counts (PEP 723)
    if tree is None:
        return None
    names, passed = _names(tree)
    if _reads_source(tree, names):
        return None
    _drop_docstrings(tree, names, passed)
    return f"{ast.dump(tree)}{';' if _is_silent(_read_tokens(text) or []) else ''}"


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


def _reads_source(tree: ast.Module, names: set[str]) -> bool:
    """Whether a program may read its own source or its line numbers."""
    if not names.isdisjoint(SOURCE_READERS) or any("lineno" in name for name in names):
        return True
    return "argv" in names and not names.isdisjoint(_OPENERS) and not _skips_itself(tree)


def _skips_itself(tree: ast.Module) -> bool:
    """Whether a program uses only `argv[1:]`, and never its own path in `argv[0]`."""
    safe: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript):
            first = node.slice.lower if isinstance(node.slice, ast.Slice) else node.slice
            if isinstance(first, ast.Constant) and isinstance(first.value, int) and first.value > 0:
                safe.add(id(node.value))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "len":
            safe.update(map(id, node.args))
    uses = (node for node in ast.walk(tree) if getattr(node, "id", getattr(node, "attr", None)) == "argv")
    return all(id(node) in safe for node in uses)


def _drop_docstrings(tree: ast.Module, names: set[str], passed: set[str]) -> None:
    may_read = not READERS.isdisjoint(names) or not all(module in HARMLESS for module in _modules(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            node.kind = None  # u"x" is "x"
        if not isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        docstring = ast.get_docstring(node, clean=False)
        if docstring is None or may_read or ">>>" in docstring or _is_read(node, passed):
            continue
        node.body = node.body[1:] or [ast.Pass()]


def _modules(tree: ast.Module) -> Iterator[str]:
    """Top-level names of the modules that a program imports; empty for a relative import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "" if node.level else (node.module or "").partition(".")[0]


def _is_read(node: ast.AST, passed: set[str]) -> bool:
    """Whether other code may read the docstring of this module, function or class."""
    if isinstance(node, ast.Module):
        return len(node.body) == 1
    if isinstance(node, ast.ClassDef):
        return bool(node.decorator_list or node.bases or node.keywords) or node.name in passed
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    return bool(node.decorator_list) or node.name in passed


def _names(tree: ast.Module) -> tuple[set[str], set[str]]:
    """All names that a program uses, and the names that it uses other than by calling them."""
    names: set[str] = set()
    called: set[int] = set()
    looked_up: set[str] = set()
    uses: list[tuple[str, int]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called.add(id(node.func))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update(part for alias in node.names for part in alias.name.split("."))
            names.update((getattr(node, "module", None) or "").split("."))
        elif isinstance(node, ast.Name):
            names.update(["__doc__"] if node.id in BUILTIN_READERS else [])
            if isinstance(node.ctx, ast.Load):
                uses.append((node.id, id(node)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # A name may be looked up by its text.
            hidden = re.findall(r"__\w+__|\w*lineno", node.value[:MAX_CHARS])
            whole = {node.value} if node.value.isidentifier() else set[str]()
            names.update(hidden, whole)
            looked_up |= whole
        elif isinstance(node, ast.Attribute):
            uses.append((node.attr, id(node)))
    names.update(name for name, _ in uses)
    return names, looked_up | {name for name, place in uses if place not in called}


def _is_silent(tokens: list[tokenize.TokenInfo]) -> bool:
    """Whether a semicolon ends the program."""
    code = [token.string for token in tokens if token.type not in _NO_CODE]
    return code[-1:] == [";"]


_NO_CODE = frozenset(
    (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
)


VERIFIER = Verifier(
    prepare=prepare,
    options=PythonOptions,
    version=3,
    kinds=frozenset({"tool_call", "message"}),
    abstains=True,
    reads_commands=True,
)
