"""select: profiles -> the states worth training on.

A strategy (`strategies`) says which states satisfy it and sorts them. Caps follow in this order: prompt length, share
of the variance (RAGEN-2, arXiv 2604.06268), states per trajectory, states per domain, share of message turns, limit.
Each cap keeps the first of the states that the cap before it left.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

import polars as pl

from pivotmine.options import problem
from pivotmine.stats.profiles import with_bounds
from pivotmine_stages.select.options import SelectConfig
from pivotmine_stages.select.strategies import STRATEGIES, salted_hash

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


def choose_states(candidates: pl.DataFrame, config: SelectConfig) -> pl.DataFrame:
    """The candidates in the stated order with `reject_reason`: null for those that are kept.

    candidates: state_id, turn_id, trajectory_id, domain, kind, num_prompt_tokens (null: not known), and the profile's
    num_scored, mean, variance, reward_class, pivot_probability and gate (null if there is none), and its num_unproven,
    mean_low and mean_high (absent or null: see `with_bounds`); one row per state, with `all` one per turn.
    """
    strategy = STRATEGIES[config.strategy]
    ordered = strategy.order(with_bounds(candidates), config)
    ruled = ordered.with_columns(reject_reason=strategy.reject_reason(config))
    if config.max_prompt_tokens is not None:
        ruled = _reject(ruled, pl.col("num_prompt_tokens") > config.max_prompt_tokens, "prompt_too_long")
    if config.variance_share is not None:
        ruled = _reject(ruled, ~_carries_share(ruled, config.variance_share), "low_variance")
    if config.max_per_trajectory is not None:
        ruled = _reject(ruled, _KEPT.cum_sum().over("trajectory_id") > config.max_per_trajectory, "trajectory_cap")
    if config.max_per_domain is not None:
        ruled = _reject(ruled, _KEPT.cum_sum().over("domain") > config.max_per_domain, "domain_cap")
    if config.max_message_share is not None:
        allowed = _allowed_messages(ruled, config.max_message_share, config.limit)
        ruled = _reject(ruled, _IS_MESSAGE & ((_KEPT & _IS_MESSAGE).cum_sum() > allowed), "message_share")
    if config.limit is not None:
        ruled = _reject(ruled, _KEPT.cum_sum() > config.limit, "limit")
    return ruled


_KEPT = pl.col("reject_reason").is_null()
_IS_MESSAGE = pl.col("kind") == "message"


def _reject(ruled: pl.DataFrame, where: pl.Expr | pl.Series, reason: str) -> pl.DataFrame:
    return ruled.with_columns(reject_reason=pl.when(_KEPT & where).then(pl.lit(reason)).otherwise("reject_reason"))


def _carries_share(ruled: pl.DataFrame, share: float) -> pl.Series:
    """RAGEN-2: by falling variance, states are needed until their sum reaches `share` of the whole."""
    ranked = (
        ruled.select(v=pl.when(_KEPT).then(pl.col("variance")).otherwise(0.0).fill_null(0.0))
        .with_row_index("place")
        .sort("v", descending=True, maintain_order=True)
        .with_columns(before=pl.col("v").cum_sum().shift(1, fill_value=0.0))
    )
    # Sums of floats miss by a rounding; a share of 1 is meant to lose nothing by it.
    enough = math.inf if share == 1 else share * float(ranked["v"].sum()) * (1 - 1e-9)
    return ranked.with_columns(needed=(pl.col("v") > 0) & (pl.col("before") < enough)).sort("place")["needed"]


def _allowed_messages(ruled: pl.DataFrame, share: float, limit: int | None) -> int:
    """Most message turns that are at most `share` of everything kept, now and once the limit has cut."""
    part = Fraction(str(share))
    calls = ruled.filter(_KEPT & ~_IS_MESSAGE).height
    allowed = ruled.height if part == 1 else int(calls * part / (1 - part))
    return allowed if limit is None else min(allowed, int(limit * part))


def is_validation(key: str, config: SelectConfig) -> bool:
    """Whether all rows of one task (or of one first state) are held out."""
    return salted_hash(f"split/{key}", config.seed) < config.validation_share * 2**64


def check(config: SelectConfig) -> str | None:
    """What is wrong with the settings, in one line; None where nothing is."""
    if wrong := problem(config):
        return wrong
    if config.min_pivot_probability is not None and not STRATEGIES[config.strategy].asks_pivot_probability:
        return f"--min-pivot-probability goes with --strategy pivots, not {config.strategy}"
    if not _NAME.fullmatch(config.name):
        return f"--name {config.name!r}: letters, digits, dots, - and _"
    return None
