"""The columns of `profiles` that depend on the whole run: each state's posterior, and the rule that stopped it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from pivotmine.run.tables import PROFILES
from pivotmine.stats.beta import log_beta, quantile
from pivotmine.stats.carry_bounds import Carried, Decay
from pivotmine.stats.profiles import POSTERIOR_COLUMNS
from pivotmine.stats.success_prior import Observed, Prior, fit_prior, fitted_places, replication_probability
from pivotmine_stages.profiles.carry_decay import carried_states, decay_of
from pivotmine_stages.profiles.covariates import COLUMNS, covariates_of, demonstration_masses
from pivotmine_stages.profiles.never_states import solvable_probability
from pivotmine_stages.profiles.stopping import StoppingRule, read_rule

INTERVAL = (0.05, 0.95)
STATES_AT_ONCE = 1 << 14
"""Maximum number of states that are objects at a time."""
_remember = lru_cache(1 << 16)
LIKELY_CLASS = 0.5
"""Minimum probability of a class; below it, few samples do not give the state that class."""


def with_posteriors(run: Path, turns: pl.DataFrame, profiles: pl.DataFrame) -> pl.DataFrame:
    """The profiles of one policy and verifier with POSTERIOR_COLUMNS filled. turns: the demonstrated turns."""
    if profiles.is_empty():
        return profiles
    policy_id, verifier_id = profiles.select("policy_id", "verifier_id").row(0)
    rule = read_rule(run, policy_id, verifier_id)
    budget = next(iter(profiles["budget"].drop_nulls()), None)
    masses = demonstration_masses(run, policy_id, verifier_id, budget=budget)
    first = turns.select(COLUMNS).unique("state_id", keep="first", maintain_order=True)
    drawn = profiles.select("state_id", "num_scored", "mean", drawn=pl.col("num_samples") - pl.col("num_pending"))
    rows = drawn.join(first, on="state_id", how="left", maintain_order="left")
    carried = carried_states(run, policy_id, verifier_id, budget)
    decay = decay_of(carried, policy_id, rows.select("state_id", "num_scored", "mean").iter_rows(named=True))
    scored = rows.filter(pl.col("num_scored") > 0)
    prior = fit_prior([_observed(row, masses) for row in scored[fitted_places(len(scored))].iter_rows(named=True)])
    types = pl.Schema(PROFILES)
    filled = pl.concat(
        pl.DataFrame(
            [
                _columns(
                    _observed(row, masses) if row["num_scored"] else None,
                    prior,
                    carried.get(row["state_id"]),
                    decay,
                    rule,
                    row["drawn"],
                )
                for row in some.iter_rows(named=True)
            ],
            {name: types[name] for name in POSTERIOR_COLUMNS},
            orient="row",
        )
        for some in rows.iter_slices(STATES_AT_ONCE)
    )
    return profiles.with_columns(filled.get_columns()).with_columns(reward_class=_carried_class(rule))


def _observed(row: Mapping[str, Any], masses: Mapping[str, float]) -> Observed:
    """A scored state's rewards with its covariates; a state that is no longer demonstrated has none."""
    is_demonstrated = row["turn_index"] is not None
    known = covariates_of(row, masses.get(row["state_id"])) if is_demonstrated else Observed(0.0, 0.0)
    return with_rewards(known, row)


def _carried_class(rule: StoppingRule | None) -> pl.Expr:
    """`reward_class`; null for a carried state whose few rewards are equal and would probably differ in K samples."""
    if rule is None:
        return pl.col("reward_class")
    weights = {"never": ("posterior_alpha", "posterior_beta"), "always": ("posterior_beta", "posterior_alpha")}
    doubted = pl.any_horizontal(
        (pl.col("reward_class") == name) & pl.struct(pair).map_elements(_Doubt(rule.num_samples), pl.Boolean)
        for name, pair in weights.items()
    )
    is_open = pl.col("unseen_mass").is_not_null() & pl.col("stopping").is_not_null()
    return pl.when(is_open & doubted).then(None).otherwise("reward_class")


class _Doubt(NamedTuple):
    num_samples: int

    def __call__(self, weights: dict[str, float | None]) -> bool:
        """Whether at least one of this many samples probably has the outcome that the first weight counts."""
        a, b = weights.values()
        if a is None or b is None:
            return False
        return math.exp(log_beta(a, b + self.num_samples) - log_beta(a, b)) < LIKELY_CLASS


def observed(profile: Mapping[str, Any], known: Mapping[str, Observed]) -> Observed:
    """A scored state's rewards with its covariates; a state that is no longer demonstrated has no covariates."""
    return with_rewards(known.get(profile["state_id"], Observed(0.0, 0.0)), profile)


def with_rewards(known: Observed, profile: Mapping[str, Any]) -> Observed:
    """A state with the rewards of its profile."""
    n = profile["num_scored"]
    # With rewards of 0 and 1 this product is whole, except for rounding.
    successes = round(profile["mean"] * n, 9)
    return known._replace(successes=successes, failures=n - successes)


def _columns(
    state: Observed | None,
    prior: Prior,
    carried: Carried | None,
    decay: Decay,
    rule: StoppingRule | None,
    num_samples: int,
) -> tuple[Any, ...]:
    stopping = rule.to_json() if rule is not None and num_samples < rule.num_samples else None
    bounds = (None, None, None) if carried is None else carried.bounds
    if carried is not None:
        a, b = decay.beta(carried)
    elif state is not None:
        a, b = prior.beta(state)
    else:
        # `stopping` is the first column, the bounds are the last three.
        return (stopping, *[None] * (len(POSTERIOR_COLUMNS) - 4), *bounds)
    if state is not None:
        a, b = a + state.successes, b + state.failures
    chance = None if rule is None else _replication(a, b, rule.num_samples, rule.max_mean)
    return (stopping, a, b, a / (a + b), *_interval(a, b), _solvable(a, b), chance, *bounds)


@_remember
def _interval(a: float, b: float) -> tuple[float, float]:
    low, high = INTERVAL
    return quantile(low, a, b), quantile(high, a, b)


_solvable = _remember(solvable_probability)
_replication = _remember(replication_probability)


def pivot_probabilities(profiles: pl.DataFrame, max_mean: float, min_mean: float = 0.0) -> Iterator[float | None]:
    """P(a new profile makes the state a pivot), with as many samples as the most profiled state has."""
    most = most_samples(profiles)
    for a, b in profiles.select("posterior_alpha", "posterior_beta").iter_rows():
        yield None if a is None else _replication(a, b, most, max_mean, min_mean)


def most_samples(profiles: pl.DataFrame) -> int:
    """Samples of the most profiled state, or the maximum that a rule allowed."""
    rules = [StoppingRule.from_json(text).num_samples for text in profiles["stopping"].drop_nulls().unique()]
    drawn = [int(n) for n in profiles["num_samples"].drop_nulls()]
    return max([*rules, *drawn], default=1)
