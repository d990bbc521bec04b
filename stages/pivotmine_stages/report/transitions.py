"""Two profiles of the same states: which states changed class, with intervals."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import duckdb

from pivotmine_stages.report.aggregates import CLASSES
from pivotmine_stages.report.subject import Subject

MAX_OTHERS = 6
"""Maximum number of other profiles that a report compares with."""


def compared(connection: duckdb.DuckDBPyConnection, other: Subject, num_examples: int = 3) -> dict[str, Any]:
    """Compare the connection's profile with another one, over the states that both have.

    Returns {name, shared, mean, other_mean, decided, other_decided, transitions}. A transition is {from, to, states,
    share, low, high, examples}. `share` is the share of the states with class `from` in the connection's profile;
    `low` and `high` are its 95 % interval (Wilson 1927).
    """
    # `state_index` holds the first profile only, so the second one is read through the run's view `profiles`.
    rows = connection.execute(_TRANSITIONS, [num_examples, other.policy_id, other.verifier_id]).fetchall()
    means = connection.execute(_MEANS, [other.policy_id, other.verifier_id]).fetchall()[0]
    rows.sort(key=lambda row: (CLASSES.index(row[0]), CLASSES.index(row[1])))
    totals: dict[str, int] = {}
    for start, _, states, _ in rows:
        totals[start] = totals.get(start, 0) + states
    transitions = [
        {"from": start, "to": end, "states": states, **_share(states, totals[start]), "examples": examples}
        for start, end, states, examples in rows
    ]
    return {
        "name": other.name,
        "shared": means[0],
        "mean": means[1],
        "other_mean": means[2],
        "decided": means[3],
        "other_decided": means[4],
        "transitions": transitions,
    }


def _share(count: int, of: int) -> dict[str, float]:
    low, high = wilson(count, of)
    return {"share": count / of, "low": low, "high": high}


def wilson(count: int, of: int) -> tuple[float, float]:
    """Return the 95 % interval of the share `count` / `of` (Wilson, JASA 22, 1927)."""
    z = NormalDist().inv_cdf(0.975)
    share, square = count / of, z * z
    centre = (share + square / (2 * of)) / (1 + square / of)
    half = z / (1 + square / of) * (share * (1 - share) / of + square / (4 * of * of)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


_TRANSITIONS = """
    select i.class, coalesce(p.reward_class, 'unscored') as other, count(*),
        list_slice(list(i.state_id order by i.state_id), 1, ?)
    from state_index i join profiles p using (state_id) where p.policy_id = ? and p.verifier_id = ? group by 1, 2
"""
_MEANS = """
    select count(*), avg(i.mean), avg(p.mean),
        sum(i.num_scored) / nullif(sum(i.num_samples), 0), sum(p.num_scored) / nullif(sum(p.num_samples), 0)
    from state_index i join profiles p using (state_id) where p.policy_id = ? and p.verifier_id = ?
"""
