"""Profiles: what the rewards of a state's samples say about it.

mean = sum(r) / n, variance = sum((r - mean)^2) / n: the population form, as in PivotRL (arXiv 2603.21383, section 3),
over the samples with a reward. Statistics over nothing are null.
"""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from pivotmine.run.tables import PROFILES, STATISTICS

SAME_REWARD = 1e-6
"""Rewards that differ by no more are the same."""


POSTERIOR_COLUMNS = (
    *("stopping", "posterior_alpha", "posterior_beta", "posterior_mean", "posterior_low", "posterior_high"),
    "pivot_probability",
)
"""What only the whole run can tell of a state: null until it does."""


def profile(scores: pl.DataFrame, states: pl.DataFrame, *, policy_id: str, verifier_id: str) -> pa.Table:
    """The `profiles` rows of one policy under one verifier.

    scores: rows of `scores` (state_id, reward, outcome). states: state_id, num_samples and gate of every sampled state,
    those that have no scores included. Order: state_id.
    """
    types = pl.DataFrame(PROFILES.empty_table()).schema
    aggregates = [aggregate(pl).cast(types[name]).alias(name) for name, aggregate in STATISTICS.items()]
    counts = [name for name in STATISTICS if types[name].is_integer()]
    statistics = scores.group_by("state_id").agg(aggregates)
    profiles = (
        states.join(statistics, on="state_id", how="left")
        .with_columns(pl.col(counts).fill_null(0))
        .with_columns(
            reward_class=_reward_class(),
            policy_id=pl.lit(policy_id),
            verifier_id=pl.lit(verifier_id),
            **{name: pl.lit(None) for name in POSTERIOR_COLUMNS},
        )
        .sort("state_id")
    )
    return profiles.select(PROFILES.names).to_arrow().cast(PROFILES)


def _reward_class() -> pl.Expr:
    low, high = pl.col("min_reward"), pl.col("max_reward")
    return (
        pl.when(low.is_null())
        .then(None)
        .when(high - low > SAME_REWARD)
        .then(pl.lit("sometimes"))
        .when(high <= SAME_REWARD)
        .then(pl.lit("never"))
        .when(low >= 1 - SAME_REWARD)
        .then(pl.lit("always"))
        .otherwise(pl.lit("constant"))
    )
