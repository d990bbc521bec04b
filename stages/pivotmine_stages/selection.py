"""select: profiles -> the states worth training on.

The paper's rule (PivotRL, arXiv 2603.21383, section 3): rewards differ and their mean is below lambda. Beside it
`mixed` (rewards differ), `random` and `all` for the ablations, and RAGEN-2's rule (arXiv 2604.06268): the states of
greatest variance that together carry a share of it.

Order: greatest variance first, ties by smaller mean, then by state_id; `random`: by a salted hash of the state_id.
Caps and limits take states in that order.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import polars as pl

STRATEGIES = ("pivots", "mixed", "random", "all")


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
    """Least scored samples of a state."""
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

    candidates: state_id, turn_id, trajectory_id, domain, kind, and the profile's num_scored, mean, variance,
    reward_class and gate (null where there is none); one row a state, with `all` one a turn.
    """
    ordered = _ordered(candidates, config)
    ruled = ordered.with_columns(reject_reason=_rule(config))
    if config.variance_share is not None:
        ruled = _variance_share(ruled, config.variance_share)
    for cap, column, reason in (
        (config.max_per_trajectory, "trajectory_id", "trajectory_cap"),
        (config.max_per_domain, "domain", "domain_cap"),
    ):
        if cap is not None:
            ruled = _reject(ruled, pl.col("reject_reason").is_null().cum_sum().over(column) > cap, reason)
    if config.max_message_share is not None:
        ruled = _cap_messages(ruled, config.max_message_share)
    if config.limit is not None:
        ruled = _reject(ruled, pl.col("reject_reason").is_null().cum_sum() > config.limit, "limit")
    return ruled


def _ordered(candidates: pl.DataFrame, config: SelectConfig) -> pl.DataFrame:
    if config.strategy == "random":
        salted = pl.col("state_id").map_elements(lambda text: salted_hash(text, config.seed), return_dtype=pl.UInt64)
        return candidates.sort(salted, "turn_id")
    by = [pl.col("variance"), -pl.col("mean")]
    return candidates.sort(*by, "state_id", "turn_id", descending=[True, True, False, False], nulls_last=True)


def _rule(config: SelectConfig) -> pl.Expr:
    """Why a state does not satisfy the strategy, before any cap; null where it does."""
    if config.strategy == "all":
        return pl.lit(None, pl.String)
    profiled = (
        pl.when(pl.col("num_scored").is_null())
        .then(pl.lit("not_profiled"))
        .when(pl.col("gate") == "no_verifier")
        .then(pl.lit("no_verifier"))
        .when(pl.col("gate") != "correct")
        .then(pl.lit("unverifiable"))
        .when(pl.col("num_scored") < config.min_scored)
        .then(pl.lit("too_few_scored"))
    )
    if config.strategy == "random":
        return profiled.otherwise(None)
    differing = profiled.when(pl.col("reward_class") != "sometimes").then(pl.col("reward_class"))
    if config.strategy == "mixed":
        return differing.otherwise(None)
    return differing.when(pl.col("mean") >= config.max_mean).then(pl.lit("mean_too_high")).otherwise(None)


def _reject(ruled: pl.DataFrame, where: pl.Expr, reason: str) -> pl.DataFrame:
    kept = pl.col("reject_reason").is_null()
    return ruled.with_columns(reject_reason=pl.when(kept & where).then(pl.lit(reason)).otherwise("reject_reason"))


def _variance_share(ruled: pl.DataFrame, share: float) -> pl.DataFrame:
    """RAGEN-2: sorted by variance, keep until the kept ones' sum reaches `share` of the whole."""
    kept = pl.col("reject_reason").is_null()
    variance = pl.when(kept).then(pl.col("variance")).otherwise(0.0).fill_null(0.0)
    ranked = ruled.with_row_index("place").sort(variance, descending=True, maintain_order=True)
    before = ranked.select(variance.alias("v"))["v"].cum_sum() - ranked.select(variance.alias("v"))["v"]
    # A sum of floats may miss its own total by rounding: the last state is kept only where it is needed.
    needed = before < share * ranked.select(variance.sum()).item() - 1e-12
    return (
        _reject(ranked.with_columns(needed=needed), ~pl.col("needed"), "low_variance")
        .sort("place")
        .drop("place", "needed")
    )


def _cap_messages(ruled: pl.DataFrame, share: float) -> pl.DataFrame:
    """Keep the first message turns that make at most `share` of everything kept."""
    kept = pl.col("reject_reason").is_null()
    calls = ruled.filter(kept & (pl.col("kind") != "message")).height
    allowed = ruled.height if share >= 1 else int(calls * share / (1 - share) + 1e-9)
    is_message = pl.col("kind") == "message"
    return _reject(ruled, is_message & ((kept & is_message).cum_sum() > allowed), "message_share")


def salted_hash(text: str, salt: int) -> int:
    """64 bits that depend on the text and the salt alone: a second mining draws the same."""
    return int.from_bytes(hashlib.blake2b(f"{salt}/{text}".encode(), digest_size=8).digest(), "big")


def is_validation(key: str, config: SelectConfig) -> bool:
    """Whether all rows of one task (or of one first state) are held out."""
    return salted_hash(f"split/{key}", config.seed) < config.validation_share * 2**64


def check(config: SelectConfig) -> str | None:
    """What is wrong with the settings, in one line; None where nothing is."""
    problems: dict[str, Any] = {
        f"--strategy {config.strategy}: choose from {', '.join(STRATEGIES)}": config.strategy not in STRATEGIES,
        f"--max-mean {config.max_mean}: in (0, 1]": not 0 < config.max_mean <= 1,
        f"--variance-share {config.variance_share}: in (0, 1]": config.variance_share is not None
        and not 0 < config.variance_share <= 1,
        f"--max-message-share {config.max_message_share}: in [0, 1]": config.max_message_share is not None
        and not 0 <= config.max_message_share <= 1,
        f"--validation-share {config.validation_share}: in [0, 1)": not 0 <= config.validation_share < 1,
        f"--name {config.name}: a folder's name, without slashes": "/" in config.name or config.name in ("", ".", ".."),
    }
    return next((words for words, wrong in problems.items() if wrong), None)
