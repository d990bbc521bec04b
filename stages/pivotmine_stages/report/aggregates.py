"""Exact figures over all states of a subject: the funnel, the classes, the outcomes, the cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from pivotmine.run import rundir
from pivotmine_stages.policy.record import load_policy
from pivotmine_stages.profiles.budgets import SAMPLE, prompts_of_states, sample_blocks
from pivotmine_stages.report.subject import Subject

CLASSES = ("never", "sometimes", "always", "undecided", "constant", "unscored")
NUM_BINS = 20
"""Bars of the histogram of mean rewards, each 0.05 wide; a mean of 1 falls into the last."""
GROUPS = {"domain": "domain", "tool": "tool", "depth": "depth_from", "prompt tokens": "prompt_from"}
"""How the page groups classes -> column of `state_index`; the last two columns hold lower bounds."""
MAX_GROUPS = 30


def aggregates(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Return `classes`, `means` (histogram by class), `by` (classes by group), `outcomes`, `variances`, `totals`."""
    return {
        "classes": _counts(connection, "select class, count(*) from state_index group by all"),
        "means": _histogram(connection),
        "by": {name: _by(connection, column) for name, column in GROUPS.items()},
        "outcomes": dicts(connection, _OUTCOMES),
        "variances": connection.execute(_VARIANCES).fetchall(),
        "totals": _row(connection, _TOTALS),
    }


def _histogram(connection: duckdb.DuckDBPyConnection) -> list[dict[str, int]]:
    """Return one dict per bin: class -> number of states."""
    bins: list[dict[str, int]] = [{} for _ in range(NUM_BINS)]
    for number, kind, count in connection.execute(_MEANS.format(bins=NUM_BINS)).fetchall():
        bins[number][kind] = count
    return bins


def _by(connection: duckdb.DuckDBPyConnection, column: str) -> list[dict[str, Any]]:
    """Return the largest groups: {group, states, classes, mean, decided}. The rest is one group `others`."""
    groups = connection.execute(_BY.format(column=column)).fetchall()
    names = [group for group, *_ in groups]
    if column in ("depth_from", "prompt_from"):
        names.sort(key=lambda value: -1 if value is None else value)
    shown: list[dict[str, Any]] = [
        {"group": group, "states": states, "classes": classes, "mean": mean, "decided": decided}
        for group, states, classes, mean, decided in sorted(groups, key=lambda row: names.index(row[0]))
    ]
    rest = shown[MAX_GROUPS:]
    if not rest:
        return shown
    classes = {kind: sum(int(group["classes"].get(kind, 0)) for group in rest) for kind in CLASSES}
    states = sum(int(group["states"]) for group in rest)
    others = {"group": f"{len(rest)} others", "states": states, "classes": classes}
    return [*shown[:MAX_GROUPS], {**others, "mean": None, "decided": None}]


def funnel(connection: duckdb.DuckDBPyConnection, run: Path, name: str | None) -> list[dict[str, Any]]:
    """Return the steps from trajectories to rows: {step, count, lost: [{reason, count, example}]}.

    `lost` is what the previous step has and this one has not.
    """
    steps = _row(connection, _FUNNEL)
    classes = _counts(connection, "select class, count(*) from state_index where num_scored > 0 group by all")
    alike = [one for kind, count in classes.items() if kind != "sometimes" for one in _named(kind, count)]
    met_before = _named("met in an earlier turn", steps["demonstrations"] - steps["states"])
    unsampled = [*_lost(connection, "stage = 'rollout'"), *_named("not sampled yet", steps["unasked"])]
    rows = [
        ("trajectories", steps["trajectories"], _lost(connection, "stage = 'extract' and turn_id is null")),
        ("turns", steps["turns"], []),
        ("demonstrations", steps["demonstrations"], _lost(connection, "stage = 'extract' and turn_id is not null")),
        ("demonstrated states", steps["states"], met_before),
        ("sampled states", steps["sampled"], unsampled),
        ("scored states", steps["scored"], _lost(connection, "stage = 'score'")),
        ("states whose rewards differ", steps["sometimes"], alike),
    ]
    if name is not None:
        rows.append((f"rows of pivots/{name}", _num_rows(connection, name), _lost_by_select(run, name)))
    return [{"step": step, "count": count, "lost": lost} for step, count, lost in rows]


def cost(run: Path, subject: Subject) -> dict[str, Any]:
    """Return the cost of sampling the policy: samples, tokens, seconds of sampling (null if it was recorded)."""
    record = load_policy(run, subject.policy_id)
    samples = generated = 0
    for rows in sample_blocks(run, record):
        # A sample has a row for each of its budgets; the longest one holds all its tokens.
        whole = rows.group_by(SAMPLE).agg(pl.col("num_tokens").max().cast(pl.Int64))
        samples, generated = samples + len(whole), generated + int(whole["num_tokens"].sum())
    prompts = int(prompts_of_states(run, record)["num_prompt_tokens"].cast(pl.Int64).sum())
    manifests = [
        one for one in rundir.read_manifests(run, "rollout") if one["config"]["policy_id"] == subject.policy_id
    ]
    seconds = sum(one["summary"].get("sampling_s") or 0.0 for one in manifests)
    counts = {"samples": samples, "generated_tokens": generated, "prompt_tokens": prompts}
    return {**counts, "sampling_s": round(seconds, 2) if manifests else None}


def _lost(connection: duckdb.DuckDBPyConnection, where: str) -> list[dict[str, Any]]:
    return dicts(connection, _LOST.format(where=where))


def _named(reason: str, count: int) -> list[dict[str, Any]]:
    return [{"reason": reason, "count": count, "example": ""}] if count > 0 else []


def _lost_by_select(run: Path, name: str) -> list[dict[str, Any]]:
    folder = rundir.rejects_dir(run, "select", {"name": name})
    rejects = rundir.scan(run, "rejects", sorted(folder.glob("*.parquet")))
    counted = rejects.group_by("reason").agg(count=pl.len(), example=pl.col("state_id").min())
    return counted.sort("count", "reason", descending=[True, False]).collect().to_dicts()


def _num_rows(connection: duckdb.DuckDBPyConnection, name: str) -> int:
    return connection.execute("select count(*) from pivots where pivots_name = ?", [name]).fetchall()[0][0]


def _counts(connection: duckdb.DuckDBPyConnection, query: str) -> dict[str, int]:
    found = dict(connection.execute(query).fetchall())
    return {kind: found.get(kind, 0) for kind in CLASSES}


def _row(connection: duckdb.DuckDBPyConnection, query: str) -> dict[str, Any]:
    return dicts(connection, query)[0]


def dicts(connection: duckdb.DuckDBPyConnection, query: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
    """Return the rows of a query, each as a dict by column name."""
    answer = connection.execute(query, list(values))
    names = [column[0] for column in answer.description or []]
    return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]


_MEANS = """
    select least(floor(mean * {bins}), {bins} - 1)::int, class, count(*)
    from state_index where mean is not null group by all
"""
_BY = """
    with counted as (
        select {column} as g, class, count(*) as states from state_index group by all
    ), whole as (
        select {column} as g, count(*) as states, avg(mean) as mean, sum(num_scored) / sum(num_samples) as decided
        from state_index group by all
    )
    select c.g, any_value(w.states), map(list(c.class), list(c.states)), any_value(mean), any_value(decided)
    from counted c join whole w on c.g is not distinct from w.g group by c.g
    order by any_value(w.states) desc, c.g
"""
_OUTCOMES = """
    select outcome, count(*) as samples, count(distinct state_id) as states, min(state_id) as example
    from samples group by outcome order by samples desc, outcome
"""
_VARIANCES = """
    select mean, variance, count(*) from state_index where mean is not null group by all order by all
"""
_TOTALS = """
    select
        count(*) as states, sum(num_samples)::bigint as samples, sum(num_scored)::bigint as scored, avg(mean) as mean,
        max(num_samples) as max_samples, min(num_samples) as min_samples,
        count(*) filter (kind = 'tool_call' and not offers_tools) as calls_without_tools,
        count(*) filter (kind = 'tool_call') as call_states,
        (select count(distinct state_id) from lost where stage = 'rollout' and reason = 'prompt_too_long')
            as prompts_too_long
    from state_index
"""
_FUNNEL = """
    select
        (select count(*) from trajectories) as trajectories,
        (select count(*) from turns) as turns,
        (select count(*) from turns where reject_reason is null) as demonstrations,
        (select count(distinct state_id) from turns where reject_reason is null) as states,
        (select count(*) from state_index) as sampled,
        (select count(distinct state_id) from turns where reject_reason is null
            and state_id not in (select state_id from state_index)
            and state_id not in (select state_id from lost where stage = 'rollout' and state_id is not null)
        ) as unasked,
        (select count(*) from state_index where num_scored > 0) as scored,
        (select count(*) from state_index where class = 'sometimes') as sometimes
"""
_LOST = """
    select reason, count(*)::bigint as count, min(coalesce(detail, '')) as example
    from lost where {where} group by reason order by count desc, reason
"""
