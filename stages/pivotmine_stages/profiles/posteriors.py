"""The columns of `profiles` that the whole run decides: the posterior of every state, and what stopped it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from pivotmine.run.tables import PROFILES
from pivotmine.stats.beta import quantile
from pivotmine.stats.profiles import POSTERIOR_COLUMNS
from pivotmine.stats.success_prior import Observed, Prior, fit_prior, replication_probability
from pivotmine_stages.profiles.covariates import covariates
from pivotmine_stages.profiles.deferred import solvable_probability
from pivotmine_stages.profiles.stopping import StoppingRule, read_rule

INTERVAL = (0.05, 0.95)


def with_posteriors(run: Path, turns: pl.DataFrame, profiles: pl.DataFrame) -> pl.DataFrame:
    """The profiles of one policy and verifier, with POSTERIOR_COLUMNS filled; `turns`: the demonstrated ones."""
    if profiles.is_empty():
        return profiles
    policy_id, verifier_id = profiles.row(0, named=True)["policy_id"], profiles.row(0, named=True)["verifier_id"]
    rule = read_rule(run, policy_id, verifier_id)
    budget = next(iter(profiles["budget"].drop_nulls()), None)
    known = covariates(run, turns, policy_id, verifier_id, budget=budget)
    states = [
        observed(row, known) if row["num_scored"] else None
        for row in profiles.select("state_id", "num_scored", "mean").iter_rows(named=True)
    ]
    prior = fit_prior([state for state in states if state is not None])
    drawn = profiles["num_samples"] - profiles["num_pending"]
    rows = [_columns(state, prior, rule, n) for state, n in zip(states, drawn, strict=True)]
    types = pl.DataFrame(PROFILES.empty_table()).schema
    filled = pl.DataFrame(rows, {name: types[name] for name in POSTERIOR_COLUMNS}, orient="row")
    return profiles.with_columns(filled.get_columns())


def observed(profile: dict[str, Any], known: dict[str, Observed]) -> Observed:
    """A scored state's rewards with its covariates; a state that nothing demonstrates any more has none."""
    n = profile["num_scored"]
    # The mean of 0 and 1 times their number is whole but for rounding.
    successes = round(profile["mean"] * n, 9)
    return known.get(profile["state_id"], Observed(0.0, 0.0))._replace(successes=successes, failures=n - successes)


def _columns(state: Observed | None, prior: Prior, rule: StoppingRule | None, num_samples: int) -> tuple[Any, ...]:
    stopping = rule.to_json() if rule is not None and num_samples < rule.num_samples else None
    if state is None:
        return (stopping, *[None] * (len(POSTERIOR_COLUMNS) - 1))
    a, b = prior.beta(state)
    a, b = a + state.successes, b + state.failures
    chance = None if rule is None else _replication(a, b, rule.num_samples, rule.max_mean)
    return (stopping, a, b, a / (a + b), *_interval(a, b), _solvable(a, b), chance)


@cache
def _interval(a: float, b: float) -> tuple[float, float]:
    low, high = INTERVAL
    return quantile(low, a, b), quantile(high, a, b)


_solvable = cache(solvable_probability)
_replication = cache(replication_probability)


def pivot_probabilities(profiles: pl.DataFrame, max_mean: float, min_mean: float = 0.0) -> Iterator[float | None]:
    """P(a new profile makes the state a pivot), with as many samples as the most profiled state has."""
    most = _most_samples(profiles)
    for a, b in profiles.select("posterior_alpha", "posterior_beta").iter_rows():
        yield None if a is None else _replication(a, b, most, max_mean, min_mean)


def _most_samples(profiles: pl.DataFrame) -> int:
    """Samples of the most profiled state, or those that a rule allowed it."""
    rules = [StoppingRule.from_json(text).num_samples for text in profiles["stopping"].drop_nulls().unique()]
    drawn = [int(n) for n in profiles["num_samples"].drop_nulls()]
    return max([*rules, *drawn], default=1)
