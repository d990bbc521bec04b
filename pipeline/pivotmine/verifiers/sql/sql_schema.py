"""Tables that a state describes: the CREATE TABLE statements in its messages and tool descriptions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from pivotmine import messages

MAX_TABLES = 64
MAX_STATEMENT_CHARS = 8_000
MAX_CHARS = 400_000
"""Characters that are searched for tables, from the first message on."""

_CREATE = re.compile(r"\bcreate\s{1,9}table\b", re.IGNORECASE)

Schema = dict[str, tuple[tuple[str, str], ...]]
"""Columns by table; a column is a name and a kind of values ("integer", "real", "text", "date")."""


def read_schema(history: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]]) -> Schema:
    """The described tables by lower-case name, without those whose descriptions differ or are unreadable."""
    found: Schema = {}
    spoiled: set[str] = set()
    for statement in _statements(_texts(history, tools)):
        for name, columns in _read_table(statement).items():
            if found.setdefault(name, columns) != columns:
                spoiled.add(name)
    return {name: columns for name, columns in found.items() if name not in spoiled}


class Keys(NamedTuple):
    """What a table's declaration promises about its rows."""

    not_null: tuple[str, ...]
    unique: tuple[tuple[str, ...], ...]
    """Groups of columns in which no two rows are equal, the primary key included."""


def read_keys(history: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]]) -> dict[str, Keys]:
    """The keys of the tables that CREATE TABLE statements describe; the first description counts."""
    found: dict[str, Keys] = {}
    for statement in _statements(_texts(history, tools)):
        tree = _parse(statement)
        if tree is not None and (table := _table_of(tree)):
            found.setdefault(table, _keys_of(tree))
    return found


def _keys_of(tree: Any) -> Keys:
    from sqlglot import exp

    not_null: set[str] = set()
    unique: list[tuple[str, ...]] = []
    for column in tree.find_all(exp.ColumnDef):
        kinds = {type(constraint.kind) for constraint in column.args.get("constraints") or []}
        name = column.name.lower()
        if kinds & {exp.PrimaryKeyColumnConstraint, exp.UniqueColumnConstraint}:
            unique.append((name,))
        if kinds & {exp.PrimaryKeyColumnConstraint, exp.NotNullColumnConstraint}:
            not_null.add(name)
    for key in tree.find_all(exp.PrimaryKey):
        names = tuple(part.name.lower() for part in key.expressions)
        unique.append(names)
        not_null.update(names)
    return Keys(tuple(sorted(not_null)), tuple(sorted(set(filter(None, unique)))))


def _table_of(tree: Any) -> str:
    from sqlglot import exp

    table = tree.find(exp.Table) if isinstance(tree, exp.Create) else None
    return "" if table is None else table.name.lower()


def _parse(statement: str) -> Any:
    import sqlglot
    from sqlglot import errors

    try:
        return sqlglot.parse_one(statement.replace("`", '"'))
    except (errors.SqlglotError, RecursionError, ValueError):
        return None


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
    """Index after the parenthesis that closes the first one; 0 if none does."""
    depth = 0
    for match in re.finditer(r"[()]", statement):
        depth += 1 if match[0] == "(" else -1
        if depth <= 0:
            return match.end() if depth == 0 else 0
    return 0


def _read_table(statement: str) -> Schema:
    from sqlglot import exp

    tree = _parse(statement)
    if tree is None or not (table := _table_of(tree)):
        return {}
    columns = [(column.name.lower(), _kind(column.args.get("kind"))) for column in tree.find_all(exp.ColumnDef)]
    return {table: tuple(columns)} if columns else {}


def _kind(declared: Any) -> str:
    """The kind of a declared type: SQLite's affinity (sqlite.org/datatype3.html, 3.1), or a date."""
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
