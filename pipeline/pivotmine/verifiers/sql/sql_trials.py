"""Values for the generated tables of a trial: they satisfy or just miss the queries' conditions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Columns = Mapping[str, frozenset[str]]
"""Names of columns by table, in lower case."""
Place = tuple[str, str]
"""Table and column."""


Values = dict[str, dict[str, list[list[Any]]]]
"""By table and column: a list of values that satisfy a condition, and a list of values next to its literals."""


def hints(trees: Sequence[Any], columns: Columns) -> tuple[Values, list[list[list[str]]]]:
    """Values for the queries' conditions, and groups of columns that the queries equate."""
    values: Values = {}
    groups: list[set[Place]] = []
    for tree in trees:
        for named, found in _conditions(tree, columns):
            for table, column in named:
                kept = values.setdefault(table, {}).setdefault(column, [[], []])
                for some, more in zip(kept, found, strict=True):
                    some.extend(more)
        for one, other in _equated(tree, columns):
            joined = [group for group in groups if not group.isdisjoint(one | other)]
            groups = [group for group in groups if group not in joined]
            groups.append(set().union(one, other, *joined))
    return values, [[list(place) for place in sorted(group)] for group in groups]


def places(node: Any, columns: Columns) -> set[Place]:
    """The columns that a column of a query may mean: in its table or, if it names none, in any table of the query."""
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
        holder = column
        column = column if isinstance(column, exp.Column) else column.find(exp.Column)
        if column is not None:
            values = [value_of(literal) for literal in literals if isinstance(literal, exp.Literal)]
            near = [one for value in values for one in _around(value)]
            near += [one for value in values for one in _inside(holder, value)] if holder is not column else []
            satisfying = [found for value in values for found in _satisfying(kind, value)]
            yield places(column, columns), (satisfying, near)


_MIRRORED = {"GT": "LT", "GTE": "LTE", "LT": "GT", "LTE": "GTE"}


def _satisfying(kind: str, value: Any) -> list[Any]:
    """Values for which a comparison with this one is true."""
    if isinstance(value, str):
        if kind in ("GT", "LT"):
            return [f"{value}x" if kind == "GT" else value[:-1]]
        return _around(value)[:2] if "%" in value else [value]
    return [value + {"GT": 1, "LT": -1}.get(kind, 0)]


def value_of(literal: Any) -> Any:
    """The Python value of a literal."""
    if literal.is_string:
        return literal.name
    number = float(literal.name)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _around(value: Any) -> list[Any]:
    """The value and values next to it: in other letter case, with outer blanks, negated. For a pattern, texts that it
    matches."""
    if isinstance(value, str):
        texts = [value.replace("%", fill).replace("_", "a") for fill in ("", "x")]
        twins = [texts[0].swapcase(), texts[0].title(), f" {texts[0]}", f"{texts[0]} "]
        return [*texts, *twins, *([] if "%" in value else [value[:-1], f"{value}x"])]
    return [value, value + 1, value - 1, -value, -value - 1, -value + 1, value + 0.25]


def _inside(holder: Any, value: Any) -> list[Any]:
    """Column values for which a function of the column is near this value: texts of that length, dates of that year."""
    from sqlglot import exp

    number = value if isinstance(value, int) else int(value) if isinstance(value, str) and value.isdigit() else None
    if number is None or len(str(value)) > 4:
        return []
    if isinstance(holder, exp.Length) and 0 < number < 100:
        return [f"{'xyz' * 40}"[:size] for size in (number - 1, number, number + 1)] + [f" {'x' * (number - 1)}"]
    if 1000 <= number < 3000:
        return [f"{number + step}-{day}" for step in (-1, 0, 1) for day in ("01-01", "12-31")]
    return [f"2020-{month:02}-1{month % 10}" for month in (number - 1, number, number + 1) if 0 < month < 13]


def _only_column(value: Any) -> Any:
    """The only column in a value; None if it holds several or none."""
    from sqlglot import exp

    found = [value] if isinstance(value, exp.Column) else list(value.find_all(exp.Column))
    return found[0] if len(found) == 1 and not value.find(exp.Query) else None


def _equated(tree: Any, columns: Columns) -> Iterator[tuple[set[Place], set[Place]]]:
    from sqlglot import exp

    for node in tree.find_all(exp.EQ):
        sides = [_only_column(side) for side in (node.this, node.expression)]
        if None not in sides:
            yield places(sides[0], columns), places(sides[1], columns)
    for node in tree.find_all(exp.In):
        query = node.args.get("query")
        selected = query.this.selects if query is not None and isinstance(query.this, exp.Query) else []
        if isinstance(node.this, exp.Column) and len(selected) == 1 and isinstance(selected[0], exp.Column):
            yield places(node.this, columns), places(selected[0], columns)
    for node in tree.find_all(exp.SetOperation):
        one, other = node.left.selects, node.right.selects
        for left, right in zip(one, other, strict=False):
            if isinstance(left, exp.Column) and isinstance(right, exp.Column):
                yield places(left, columns), places(right, columns)
