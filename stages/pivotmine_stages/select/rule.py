"""select: profiles -> the states worth training on.

A strategy (`strategies`) says which states satisfy it and sorts them. Caps follow in this order: prompt length, share
of the variance (RAGEN-2, arXiv 2604.06268), states per trajectory, states per domain, share of message turns, limit.
Each cap keeps the first of the states that the cap before it left.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction

import polars as pl

from pivotmine_stages.select.strategies import STRATEGIES, salted_hash

HOLDOUTS = ("none", "half")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectConfig:
    name: str = "default"
    """Folder under `pivots/`."""
    policy: str | None = None
    """Policy id, or a part of it; None: the only one."""
    verifier: str | None = None
    """Verifier id, or a part of it; None: the only one."""
    strategy: str = "pivots"
    """`pivots` (the paper's rule), `mixed` (rewards differ), `random` (of the profiled states), `all` (every
    demonstrated turn, profiled or not)."""
    max_mean: float = 0.6
    """The mean reward of a pivot is below it (the paper's lambda; 0.6 in its one known setting)."""
    min_scored: int = 2
    """Least scored samples of a state; `all` does not ask."""
    min_pivot_probability: float | None = None
    """Least chance that a new profile would make the state a pivot (`profiles`), in [0, 1]; None: do not ask."""
    holdout: str = "none"
    """`half`: choose by the samples of even index and report mean and variance of the odd ones. A state that is chosen
    for its low mean has had bad luck too: in the samples that chose it, its mean is below its own (regression to the
    mean)."""
    variance_share: float | None = None
    """Keep the states of greatest variance that together carry this share of it, in (0, 1]; None: keep all."""
    max_per_trajectory: int | None = None
    """Most states of one trajectory; None: no cap."""
    max_per_domain: int | None = None
    """Most states of one domain; states without one count as one domain; None: no cap."""
    max_message_share: float | None = None
    """Greatest share of message turns, in [0, 1]; None: no cap."""
    limit: int | None = None
    """Most states; None: no limit."""
    max_prompt_tokens: int | None = None
    """Longest prompt, in tokens: what a trainer's context leaves beside the reply; None: no cap."""
    tokenizer: str | None = None
    """Folder or hub id, where the rollouts came from a chat server that rendered by itself; None: the rollouts'."""
    validation_share: float = 0.1
    """Share of the tasks that are held out, in [0, 1)."""
    seed: int = 0
    """Salt of the random order and of the split."""


def choose_states(candidates: pl.DataFrame, config: SelectConfig) -> pl.DataFrame:
    """The candidates in the stated order with `reject_reason`: null for those that are kept.

    candidates: state_id, turn_id, trajectory_id, domain, kind, num_prompt_tokens (null: not known), and the profile's
    num_scored, mean, variance, reward_class, pivot_probability and gate (null where there is none); one row a state,
    with `all` one a turn.
    """
    strategy = STRATEGIES[config.strategy]
    ruled = strategy.order(candidates, config).with_columns(reject_reason=strategy.reject_reason(config))
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
    if config.strategy not in STRATEGIES:
        return f"--strategy {config.strategy}: choose from {', '.join(STRATEGIES)}"
    share, messages, chance = config.variance_share, config.max_message_share, config.min_pivot_probability
    wrong = {
        f"--max-mean {config.max_mean}: in (0, 1]": not 0 < config.max_mean <= 1,
        f"--variance-share {share}: in (0, 1]": share is not None and not 0 < share <= 1,
        f"--min-pivot-probability {chance}: in [0, 1]": chance is not None and not 0 <= chance <= 1,
        f"--min-pivot-probability goes with --strategy pivots, not {config.strategy}": chance is not None
        and not STRATEGIES[config.strategy].asks_pivot_probability,
        f"--holdout {config.holdout}: choose from {', '.join(HOLDOUTS)}": config.holdout not in HOLDOUTS,
        f"--max-message-share {messages}: in [0, 1]": messages is not None and not 0 <= messages <= 1,
        f"--validation-share {config.validation_share}: in [0, 1)": not 0 <= config.validation_share < 1,
        f"--name {config.name!r}: letters, digits, dots, - and _": not _NAME.fullmatch(config.name),
    }
    least = {"min_scored": 1, "max_per_trajectory": 1, "max_per_domain": 1, "max_prompt_tokens": 1, "limit": 0}
    for field, lowest in least.items():
        value = getattr(config, field)
        wrong[f"--{field.replace('_', '-')} {value}: at least {lowest}"] = value is not None and value < lowest
    return next((words for words, is_wrong in wrong.items() if is_wrong), None)
