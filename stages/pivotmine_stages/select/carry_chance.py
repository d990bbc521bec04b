"""What a rule makes of states that earlier policies' actions are carried over to: it goes by the posterior.

Their own samples are few, or none. A state satisfies a rule on rewards if a new profile would probably satisfy it.
"""

from __future__ import annotations

import polars as pl

LIKELY = 0.5
"""Chance from which on a new profile would probably select the state, unless `min_pivot_probability` sets one."""
_COLUMNS = ("unseen_mass", "posterior_mean", "carried_chance")
_BY_SAMPLES = ("never", "always", "constant", "doubtful", "mean_too_high", "mean_too_low", "too_few_scored")
"""Reasons that follow from a state's own samples."""


def with_carried(candidates: pl.DataFrame) -> pl.DataFrame:
    """The candidates with the columns that the rule reads; null where nothing is carried over."""
    missing = [name for name in _COLUMNS if name not in candidates.columns]
    return candidates.with_columns(pl.lit(None, pl.Float64).alias(name) for name in missing)


def known_mean() -> pl.Expr:
    """The mean reward; of a carried state its posterior's."""
    return pl.when(pl.col("unseen_mass").is_not_null()).then("posterior_mean").otherwise("mean")


def spread() -> pl.Expr:
    """The variance of the rewards; of a carried state without samples that of its posterior mean."""
    mean = pl.when(pl.col("unseen_mass").is_not_null()).then(pl.col("posterior_mean"))
    return pl.coalesce("variance", mean * (1 - mean))


def by_posterior(max_mean: float, likely: float | None) -> pl.Expr:
    """`reject_reason`, of carried states by their posterior: `carried_chance` is that of a new profile."""
    is_carried = pl.col("unseen_mass").is_not_null() & (pl.col("gate") == "correct")
    is_open = pl.col("reject_reason").is_null() | pl.col("reject_reason").is_in(_BY_SAMPLES)
    return (
        pl.when(~(is_carried & is_open))
        .then("reject_reason")
        .when(pl.col("carried_chance") >= (LIKELY if likely is None else likely))
        .then(None)
        .when(pl.col("posterior_mean") >= max_mean)
        .then(pl.lit("mean_too_high"))
        .otherwise(pl.lit("doubtful"))
    )
