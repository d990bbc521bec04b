"""How a rule judges carried states, which have few samples of their own or none: by their posterior.

A carried state satisfies a rule on rewards if a new profile would probably satisfy it.
"""

from __future__ import annotations

import polars as pl

LIKELY = 0.5
"""Minimum chance that a new profile would select the state, unless `min_pivot_probability` sets another."""
_COLUMNS = ("unseen_mass", "posterior_mean", "carried_chance")
_BY_SAMPLES = ("never", "always", "constant", "doubtful", "mean_too_high", "mean_too_low", "too_few_scored")
"""Reject reasons that follow from a state's own samples."""


def with_carried(candidates: pl.DataFrame) -> pl.DataFrame:
    """Add the columns that the rule reads; they are null if nothing is carried over."""
    missing = [name for name in _COLUMNS if name not in candidates.columns]
    return candidates.with_columns(pl.lit(None, pl.Float64).alias(name) for name in missing)


def known_mean() -> pl.Expr:
    """The mean reward; for a carried state the mean of its posterior."""
    return pl.when(pl.col("unseen_mass").is_not_null()).then("posterior_mean").otherwise("mean")


def spread() -> pl.Expr:
    """The variance of the rewards; for a carried state without samples m (1 - m), with the posterior mean m."""
    mean = pl.when(pl.col("unseen_mass").is_not_null()).then(pl.col("posterior_mean"))
    return pl.coalesce("variance", mean * (1 - mean))


def by_posterior(max_mean: float, likely: float | None) -> pl.Expr:
    """`reject_reason`, for carried states by `carried_chance`, the chance that a new profile satisfies the rule."""
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
