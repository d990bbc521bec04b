"""Parse SQL, by sqlglot, into nested tuples that are equal only if two texts ask for the same.

- Ignored: white space, comments, letter case of keywords and of identifiers that the dialect folds, quotes that an
  identifier does not need, redundant parentheses and words (`INNER`, `OUTER`, `ASC`, `AS`, `OFFSET 0`). In a query
  without subqueries also the names of table aliases, and a column's table if there is only one.
- Sorted: operands of AND and OR, both sides of a comparison, the literals of an IN list, the columns of INSERT with
  their values, and the assignments of UPDATE if none reads an assigned column.
- Rewritten: BETWEEN as two comparisons, `a = 1 OR a = 2` as an IN list, and `count(1)` as `count(*)`.

Everything else counts: expressions, their order in a select list, joins, literals as they are written. sqlglot treats
some functions and types as equal that differ in some engines (AS_WRITTEN): their names count.

In SQLite, a name in double quotes is a string if no column, table or alias has that name.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

MAX_CHARS = 10_000
"""Longer statements are not read: the parser is slow."""

MAX_DEPTH = 24
"""Statements with a deeper nesting of parentheses are not read."""

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

AS_WRITTEN = re.compile(
    r"\b(?:len|length|char_length|character_length|variance|variance_samp|var_samp|variance_pop|var_pop|stddev|stdev"
    r"|rand|random|datediff|date_diff|timestampdiff|timestamp_diff|trunc|truncate|day_?of_?\w{1,9}|week_?of_?\w{1,9}"
    r"|array_size|array_length|chr|char|sha|sha1|sign|signum|filter|array_filter|insert|stuff)(?=\s*\()"
    r"|\bnulls\s+(?:first|last)\b|\b(?:real|float[48]?|double)\b|\bint(?:eger)?\s+primary\s+key\b",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|--[^\n]*|/\*.*?\*/", re.DOTALL)

Form = tuple[Any, ...]


class UnreadableSql(ValueError):
    """The text is not SQL that this module can read."""


class Statements(NamedTuple):
    form: Form
    """What is compared."""
    is_query: bool
    """Whether it is a single statement that only reads."""
    is_ordered: bool
    """Whether it is a query with an order or a limit."""
    tables: frozenset[str]
    """Names of the tables in the first statement, in lower case."""
    literals: tuple[tuple[str, int], ...]
    """Numbers (by value) and strings, each with its count."""
    tree: Any
    """The syntax tree of the first statement, for `sql_trials`."""


def read_sql(text: str, dialect: str = "", columns: Mapping[str, frozenset[str]] | None = None) -> Statements:
    """Parse the statements in a text; raises UnreadableSql. `columns`: names by table, in lower case, if known."""
    import sqlglot
    from sqlglot import errors, exp

    if len(text) > MAX_CHARS or _depth(text) > MAX_DEPTH:
        raise UnreadableSql("too long or nested too deeply")
    logging.getLogger("sqlglot").setLevel(logging.CRITICAL)  # it would log the text
    try:
        # Common SQL has no backticks. MySQL and SQLite read them in the same way.
        reader = dialect or ("sqlite" if "`" in text else None)
        trees = [tree for tree in sqlglot.parse(text, dialect=reader) if tree is not None]
        if not trees or any(tree.find(exp.Command) for tree in trees):
            raise UnreadableSql("no statement, or one that is not parsed")
        for tree in trees:
            _simplify(tree, columns if dialect == "sqlite" and not set("`[") & set(text) else None)
        written = sorted(" ".join(found.lower().split()) for found in AS_WRITTEN.findall(_QUOTED.sub(" ", text)))
        return _statements(trees, dialect, tuple(written))
    except (errors.SqlglotError, RecursionError, ValueError) as error:
        raise UnreadableSql(type(error).__name__) from None


def _depth(text: str) -> int:
    """About how deep brackets are nested: those inside quotes count too."""
    depth = deepest = 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        deepest = max(deepest, depth)
    return deepest


def _statements(trees: list[Any], dialect: str, written: tuple[str, ...]) -> Statements:
    from sqlglot import exp
    from sqlglot.optimizer.normalize_identifiers import normalize_identifiers

    first = trees[0].copy()
    literals = Counter(_literal(node) for tree in trees for node in tree.find_all(exp.Literal))
    trees = [normalize_identifiers(tree, dialect=dialect or None) for tree in trees]
    _unquote(trees, dialect)
    for tree in trees:
        _rename_tables(tree)
    only = trees[0]
    common = {cte.alias for cte in only.find_all(exp.CTE)}
    tables = {table.name.lower() for table in only.find_all(exp.Table)} - {name.lower() for name in common}
    is_query = len(trees) == 1 and isinstance(only, exp.Query)
    is_ordered = is_query and bool(only.args.get("order") or only.args.get("limit"))
    form = (*[_form(tree) for tree in trees], written)
    return Statements(form, is_query, is_ordered, frozenset(tables), tuple(sorted(literals.items())), first)


def _simplify(tree: Any, columns: Mapping[str, frozenset[str]] | None) -> None:
    """Simplify a tree in place: `count(1)`, `OFFSET 0`, and SQLite's strings in double quotes."""
    from sqlglot import exp

    for count in tree.find_all(exp.Count):
        if isinstance(count.this, exp.Literal):
            count.set("this", exp.Star())
    for offset in list(tree.find_all(exp.Offset)):
        if isinstance(offset.expression, exp.Literal) and offset.expression.name == "0":
            offset.pop()
    if columns is None:
        return
    tables = list(tree.find_all(exp.Table))
    if not tables or not all(table.name.lower() in columns for table in tables):
        return
    aliases = {alias.alias.lower() for alias in tree.find_all(exp.Alias, exp.TableAlias, exp.CTE)}
    known = aliases.union(*[columns[table.name.lower()] | {table.name.lower()} for table in tables])
    for column in list(tree.find_all(exp.Column)):
        name = column.this
        is_quoted = isinstance(name, exp.Identifier) and name.args.get("quoted") and not column.table
        if is_quoted and name.name.lower() not in known:
            column.replace(exp.Literal.string(name.name))


def _unquote(trees: list[Any], dialect: str) -> None:
    """Drop the quotes of names that would be the same without them."""
    from sqlglot import exp
    from sqlglot.dialects.dialect import Dialect

    folding = Dialect.get_or_raise(dialect or None)
    for tree in trees:
        for name in tree.find_all(exp.Identifier):
            if name.args.get("quoted") and _PLAIN_NAME.fullmatch(name.name):
                plain = folding.normalize_identifier(exp.to_identifier(name.name, quoted=False))
                name.set("quoted", plain.name != name.name)


def _literal(node: Any) -> str:
    if node.is_string:
        return f"'{node.name}"
    try:
        return str(Decimal(node.name).normalize())
    except InvalidOperation:
        return node.name


def _rename_tables(tree: Any) -> None:
    """Name the tables of a query without subqueries by their position; drop the name of a lone table."""
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
    # A column that has a table's name may mean the whole row.
    if any(c.args.get("db") or (c.table not in names if c.table else c.name in names) for c in columns):
        return
    # The new names hold a blank, so that no table of the query has one of them.
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
    if not hasattr(node, "args"):  # the type keeps true and 1 apart, which are equal in Python
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
    """Sort the operands of a chain of AND or of OR. A loop flattens it: recursion may be too deep for a long chain."""
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
    operands = _with_lists(operands, isinstance(node, exp.Or))
    if len(operands) == 1:
        return operands[0]
    return type(node).__name__, tuple(sorted(operands, key=repr))


def _with_lists(operands: list[Form], is_or: bool) -> list[Form]:  # noqa: FBT001
    """Merge the comparisons of one value: for OR into an IN list, for AND into a NOT IN list."""
    values: dict[str, list[Form]] = {}
    lists: dict[str, Form] = {}
    others: list[Form] = []
    for operand in operands:
        found = _listed(operand if is_or else _negated(operand))
        if found is None:
            others.append(operand)
            continue
        key = repr(found[0])
        lists[key] = found[0]
        values.setdefault(key, []).extend(found[1])
    merged = [_one_of(lists[key], found) for key, found in values.items()]
    return [*others, *(merged if is_or else map(_negated, merged))]


def _listed(operand: Form | None) -> tuple[Form, list[Form]] | None:
    """Split `a = 1` or `a IN (1, 2)` into the value and its literals; None for anything else."""
    if operand is None:
        return None
    if operand[0] == "In" and len(operand) == 4 and not operand[3]:
        return operand[1], list(operand[2])
    if operand[0] == "EQ" and [part[0] for part in operand[1]].count("Literal") == 1:
        literal, value = sorted(operand[1], key=lambda part: part[0] != "Literal")
        return value, [literal]
    return None


def _one_of(value: Form, literals: list[Form]) -> Form:
    ordered = sorted(dict.fromkeys(literals), key=repr)
    if len(ordered) == 1:
        return "EQ", tuple(sorted((value, ordered[0]), key=repr))
    return "In", value, tuple(ordered), False


def _negated(operand: Form) -> Form:
    """Negate a comparison or an IN list, in the form that the parser gives it."""
    swapped = {"EQ": "NEQ", "NEQ": "EQ"}.get(operand[0])
    if swapped:
        return swapped, *operand[1:]
    if operand[0] == "Not":
        return operand[1][1]
    return "Not", ("this", operand)


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
    if not values or node.args.get("is_global") or not all(isinstance(value, exp.Literal) for value in values):
        return _plain(node)
    return _one_of(_form(node.this), [_form(value) for value in values])


def _update(node: Any) -> Form:
    """Sort the assignments if none reads an assigned column: engines differ in what such a column holds."""
    from sqlglot import exp

    targets = {pair.this.name for pair in node.expressions}
    read = {column.name for pair in node.expressions for column in pair.expression.find_all(exp.Column)}
    pairs = [("Set", _form(pair.this), _form(pair.expression)) for pair in node.expressions]
    if len(targets) == len(pairs) and targets.isdisjoint(read):
        pairs.sort(key=repr)
    return *_plain(node, expressions=None), ("expressions", tuple(pairs))


def _insert(node: Any) -> Form:
    """Sort the named columns, and every row of values in the same order."""
    from sqlglot import exp

    target, source = node.this, node.expression
    columns = target.expressions if isinstance(target, exp.Schema) else []
    rows = source.expressions if isinstance(source, exp.Values) else []
    if not columns or not all(isinstance(row, exp.Tuple) and len(row.expressions) == len(columns) for row in rows):
        return _plain(node)
    names = [_form(column) for column in columns]
    order = sorted(range(len(names)), key=lambda place: repr(names[place]))
    if not rows or len(set(map(repr, names))) < len(names):
        return _plain(node)
    values = tuple([tuple([_form(row.expressions[place]) for place in order]) for row in rows])
    named = tuple([names[place] for place in order])
    return *_plain(node, this=None, expression=None), _form(target.this), named, values


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
    "Insert": _insert,
    "Update": _update,
    "Join": _join,
    "Ordered": _ordered,
    "Identifier": _identifier,
}
