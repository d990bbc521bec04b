"""What a trial of two queries needs besides the queries: values that satisfy their conditions, and mutants.

A mutant is a query with one small change (another comparison, a condition less, DISTINCT, another join). If no
generated database tells a query from its mutant, those databases say little about the part that was changed.
Mutants that mean the same by the rules of SQL are left out: DISTINCT over one row or over all groups, an outer join
whose missing rows a later condition rejects, an order that nobody sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

MAX_MUTANTS = 40
"""Of one query; a query with more is not tried."""

Columns = Mapping[str, frozenset[str]]
"""By table, in lower case: its columns."""
Place = tuple[str, str]
"""Table and column."""


class TooManyMutants(ValueError):
    """The query is too long to be tried thoroughly."""


Values = dict[str, dict[str, list[list[Any]]]]
"""By table and column: values that satisfy a condition, and values next to them."""


def hints(trees: Sequence[Any], columns: Columns) -> tuple[Values, list[list[list[str]]]]:
    """Values for the queries' conditions, and groups of columns that the queries equate."""
    values: Values = {}
    groups: list[set[Place]] = []
    for tree in trees:
        for places, found in _conditions(tree, columns):
            for table, column in places:
                kept = values.setdefault(table, {}).setdefault(column, [[], []])
                for some, more in zip(kept, found, strict=True):
                    some.extend(more)
        for one, other in _equated(tree, columns):
            joined = [group for group in groups if not group.isdisjoint(one | other)]
            groups = [group for group in groups if group not in joined]
            groups.append(set().union(one, other, *joined))
    return values, [[list(place) for place in sorted(group)] for group in groups]


def _places(node: Any, columns: Columns) -> set[Place]:
    """The columns that a column of a query may be: its table's, or those of that name in any table of the query."""
    root = node.root()
    from sqlglot import exp

    names = {table.alias_or_name.lower(): table.name.lower() for table in root.find_all(exp.Table)}
    tables = {names.get(node.table.lower(), node.table.lower())} if node.table else set(names.values())
    column = node.name.lower()
    return {(table, column) for table in tables if column in columns.get(table, ())}


def _conditions(tree: Any, columns: Columns) -> Iterator[tuple[set[Place], tuple[list[Any], list[Any]]]]:
    from sqlglot import exp

    for node in tree.find_all(exp.EQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Like, exp.In, exp.Between):
        column, kind = node.this, type(node).__name__
        if isinstance(node, exp.In):
            literals = node.expressions
        elif isinstance(node, exp.Between):
            literals = [node.args["low"], node.args["high"]]
        else:
            literals = [node.expression]
            if isinstance(column, exp.Literal):
                column, literals, kind = node.expression, [column], _MIRRORED.get(kind, kind)
        column = column if isinstance(column, exp.Column) else column.find(exp.Column)
        if column is not None:
            values = [_value(literal) for literal in literals if isinstance(literal, exp.Literal)]
            around = [_around(value) for value in values]
            satisfying = [found for value in values for found in _satisfying(kind, value)]
            yield _places(column, columns), (satisfying, [near for found in around for near in found])


_MIRRORED = {"GT": "LT", "GTE": "LTE", "LT": "GT", "LTE": "GTE"}


def _satisfying(kind: str, value: Any) -> list[Any]:
    """Values for which a comparison with this one is true."""
    if isinstance(value, str):
        if kind in ("GT", "LT"):
            return [f"{value}x" if kind == "GT" else value[:-1]]
        return _around(value)[:2] if "%" in value else [value]
    return [value + {"GT": 1, "LT": -1}.get(kind, 0)]


def _value(literal: Any) -> Any:
    if literal.is_string:
        return literal.name
    number = float(literal.name)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _around(value: Any) -> list[Any]:
    """The value and others next to it, also in other letter case. Of a pattern: texts that it matches."""
    if isinstance(value, str):
        texts = [value.replace("%", fill).replace("_", "a") for fill in ("", "x")]
        return [*texts, texts[0].swapcase(), texts[0].title(), *([] if "%" in value else [value[:-1]])]
    return [value, value + 1, value - 1]


def _equated(tree: Any, columns: Columns) -> Iterator[tuple[set[Place], set[Place]]]:
    from sqlglot import exp

    for node in tree.find_all(exp.EQ):
        if isinstance(node.this, exp.Column) and isinstance(node.expression, exp.Column):
            yield _places(node.this, columns), _places(node.expression, columns)
    for node in tree.find_all(exp.In):
        query = node.args.get("query")
        selected = query.this.selects if query is not None and isinstance(query.this, exp.Query) else []
        if isinstance(node.this, exp.Column) and len(selected) == 1 and isinstance(selected[0], exp.Column):
            yield _places(node.this, columns), _places(selected[0], columns)
    for node in tree.find_all(exp.SetOperation):
        one, other = node.left.selects, node.right.selects
        for left, right in zip(one, other, strict=False):
            if isinstance(left, exp.Column) and isinstance(right, exp.Column):
                yield _places(left, columns), _places(right, columns)


def mutants(tree: Any, columns: Columns) -> list[str]:
    """The query's mutants as SQLite's SQL; raises TooManyMutants."""
    found: dict[str, None] = {}
    size = sum(1 for _ in tree.walk())
    for place in range(size):
        for change in _changes(_node(tree, place), columns):
            copy = tree.copy()
            change(_node(copy, place))
            found[copy.sql(dialect="sqlite")] = None
            if len(found) > MAX_MUTANTS:
                raise TooManyMutants
    found.pop(tree.sql(dialect="sqlite"), None)
    return list(found)


def _node(tree: Any, place: int) -> Any:
    return next(node for number, node in enumerate(tree.walk()) if number == place)


_Change = Callable[[Any], object]


def _changes(node: Any, columns: Columns) -> Iterator[_Change]:
    """The changes that make mutants of a query at one node."""
    from sqlglot import exp

    swaps = {
        exp.EQ: exp.NEQ, exp.NEQ: exp.EQ, exp.GT: exp.GTE, exp.GTE: exp.GT, exp.LT: exp.LTE, exp.LTE: exp.LT,
        exp.Max: exp.Min, exp.Min: exp.Max, exp.Sum: exp.Avg, exp.Avg: exp.Sum,
    }  # fmt: skip
    if (other := swaps.get(type(node))) is not None:
        yield lambda it: it.replace(other(**it.args))
    if isinstance(node, exp.And | exp.Or):
        yield lambda it: it.replace(it.this)
        yield lambda it: it.replace(it.expression)
    elif isinstance(node, exp.Where) and not isinstance(node.this, exp.And):
        yield lambda it: it.pop()
    elif isinstance(node, exp.Not):
        yield lambda it: it.replace(it.this)
    elif isinstance(node, exp.In | exp.Exists) and not isinstance(node.parent, exp.Not):
        yield lambda it: it.replace(exp.Not(this=it.copy()))
    elif isinstance(node, exp.Count) and not isinstance(node.this, exp.Star):
        yield _toggle_distinct_count
    elif isinstance(node, exp.Select) and _shows_doubles(node):
        yield lambda it: it.set("distinct", None if it.args.get("distinct") else exp.Distinct())
    elif isinstance(node, exp.SetOperation):
        yield from _set_changes(node)
    elif isinstance(node, exp.Join) and _may_lose_rows(node, columns):
        yield lambda it: it.set("side", None if it.args.get("side") else "LEFT")
    elif isinstance(node, exp.Ordered) and _is_seen(node):
        yield lambda it: it.set("desc", not it.args.get("desc"))
    elif isinstance(node, exp.Literal) and _counts(node):
        yield _other_literal


def _toggle_distinct_count(count: Any) -> None:
    from sqlglot import exp

    inner = count.this
    count.set("this", inner.expressions[0] if isinstance(inner, exp.Distinct) else exp.Distinct(expressions=[inner]))


def _shows_doubles(select: Any) -> bool:
    """Whether DISTINCT may change the rows that are seen."""
    from sqlglot import exp

    parent = select.parent
    while isinstance(parent, exp.Subquery | exp.Paren):
        parent = parent.parent
    if isinstance(parent, exp.In | exp.Exists | exp.SetOperation) or _is_one(select.args.get("limit")):
        return False
    group = select.args.get("group")
    if group is None:
        return not any(item.find(exp.AggFunc) for item in select.selects)
    shown = {item.unalias().sql() for item in select.selects}
    return not all(key.sql() in shown for key in group.expressions)


def _is_one(limit: Any) -> bool:
    return limit is not None and limit.expression.sql() == "1"


def _set_changes(node: Any) -> Iterator[_Change]:
    from sqlglot import exp

    if isinstance(node, exp.Union):
        yield lambda it: it.set("distinct", not it.args.get("distinct"))
        yield lambda it: it.replace(it.left.copy())
    else:
        other = exp.Except if isinstance(node, exp.Intersect) else exp.Intersect
        yield lambda it: it.replace(other(**it.args))
        yield lambda it: it.replace(it.left.copy())


def _may_lose_rows(join: Any, columns: Columns) -> bool:
    """Whether the joined table's missing rows may be seen: no later condition rejects them."""
    from sqlglot import exp

    if join.args.get("side") not in (None, "", "LEFT") or join.args.get("on") is None:
        return False
    select = join.parent
    later = select.args["joins"][select.args["joins"].index(join) + 1 :]
    where = select.args.get("where")
    conditions = [*([where.this] if where else []), *[inner.args["on"] for inner in later if inner.args.get("on")]]
    name, table = join.alias_or_name.lower(), join.this.name.lower()
    rejecting = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Like, exp.In, exp.Between)

    def is_of_join(column: Any) -> bool:
        if column.table:
            return column.table.lower() == name
        return {place[0] for place in _places(column, columns)} == {table}

    parts = [part for condition in conditions for part in condition.flatten()] if conditions else []
    parts = [inner for part in parts for inner in (part.flatten() if isinstance(part, exp.And) else [part])]
    holders = (exp.And, exp.Where, exp.Join)
    conjuncts = [part for part in parts if isinstance(part, rejecting) and isinstance(part.parent, holders)]
    return not any(is_of_join(column) for part in conjuncts for column in part.find_all(exp.Column))


def _is_seen(ordered: Any) -> bool:
    from sqlglot import exp

    query = ordered.find_ancestor(exp.Query, exp.Window)
    return query is None or query.parent is None or isinstance(query, exp.Window) or bool(query.args.get("limit"))


def _counts(literal: Any) -> bool:
    from sqlglot import exp

    comparing = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.In, exp.Like, exp.Limit, exp.Between)
    return isinstance(literal.parent, comparing)


def _other_literal(literal: Any) -> None:
    from sqlglot import exp

    text = f"{literal.name}~" if literal.is_string else str(_value(literal) + 1)
    literal.replace(exp.Literal.string(text) if literal.is_string else exp.Literal.number(text))
