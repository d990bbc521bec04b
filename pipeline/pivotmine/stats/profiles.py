"""Profiles: what the rewards of a state's samples say about it.

mean = sum(r) / n, variance = sum((r - mean)^2) / n: the population form, as in PivotRL (arXiv 2603.21383, section 3),
over the samples with a reward. Statistics over nothing are null.

Rewards that are null because nothing could be proved are not missing at random: a policy may write what no verifier can
decide. So two more means bound the truth. `mean_low` counts each unproven sample as 0, `mean_high` as 1, both over all
samples on which the machinery did not fail.
"""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from pivotmine.run.outcomes import Outcome
from pivotmine.run.tables import PROFILES, STATISTICS

SAME_REWARD = 1e-6
"""Rewards that differ by at most this are the same."""


POSTERIOR_COLUMNS = (
    *("stopping", "posterior_alpha", "posterior_beta", "posterior_mean", "posterior_low", "posterior_high"),
    *("solvable_probability", "pivot_probability", "carried_low", "carried_high", "unseen_mass"),
)
"""Columns that depend on the whole run; null until `with_posteriors` fills them."""


def profile(
    scores: pl.DataFrame, states: pl.DataFrame, *, policy_id: str, verifier_id: str, budget: int | None = None
) -> pa.Table:
    """The `profiles` rows of one policy under one verifier and token budget, ordered by state_id.

    scores: rows of `scores` (state_id, reward, outcome). states: state_id, num_samples, num_pending (0 if absent) and
    gate of every sampled state, including those without scores.
    """
    if "num_pending" not in states.columns:
        states = states.with_columns(num_pending=pl.lit(0))
    types = pl.Schema(PROFILES)
    aggregates = [aggregate(pl).cast(types[name]).alias(name) for name, aggregate in STATISTICS.items()]
    counts = [name for name in STATISTICS if types[name].is_integer()]
    is_open = (pl.col("outcome") == str(Outcome.UNPROVEN)) & pl.col("reward").is_null()
    statistics = scores.group_by("state_id").agg(*aggregates, is_open=is_open.any())
    profiles = (
        states.join(statistics, on="state_id", how="left")
        .with_columns(pl.col(counts).fill_null(0))
        .with_columns(
            reward_class=_reward_class(),
            policy_id=pl.lit(policy_id),
            verifier_id=pl.lit(verifier_id),
            budget=pl.lit(budget),
            **{name: pl.lit(None) for name in POSTERIOR_COLUMNS},
        )
        .sort("state_id")
    )
    return profiles.select(PROFILES.names).to_arrow().cast(PROFILES)


def _reward_class() -> pl.Expr:
    low, high = pl.col("min_reward"), pl.col("max_reward")
    return (
        pl.when(high - low > SAME_REWARD)
        .then(pl.lit("sometimes"))
        .when(pl.col("is_open").fill_null(False))  # the missing rewards might differ
        .then(pl.lit("undecided"))
        .when(low.is_null())
        .then(None)
        .when(high <= SAME_REWARD)
        .then(pl.lit("never"))
        .when(low >= 1 - SAME_REWARD)
        .then(pl.lit("always"))
        .otherwise(pl.lit("constant"))
    )


def _known(bound: str) -> pl.Expr:
    """A bound of the mean; null if an older version did not write it (-1)."""
    return pl.when(pl.col(bound) >= 0).then(pl.col(bound))


def with_bounds(profiles: pl.DataFrame) -> pl.DataFrame:
    """The profiles with `num_pending`, `num_unproven`, `mean_low` and `mean_high` filled in, and `num_undecided` added.

    `num_undecided` counts the unproven samples whose reward is null. Profiles of an older run have no bounds, because
    there an unproven sample always had reward 0.
    """
    absent = {"num_unproven": pl.Int32, "num_pending": pl.Int32, "mean_low": pl.Float64, "mean_high": pl.Float64}
    missing = [pl.lit(None, kind).alias(name) for name, kind in absent.items() if name not in profiles.columns]
    unproven = pl.col("num_unproven").fill_null(0)
    bounded = profiles.with_columns(missing).with_columns(
        num_unproven=unproven,
        num_pending=pl.col("num_pending").fill_null(0),
        mean_low=pl.coalesce(_known("mean_low"), "mean"),
        mean_high=pl.coalesce(_known("mean_high"), pl.col("mean") + unproven / pl.col("num_scored")),
    )
    # The bounds lie num_unproven / n apart; n exceeds num_scored by the unproven samples without a reward.
    judged = (unproven / (pl.col("mean_high") - pl.col("mean_low"))).round()
    undecided = pl.when(unproven > 0).then(judged - pl.col("num_scored")).otherwise(0)
    return bounded.with_columns(num_undecided=undecided.fill_null(0).cast(pl.Int32))
