"""Mutants of a query: copies with one small change each.

A change replaces a comparison, an operator, a literal or the kind of a join, toggles DISTINCT, or removes a condition
or a function. If no generated database distinguishes a query from its mutant, the databases say little about the
changed part. Mutants that mean the same by the rules of SQL are left out: DISTINCT over one row or over all groups, an
outer join whose missing rows a later condition rejects, an order that nobody sees, a cast to the column's own type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from pivotmine.verifiers.sql.sql_trials import Columns, places, value_of

MAX_MUTANTS = 60
"""A query with more mutants is not tried."""

Kinds = Mapping[str, Mapping[str, str]]
"""Kinds of values ("integer", "real", "text", "date") by table and column, in lower case."""


class TooManyMutants(ValueError):
    """The query is too long to be tried thoroughly."""


class Mutants(NamedTuple):
    """Texts in SQLite's dialect."""

    others: list[str]
    """Mutants with another condition, join, set, order or operator."""
    with_less: list[str]
    """Mutants that lack a function, a sign or a collation."""


def mutants(tree: Any, columns: Columns, kinds: Kinds) -> Mutants:
    """Return the mutants of a query; raises TooManyMutants."""
    found: tuple[dict[str, None], dict[str, None]] = ({}, {})
    size = sum(1 for _ in tree.walk())
    for place in range(size):
        node = _node(tree, place)
        for kept, changes in zip(found, (_changes(node, columns), _value_changes(node, columns, kinds)), strict=True):
            for change in changes:
                copy = tree.copy()
                change(_node(copy, place))
                kept[copy.sql(dialect="sqlite")] = None
            if sum(map(len, found)) > MAX_MUTANTS:
                raise TooManyMutants
    itself = tree.sql(dialect="sqlite")
    return Mutants(*([mutant for mutant in kept if mutant != itself] for kept in found))


def _node(tree: Any, place: int) -> Any:
    return next(node for number, node in enumerate(tree.walk()) if number == place)


_Change = Callable[[Any], object]


def _changes(node: Any, columns: Columns) -> Iterator[_Change]:
    """Changes at one node that make mutants of the query."""
    from sqlglot import exp

    swaps = {
        exp.EQ: exp.NEQ, exp.NEQ: exp.EQ, exp.GT: exp.GTE, exp.GTE: exp.GT, exp.LT: exp.LTE, exp.LTE: exp.LT,
        exp.Max: exp.Min, exp.Min: exp.Max, exp.Sum: exp.Avg, exp.Avg: exp.Sum, exp.Add: exp.Sub, exp.Sub: exp.Add,
        exp.Mul: exp.Div, exp.Div: exp.Mul,
    }  # fmt: skip
    if (other := swaps.get(type(node))) is not None:
        yield lambda it: it.replace(other(**it.args))
    if isinstance(node, exp.Count | exp.Sum | exp.Avg | exp.GroupConcat) and not isinstance(node.this, exp.Star):
        yield _toggle_distinct
    if isinstance(node, exp.And | exp.Or):
        yield lambda it: it.replace(it.this)
        yield lambda it: it.replace(it.expression)
    elif isinstance(node, exp.Where | exp.Having) and not isinstance(node.this, exp.And):
        yield lambda it: it.pop()
    elif isinstance(node, exp.Not):
        yield lambda it: it.replace(it.this)
    elif isinstance(node, exp.In | exp.Exists | exp.Is) and not isinstance(node.parent, exp.Not):
        yield lambda it: it.replace(exp.Not(this=it.copy()))
    elif isinstance(node, exp.Select) and _shows_doubles(node):
        yield lambda it: it.set("distinct", None if it.args.get("distinct") else exp.Distinct())
    elif isinstance(node, exp.SetOperation):
        yield from _set_changes(node)
    elif isinstance(node, exp.Join) and _may_lose_rows(node, columns):
        yield lambda it: it.set("side", None if it.args.get("side") else "LEFT")
    elif isinstance(node, exp.Ordered) and _is_seen(node):
        yield lambda it: it.set("desc", not it.args.get("desc"))
    elif isinstance(node, exp.DPipe):
        yield lambda it: it.replace(it.this)
    elif isinstance(node, exp.Case) and node.args.get("default") not in (None, exp.null()):
        yield lambda it: it.set("default", None)
    elif isinstance(node, exp.Window) and node.args.get("partition_by"):
        yield lambda it: it.set("partition_by", None)
    elif isinstance(node, exp.Literal) and _counts(node):
        yield _other_literal


def _value_changes(node: Any, columns: Columns, kinds: Kinds) -> Iterator[_Change]:
    """Changes at one node that remove a function, a sign or a collation."""
    from sqlglot import exp

    if isinstance(node, exp.Neg | exp.Collate):
        yield lambda it: it.replace(it.this)
    elif _unwraps(node, columns, kinds):
        yield _unwrap
        if isinstance(node, exp.Trim) and not node.args.get("position"):
            yield lambda it: it.set("position", "LEADING")
            yield lambda it: it.set("position", "TRAILING")


def _unwraps(node: Any, columns: Columns, kinds: Kinds) -> bool:
    """Whether a node is a function that may change its argument."""
    from sqlglot import exp

    if not isinstance(node, exp.Func) or isinstance(
        node, exp.AggFunc | exp.Case | exp.If | exp.And | exp.Or | exp.Exists
    ):
        return False
    value = _argument(node)
    if not hasattr(value, "args") or isinstance(value, exp.Literal | exp.Star):
        return False
    if isinstance(node, exp.Coalesce) and isinstance(value, exp.Count):
        return False
    if not isinstance(node, exp.Cast) or not isinstance(value, exp.Column):
        return True
    found = {kinds.get(table, {}).get(column) for table, column in places(value, columns)}
    return found != {_kind_of(node.to)}


def _argument(function: Any) -> Any:
    """The first argument of a function."""
    return function.this if hasattr(function.this, "args") else next(iter(function.expressions), None)


def _kind_of(type_: Any) -> str:
    words = type_.sql().upper()
    if "INT" in words:
        return "integer"
    return "text" if any(sign in words for sign in ("CHAR", "TEXT", "CLOB")) else "real"


def _unwrap(function: Any) -> None:
    function.replace(_argument(function).copy())


def _toggle_distinct(aggregate: Any) -> None:
    from sqlglot import exp

    inner = aggregate.this
    plain = inner.expressions[0] if isinstance(inner, exp.Distinct) else exp.Distinct(expressions=[inner])
    aggregate.set("this", plain)


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
    else:
        other = exp.Except if isinstance(node, exp.Intersect) else exp.Intersect
        yield lambda it: it.replace(other(**it.args))
    yield lambda it: it.replace(it.left.copy())


def _may_lose_rows(join: Any, columns: Columns) -> bool:
    """Whether rows without a partner may be seen: no later condition rejects them."""
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
        return {place[0] for place in places(column, columns)} == {table}

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
    return isinstance(literal.parent, (*comparing, exp.Func)) and not isinstance(literal.parent, exp.Cast | exp.Case)


def _other_literal(literal: Any) -> None:
    from sqlglot import exp

    text = f"{literal.name}~" if literal.is_string else str(value_of(literal) + 1)
    literal.replace(exp.Literal.string(text) if literal.is_string else exp.Literal.number(text))
