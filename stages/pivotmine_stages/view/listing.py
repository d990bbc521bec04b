"""One page of the list of states, filtered and sorted by DuckDB, for `view` and `show`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import duckdb

from pivotmine_stages.report.aggregates import dicts

PAGE = 50
"""Number of states on one page."""
SORTS = {
    "variance": "variance desc nulls last, mean nulls last, state_id",
    "mean": "mean nulls last, state_id",
    "depth": "depth, state_id",
    "prompt tokens": "prompt_tokens desc nulls last, state_id",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which states to list; an empty text does not filter."""

    reward_class: str = ""
    domain: str = ""
    tool: str = ""
    outcome: str = ""
    text: str = ""
    """Words in the demonstration or the domain, or the beginning of a state_id; case does not count."""
    low: float | None = None
    """Minimum mean reward."""
    high: float | None = None
    """Upper bound of the mean reward, exclusive; 1 includes 1."""
    chosen: tuple[int, int] | None = None
    """(mask, bits): `selected & mask` must be `bits`; needs `report.selections`."""


def listing(
    connection: duckdb.DuckDBPyConnection,
    filters: Filters,
    *,
    sort: str = "variance",
    start: int = 0,
    count: int = PAGE,
) -> tuple[int, list[dict[str, Any]]]:
    """Return the number of states that fit, and `count` rows of `state_index` from `start`."""
    where, values = _where(filters)
    total = connection.execute(f"select count(*) from state_index where {where}", values).fetchall()[0][0]
    query = f"select * from state_index where {where} order by {SORTS[sort]} limit ? offset ?"
    return total, dicts(connection, query, [*values, count, start])


def _where(filters: Filters) -> tuple[str, list[Any]]:
    """Return the condition and its values. Filters are hostile: they are bound as values, never part of the SQL."""
    conditions: list[tuple[str, list[Any]]] = [("true", [])]
    for column, value in (("class", filters.reward_class), ("domain", filters.domain), ("tool", filters.tool)):
        if value:
            conditions.append((f"{column} = ?", [value]))
    if filters.outcome:
        conditions.append(("list_contains(outcomes, ?)", [filters.outcome]))
    if filters.text:
        words = filters.text.lower()
        looked_at = "contains(lower(domain || ' ' || demonstration), ?) or starts_with(state_id, ?)"
        conditions.append((f"({looked_at})", [words, words]))
    if filters.low is not None:
        conditions.append(("mean >= ? - 1e-9", [filters.low]))
    if filters.high is not None:
        conditions.append(("(mean < ? - 1e-9 or (? = 1 and mean = 1))", [filters.high, filters.high]))
    if filters.chosen is not None:
        conditions.append(("(selected & ?) = ?", list(filters.chosen)))
    return " and ".join(text for text, _ in conditions), [value for _, values in conditions for value in values]
