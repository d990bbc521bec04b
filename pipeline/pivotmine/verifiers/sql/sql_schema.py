"""Tables that a state describes: the CREATE TABLE statements in its messages and tool descriptions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from pivotmine import messages

MAX_TABLES = 64
MAX_STATEMENT_CHARS = 8_000
MAX_CHARS = 400_000
"""Of all messages together, from the first on."""

_CREATE = re.compile(r"\bcreate\s{1,9}table\b", re.IGNORECASE)

Schema = dict[str, tuple[tuple[str, str], ...]]
"""By table: its columns, each a name and a kind of values ("integer", "real", "text", "date")."""


def read_schema(history: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]]) -> Schema:
    """The tables described, by lower-case name; one that is described in two ways, or badly, is left out."""
    found: Schema = {}
    spoiled: set[str] = set()
    for statement in _statements(_texts(history, tools)):
        for name, columns in _read_table(statement).items():
            if found.setdefault(name, columns) != columns:
                spoiled.add(name)
    return {name: columns for name, columns in found.items() if name not in spoiled}


def _texts(history: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]]) -> Iterator[str]:
    left = MAX_CHARS
    for tool in tools:
        yield str(tool.get("function", {}).get("description", ""))[:left]
    for message in history:
        text = messages.text_of(message.get("content"))[:left]
        left -= len(text)
        yield text


def _statements(texts: Iterator[str]) -> Iterator[str]:
    count = 0
    for text in texts:
        for match in _CREATE.finditer(text):
            count += 1
            if count > MAX_TABLES:
                return
            statement = text[match.start() : match.start() + MAX_STATEMENT_CHARS]
            if end := _end(statement):
                yield statement[:end]


def _end(statement: str) -> int:
    """Index behind the parenthesis that closes the first one; 0 where none does."""
    depth = 0
    for match in re.finditer(r"[()]", statement):
        depth += 1 if match[0] == "(" else -1
        if depth <= 0:
            return match.end() if depth == 0 else 0
    return 0


def _read_table(statement: str) -> Schema:
    import sqlglot
    from sqlglot import errors, exp

    try:
        tree = sqlglot.parse_one(statement)
    except (errors.SqlglotError, RecursionError, ValueError):
        return {}
    table = tree.find(exp.Table) if isinstance(tree, exp.Create) else None
    columns = [(column.name.lower(), _kind(column.args.get("kind"))) for column in tree.find_all(exp.ColumnDef)]
    return {table.name.lower(): tuple(columns)} if table is not None and columns else {}


def _kind(declared: Any) -> str:
    """SQLite's affinities (sqlite.org/datatype3.html, 3.1), with dates apart."""
    words = "" if declared is None else declared.sql().upper()
    for kind, signs in _KINDS.items():
        if any(sign in words for sign in signs):
            return kind
    return "text"


_KINDS = {
    "date": ("DATE", "TIME"),
    "integer": ("INT", "BOOL", "SERIAL"),
    "text": ("CHAR", "CLOB", "TEXT", "ENUM", "UUID", "JSON"),
    "real": ("REAL", "FLOA", "DOUB", "NUM", "DEC", "MONEY"),
}
