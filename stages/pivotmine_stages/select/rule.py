"""select: profiles -> the states worth training on.

The paper's rule (PivotRL, arXiv 2603.21383, section 3): rewards differ and their mean is below lambda. Beside it
`mixed` (rewards differ), `random` and `all` for the ablations, and RAGEN-2's rule (arXiv 2604.06268): the states of
greatest variance that together carry a share of it.

Order: greatest variance first, ties by smaller mean, then by state_id; `random`: by a salted hash of the state_id.
In that order, one after the other: the variance's share, the caps per trajectory, per domain and on the share of
message turns, the limit; each takes the first states that the one before it left.
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from fractions import Fraction

import polars as pl

from pivotmine.stats.profiles import with_bounds

STRATEGIES = ("pivots", "mixed", "random", "all")
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
    """Minimum number of scored samples of a state; `all` does not ask."""
    min_decided: float = 0.5
    """Minimum share of decided samples, in [0, 1], of a state with unproven samples whose reward is null."""
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
    num_scored, mean, variance, reward_class, pivot_probability and gate (null if there is none), and its num_unproven,
    mean_low and mean_high (absent or null: see `with_bounds`); one row per state, with `all` one per turn.
    """
    ruled = _ordered(with_bounds(candidates), config).with_columns(reject_reason=_rule(config))
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


def _ordered(candidates: pl.DataFrame, config: SelectConfig) -> pl.DataFrame:
    if config.strategy == "random":
        salted = [salted_hash(state_id, config.seed) for state_id in candidates["state_id"]]
        return candidates.sort(pl.Series(salted, dtype=pl.UInt64), "turn_id")
    by = ("variance", "mean", "state_id", "turn_id")
    return candidates.sort(*by, descending=[True, False, False, False], nulls_last=True)


def _rule(config: SelectConfig) -> pl.Expr:
    """Why a state does not satisfy the strategy, before any cap; null where it does."""
    if config.strategy == "all":
        return pl.lit(None, pl.String)
    decided_share = pl.col("num_scored") / (pl.col("num_scored") + pl.col("num_undecided"))
    profiled = (
        pl.when(pl.col("num_scored").is_null())
        .then(pl.lit("not_profiled"))
        .when(pl.col("gate") == "no_verifier")
        .then(pl.lit("no_verifier"))
        .when(pl.col("gate") != "correct")
        .then(pl.lit("unverifiable"))
        .when((pl.col("num_undecided") > 0) & (decided_share < config.min_decided))
        .then(pl.lit("undecided"))
        .when(pl.col("num_scored") < config.min_scored)
        .then(pl.lit("too_few_scored"))
    )
    if config.strategy == "random":
        return profiled.otherwise(None)
    differing = profiled.when(pl.col("reward_class") != "sometimes").then(pl.col("reward_class"))
    if config.strategy == "mixed":
        return differing.otherwise(None)
    # Above the bound whatever the unproven samples are worth; then, above it if they are worth enough.
    bounded = differing.when(pl.col("mean_low") >= config.max_mean).then(pl.lit("mean_too_high"))
    bounded = bounded.when((pl.col("num_undecided") > 0) & (pl.col("mean_high") >= config.max_mean))
    bounded = bounded.then(pl.lit("undecided")).when(pl.col("mean") >= config.max_mean).then(pl.lit("mean_too_high"))
    if config.min_pivot_probability is None:
        return bounded.otherwise(None)
    doubtful = pl.col("pivot_probability") < config.min_pivot_probability
    return bounded.when(doubtful).then(pl.lit("doubtful")).otherwise(None)


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


def salted_hash(text: str, salt: int) -> int:
    """64 bits that depend on the text and the salt alone: a second mining draws the same."""
    return int.from_bytes(hashlib.blake2b(f"{salt}/{text}".encode(), digest_size=8).digest(), "big")


def is_validation(key: str, config: SelectConfig) -> bool:
    """Whether all rows of one task (or of one first state) are held out."""
    return salted_hash(f"split/{key}", config.seed) < config.validation_share * 2**64


def check(config: SelectConfig) -> str | None:
    """What is wrong with the settings, in one line; None where nothing is."""
    share, messages, chance = config.variance_share, config.max_message_share, config.min_pivot_probability
    wrong = {
        f"--strategy {config.strategy}: choose from {', '.join(STRATEGIES)}": config.strategy not in STRATEGIES,
        f"--max-mean {config.max_mean}: in (0, 1]": not 0 < config.max_mean <= 1,
        f"--variance-share {share}: in (0, 1]": share is not None and not 0 < share <= 1,
        f"--min-pivot-probability {chance}: in [0, 1]": chance is not None and not 0 <= chance <= 1,
        f"--min-decided {config.min_decided}: in [0, 1]": not 0 <= config.min_decided <= 1,
        f"--min-pivot-probability goes with --strategy pivots, not {config.strategy}": chance is not None
        and config.strategy != "pivots",
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
