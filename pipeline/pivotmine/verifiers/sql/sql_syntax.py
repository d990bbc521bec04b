"""SQL as nested tuples that are equal only where two texts ask for the same, by sqlglot's syntax tree.

Left out: white space, comments, letter case of keywords and of identifiers where the dialect does not tell them
apart, redundant parentheses and words (`INNER`, `OUTER`, `ASC`, `AS`). In one order: operands of AND and OR,
both sides of a comparison, the literals of an IN list. BETWEEN is two comparisons. In a query without subqueries
the names of table aliases do not matter, nor does a column's table where there is only one. Everything else
counts: expressions, their order in a select list, joins, literals as they are written.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

MAX_CHARS = 10_000
"""Longer statements are not read: the parser is no fast one."""

MAX_DEPTH = 24
"""Nor are those with more parentheses inside each other."""

Form = tuple[Any, ...]


class UnreadableSql(ValueError):
    """The text is no SQL that this module vouches for."""


class Statements(NamedTuple):
    form: Form
    """What is compared."""
    is_query: bool
    """One statement that only reads."""
    is_ordered: bool
    """Its rows come in an order that it asks for."""
    tables: frozenset[str]
    """Names of the tables it reads, in lower case."""
    literals: tuple[tuple[str, int], ...]
    """Its numbers (by value) and strings, and how often each."""


def read_sql(text: str, dialect: str = "") -> Statements:
    """The statements in a text; raises UnreadableSql."""
    import sqlglot
    from sqlglot import errors, exp

    if len(text) > MAX_CHARS or _depth(text) > MAX_DEPTH:
        raise UnreadableSql("too long or nested too deeply")
    logging.getLogger("sqlglot").setLevel(logging.CRITICAL)  # it would print the text
    try:
        trees = [tree for tree in sqlglot.parse(text, dialect=dialect or None) if tree is not None]
        if not trees or any(tree.find(exp.Command) for tree in trees):
            raise UnreadableSql("no statement, or one that is not parsed")
        return _statements(trees, dialect)
    except (errors.SqlglotError, RecursionError, ValueError) as error:
        raise UnreadableSql(type(error).__name__) from None


def _depth(text: str) -> int:
    """Parentheses inside each other, quotes aside: an upper bound of a kind."""
    depth = deepest = 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        deepest = max(deepest, depth)
    return deepest


def _statements(trees: list[Any], dialect: str) -> Statements:
    from sqlglot import exp
    from sqlglot.optimizer.normalize_identifiers import normalize_identifiers

    literals = Counter(_literal(node) for tree in trees for node in tree.find_all(exp.Literal))
    trees = [normalize_identifiers(tree, dialect=dialect or None) for tree in trees]
    for tree in trees:
        _rename_tables(tree)
    only = trees[0]
    common = {cte.alias for cte in only.find_all(exp.CTE)}
    tables = {table.name.lower() for table in only.find_all(exp.Table)} - {name.lower() for name in common}
    is_query = len(trees) == 1 and isinstance(only, exp.Query)
    is_ordered = is_query and bool(only.args.get("order") or only.args.get("limit"))
    form = tuple([_form(tree) for tree in trees])
    return Statements(form, is_query, is_ordered, frozenset(tables), tuple(sorted(literals.items())))


def _literal(node: Any) -> str:
    if node.is_string:
        return f"'{node.name}"
    try:
        return str(Decimal(node.name).normalize())
    except InvalidOperation:
        return node.name


def _rename_tables(tree: Any) -> None:
    """Give the tables of a query without subqueries names by their place, and drop a lone table's name."""
    from sqlglot import exp

    if not isinstance(tree, exp.Select) or any(tree.find_all(exp.Subquery, exp.CTE, exp.SetOperation, exp.Lateral)):
        return
    if sum(1 for _ in tree.find_all(exp.Select)) != 1:
        return
    tables = list(tree.find_all(exp.Table, bfs=False))
    names = [table.alias_or_name for table in tables]
    columns = list(tree.find_all(exp.Column))
    plain = all(
        isinstance(t.this, exp.Identifier) and not (t.args.get("joins") or t.alias_column_names) for t in tables
    )
    if not plain or len(set(names)) != len(names):
        return
    # A name of a table may stand for its whole row.
    if any(c.args.get("db") or (c.table not in names if c.table else c.name in names) for c in columns):
        return
    outputs = {alias.alias for alias in tree.find_all(exp.Alias)}
    for column in columns:
        if not column.table:
            continue
        if len(names) == 1 and column.name not in outputs:
            column.set("table", None)
        else:
            column.set("table", exp.to_identifier(f"table {names.index(column.table)}"))
    for place, table in enumerate(tables):
        table.set("alias", exp.TableAlias(this=exp.to_identifier(f"table {place}")))


def _form(node: Any) -> Any:
    if not hasattr(node, "args"):  # true is not 1
        return (type(node).__name__, node) if isinstance(node, bool | int | float) else node
    if type(node).__name__ == "Paren":
        return _form(node.this)
    special = _SPECIAL.get(type(node).__name__)
    return special(node) if special else _plain(node)


def _plain(node: Any, **changed: Any) -> Form:
    parts: list[Any] = [type(node).__name__]
    for name, value in sorted((node.args | changed).items()):
        if value is None or (isinstance(value, list | str) and not value):
            continue
        parts.append((name, tuple([_form(item) for item in value]) if isinstance(value, list) else _form(value)))
    return tuple(parts)


def _in_any_order(node: Any) -> Form:
    """Operands of a chain of AND or of OR, sorted; the chain may be long, so it is not descended into."""
    from sqlglot import exp

    pending: list[Any] = [node]
    operands: list[Form] = []
    while pending:
        part = pending.pop()
        part = part.unnest() if isinstance(part, exp.Paren) else part
        if type(part) is type(node):
            pending += [part.this, part.expression]
        else:
            operands += _between(part) if isinstance(part, exp.Between) and isinstance(node, exp.And) else [_form(part)]
    return type(node).__name__, tuple(sorted(operands, key=repr))


def _between(node: Any) -> list[Form]:
    value = _form(node.this)
    low, high = _form(node.args["low"]), _form(node.args["high"])
    if node.args.get("symmetric"):
        return [_plain(node)]
    return [("LTE", low, value), ("LTE", value, high)]


def _two_comparisons(node: Any) -> Form:
    operands = _between(node)
    return operands[0] if len(operands) == 1 else ("And", tuple(sorted(operands, key=repr)))


def _symmetric(node: Any) -> Form:
    return type(node).__name__, tuple(sorted((_form(node.this), _form(node.expression)), key=repr))


def _less(node: Any) -> Form:
    return type(node).__name__, _form(node.this), _form(node.expression)


def _greater(node: Any) -> Form:
    return {"GT": "LT", "GTE": "LTE"}[type(node).__name__], _form(node.expression), _form(node.this)


def _in_list(node: Any) -> Form:
    from sqlglot import exp

    values = node.expressions
    if not values or not all(isinstance(value, exp.Literal) for value in values):
        return _plain(node)
    return "In", _form(node.this), tuple(sorted(map(_form, values), key=repr)), bool(node.args.get("is_global"))


def _join(node: Any) -> Form:
    kind = node.args.get("kind")
    return _plain(node, kind=None if kind in ("INNER", "OUTER") else kind)


def _ordered(node: Any) -> Form:
    return _plain(node, desc=node.args.get("desc") or None)


def _identifier(node: Any) -> Form:
    return "Identifier", node.name, bool(node.args.get("quoted"))


_SPECIAL: dict[str, Callable[[Any], Any]] = {
    "And": _in_any_order,
    "Or": _in_any_order,
    "EQ": _symmetric,
    "NEQ": _symmetric,
    "LT": _less,
    "LTE": _less,
    "GT": _greater,
    "GTE": _greater,
    "Between": _two_comparisons,
    "In": _in_list,
    "Join": _join,
    "Ordered": _ordered,
    "Identifier": _identifier,
}
