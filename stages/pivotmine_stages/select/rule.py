"""Choose the states worth training on, from their profiles.

A strategy (`strategies`) says which states satisfy it and sorts them. Caps follow in this order: prompt length, share
of the variance (RAGEN-2, arXiv 2604.06268), states per trajectory, states per domain (or its quota), share of message
turns, limit. Each cap keeps the first states of those that the previous cap kept.
"""

from __future__ import annotations

import math
from fractions import Fraction

import polars as pl

from pivotmine.errors import UserError
from pivotmine.options import name_problem, nearest, problem
from pivotmine.stats.profiles import with_bounds
from pivotmine_stages.select.carry_chance import by_posterior, with_carried
from pivotmine_stages.select.options import SelectConfig
from pivotmine_stages.select.strategies import STRATEGIES, by_variance, by_weight, salted_hash, weights


def choose_states(candidates: pl.DataFrame, config: SelectConfig) -> pl.DataFrame:
    """Return the candidates in the strategy's order with `weight` and `reject_reason`, null for those that are kept.

    candidates: one row per state, or per turn with the strategy `all`, with these columns:
    - state_id, turn_id, trajectory_id, domain, kind, num_prompt_tokens (null if unknown);
    - of the profile: num_scored, mean, variance, reward_class, pivot_probability, gate (null if not judged);
    - num_pending, num_unproven, mean_low and mean_high, which `with_bounds` fills in if they are absent or null;
    - with the strategy `entropy`: entropy;
    - for carried states, else absent or null: unseen_mass, posterior_mean, and carried_chance, the chance that a new
      profile would satisfy the rule.
    """
    strategy = STRATEGIES[config.strategy]
    order = by_weight if config.target_mean is not None and strategy.order is by_variance else strategy.order
    ordered = order(with_carried(with_bounds(candidates)).with_columns(weight=weights(config)), config)
    ruled = ordered.with_columns(reject_reason=strategy.reject_reason(config))
    if strategy.max_mean is not None:
        ruled = ruled.with_columns(reject_reason=by_posterior(strategy.max_mean(config), config.min_pivot_probability))
    if config.target_mean is not None:
        ruled = _reject(ruled, pl.col("weight") == 0, "weight_zero")
    if config.max_prompt_tokens is not None:
        ruled = _reject(ruled, pl.col("num_prompt_tokens") > config.max_prompt_tokens, "prompt_too_long")
    if config.variance_share is not None:
        ruled = _reject(ruled, ~_carries_share(ruled, config.variance_share), "low_variance")
    if config.max_per_trajectory is not None:
        ruled = _reject(ruled, _KEPT.cum_sum().over("trajectory_id") > config.max_per_trajectory, "trajectory_cap")
    if config.max_per_domain is not None or config.domain_quota:
        ruled = _reject(ruled, _KEPT.cum_sum().over("domain") > _most_of_domain(ruled, config), "domain_cap")
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
    """Return which states are kept by RAGEN-2's rule: by falling variance, until their sum is `share` of the total."""
    ranked = (
        ruled.select(v=pl.when(_KEPT).then(pl.col("variance")).otherwise(0.0).fill_null(0.0))
        .with_row_index("place")
        .sort("v", descending=True, maintain_order=True)
        .with_columns(before=pl.col("v").cum_sum().shift(1, fill_value=0.0))
    )
    # Sums of floats have rounding errors. A share of 1 must not lose a state by them.
    enough = math.inf if share == 1 else share * float(ranked["v"].sum()) * (1 - 1e-9)
    return ranked.with_columns(needed=(pl.col("v") > 0) & (pl.col("before") < enough)).sort("place")["needed"]


def _most_of_domain(ruled: pl.DataFrame, config: SelectConfig) -> pl.Expr:
    """Maximum rows of each candidate's domain; null if there is no maximum."""
    quotas = domain_quotas(config)
    if not quotas:
        return pl.lit(config.max_per_domain)
    named = {domain or "" for domain in ruled["domain"].unique()}
    if unknown := sorted(quotas.keys() - named):
        raise UserError(
            f"--domain-quota {unknown[0]}={quotas[unknown[0]]}: no candidate has this domain; there are "
            f"{', '.join(sorted(named))}{nearest(unknown[0], named)}"
        )
    domain = pl.col("domain").fill_null("")
    return domain.replace_strict(quotas, default=config.max_per_domain, return_dtype=pl.Int64)


def domain_quotas(config: SelectConfig) -> dict[str, int]:
    """Return the maximum rows by domain; UserError if one cannot be read."""
    found: dict[str, int] = {}
    for text in config.domain_quota:
        name, equals, count = text.rpartition("=")
        if not equals or not count.isdecimal():
            raise UserError(f"--domain-quota {text}: write DOMAIN=ROWS, for example travel=50")
        if name in found:
            raise UserError(f"--domain-quota {text}: {name} already has the quota {found[name]}")
        found[name] = int(count)
    return found


def _allowed_messages(ruled: pl.DataFrame, share: float, limit: int | None) -> int:
    """Return how many message turns may be kept: at most `share` of all kept rows, before and after the limit."""
    part = Fraction(str(share))
    calls = ruled.filter(_KEPT & ~_IS_MESSAGE).height
    allowed = ruled.height if part == 1 else int(calls * part / (1 - part))
    return allowed if limit is None else min(allowed, int(limit * part))


def is_validation(key: str, config: SelectConfig) -> bool:
    """Return whether all rows of one task (or of one first state) are held out."""
    return salted_hash(f"split/{key}", config.seed) < config.validation_share * 2**64


def twin_name(config: SelectConfig) -> str:
    """Return the name of the control's dataset."""
    return f"{config.name}-{config.twin}"


def check(config: SelectConfig) -> str | None:
    """Return the fault in the settings, in one line; None if there is no fault."""
    if wrong := problem(config):
        return wrong
    if config.min_pivot_probability is not None and not STRATEGIES[config.strategy].asks_pivot_probability:
        return f"--min-pivot-probability goes with --strategy pivots, not {config.strategy}"
    if config.min_entropy is not None and not STRATEGIES[config.strategy].asks_entropy:
        return f"--min-entropy goes with --strategy entropy, not {config.strategy}"
    default = SelectConfig()
    if config.max_mean != default.max_mean and config.strategy in ("mixed", "entropy"):
        return f"--max-mean goes with --strategy pivots, not {config.strategy}"
    if config.target_width != default.target_width and config.target_mean is None:
        return "--target-width goes with --target-mean"
    if config.min_mean is not None and config.strategy != "pivots":
        return f"--min-mean goes with --strategy pivots, not {config.strategy}"
    if config.min_mean is not None and config.min_mean >= config.max_mean:
        return f"--min-mean {config.min_mean}: must be below --max-mean {config.max_mean}"
    if config.strategy == "all" and (config.target_mean is not None or config.twin != "none"):
        given = "--target-mean" if config.target_mean is not None else "--twin"
        return f"{given} needs profiles, and --strategy all takes states without them: choose another --strategy"
    domain_quotas(config)
    return name_problem("--name", config.name)
