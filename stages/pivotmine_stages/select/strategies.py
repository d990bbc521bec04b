"""The rules of `--strategy`: which states satisfy each, its bound on the mean, and its order.

To add a rule, write a function that gives its reject reasons and a line in STRATEGIES. Then add the rule's name to the
choices of `SelectConfig.strategy`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl
from polars.expr.whenthen import ChainedThen

from pivotmine_stages.select.carry_chance import known_mean, spread

if TYPE_CHECKING:
    from pivotmine_stages.select.options import SelectConfig


class Strategy(NamedTuple):
    """One rule."""

    reject_reason: Callable[[SelectConfig], pl.Expr]
    """An expression over the candidates of `choose_states`: null if a state satisfies the rule, before any cap."""
    max_mean: Callable[[SelectConfig], float] | None
    """The bound that the mean reward must stay below; None if the rule does not look at rewards."""
    order: Callable[[pl.DataFrame, SelectConfig], pl.DataFrame]
    """Sorts the candidates: caps and limits keep the first."""
    needs_profiles: bool = True
    """If False, each demonstrated turn is a row, with or without scores."""
    asks_pivot_probability: bool = False
    """Whether `min_pivot_probability` applies."""
    asks_entropy: bool = False
    """Whether the candidates need `entropy`, and `min_entropy` applies."""


def pivots(config: SelectConfig) -> pl.Expr:
    """The paper's rule (PivotRL, arXiv 2603.21383, section 3): rewards differ, and their mean is below `max_mean`.

    With `min_mean` the mean is also at least that: a band of difficulty. With `min_pivot_probability`, a new profile
    must also be likely enough to give the same answer.
    """
    # First the states above the bound for any reward of the unproven samples, then those above it for some rewards.
    bounded = _rewards_differ(config).when(pl.col("mean_low") >= config.max_mean).then(pl.lit("mean_too_high"))
    bounded = bounded.when((pl.col("num_undecided") > 0) & (pl.col("mean_high") >= config.max_mean))
    bounded = bounded.then(pl.lit("undecided")).when(pl.col("mean") >= config.max_mean).then(pl.lit("mean_too_high"))
    if config.min_mean is not None:
        bounded = bounded.when(pl.col("mean_high") < config.min_mean).then(pl.lit("mean_too_low"))
        bounded = bounded.when((pl.col("num_undecided") > 0) & (pl.col("mean_low") < config.min_mean))
        bounded = bounded.then(pl.lit("undecided")).when(pl.col("mean") < config.min_mean).then(pl.lit("mean_too_low"))
    if config.min_pivot_probability is None:
        return bounded.otherwise(None)
    doubtful = pl.col("pivot_probability") < config.min_pivot_probability
    return bounded.when(doubtful).then(pl.lit("doubtful")).otherwise(None)


def mixed(config: SelectConfig) -> pl.Expr:
    """Rewards differ. With `variance_share` this is RAGEN-2's rule (arXiv 2604.06268)."""
    return _rewards_differ(config).otherwise(None)


def random(config: SelectConfig) -> pl.Expr:
    """Any state that was profiled, for ablations."""
    return _is_profiled(config).otherwise(None)


def entropy(config: SelectConfig) -> pl.Expr:
    """The entropy of the policy's actions is at least `min_entropy`; rewards do not count (CARL, arXiv 2512.04949)."""
    known = _is_profiled(config).when(pl.col("entropy").is_null()).then(pl.lit("no_logprobs"))
    return known.when(pl.col("entropy") < (config.min_entropy or 0.0)).then(pl.lit("low_entropy")).otherwise(None)


def every_turn(config: SelectConfig) -> pl.Expr:
    """Every demonstrated turn, for ablations."""
    return pl.lit(None, pl.String)


def by_variance(candidates: pl.DataFrame, config: SelectConfig) -> pl.DataFrame:
    """Greatest variance first; ties by smaller mean, then by state_id."""
    by = (spread(), "mean", "state_id", "turn_id")
    return candidates.sort(*by, descending=[True, False, False, False], nulls_last=True)


def by_entropy(candidates: pl.DataFrame, config: SelectConfig) -> pl.DataFrame:
    """Greatest entropy of the policy's actions first; ties by state_id."""
    return candidates.sort("entropy", "state_id", "turn_id", descending=[True, False, False], nulls_last=True)


def weights(config: SelectConfig) -> pl.Expr:
    """A bell curve over the mean reward, 1 at `target_mean`; null without `target_mean`: all rows are equal."""
    if config.target_mean is None:
        return pl.lit(None, pl.Float64)
    return (-(((known_mean() - config.target_mean) / config.target_width) ** 2) / 2).exp()


def by_weight(candidates: pl.DataFrame, config: SelectConfig) -> pl.DataFrame:
    """Nearest to `target_mean` first; ties by greater variance, then by state_id."""
    by = ("weight", spread(), "state_id")
    return candidates.sort(*by, descending=[True, True, False], nulls_last=True)


def by_salted_hash(candidates: pl.DataFrame, config: SelectConfig) -> pl.DataFrame:
    """A random order that depends only on the state_id and the seed."""
    salted = [salted_hash(state_id, config.seed) for state_id in candidates["state_id"]]
    return candidates.sort(pl.Series(salted, dtype=pl.UInt64), "turn_id")


def salted_hash(text: str, salt: int) -> int:
    """Hash the text and the salt to 64 bits. A second mining with the same salt draws the same states."""
    return int.from_bytes(hashlib.blake2b(f"{salt}/{text}".encode(), digest_size=8).digest(), "big")


def _rewards_differ(config: SelectConfig) -> ChainedThen:
    return _is_profiled(config).when(pl.col("reward_class") != "sometimes").then(pl.col("reward_class"))


def _is_profiled(config: SelectConfig) -> ChainedThen:
    decided_share = pl.col("num_scored") / (pl.col("num_scored") + pl.col("num_undecided"))
    return (
        pl.when(pl.col("num_scored").is_null())
        .then(pl.lit("not_profiled"))
        .when(pl.col("gate") == "no_verifier")
        .then(pl.lit("no_verifier"))
        .when(pl.col("gate") != "correct")
        .then(pl.lit("unverifiable"))
        .when(pl.col("num_pending") > 0)
        .then(pl.lit("pending"))
        .when((pl.col("num_undecided") > 0) & (decided_share < config.min_decided))
        .then(pl.lit("undecided"))
        .when(pl.col("num_scored") < config.min_scored)
        .then(pl.lit("too_few_scored"))
    )


STRATEGIES: dict[str, Strategy] = {
    "pivots": Strategy(pivots, lambda config: config.max_mean, by_variance, asks_pivot_probability=True),
    # Rewards that differ have a mean below 1.
    "mixed": Strategy(mixed, lambda config: 1.0, by_variance),
    "random": Strategy(random, None, by_salted_hash),
    "entropy": Strategy(entropy, None, by_entropy, asks_entropy=True),
    "all": Strategy(every_turn, None, by_variance, needs_profiles=False),
}


def rule_words(config: Mapping[str, Any]) -> str:
    """Describe a stored selection's rule: its strategy, bounds and caps."""
    bounds = {"max_mean": "mean below", "min_mean": "mean from"} if config["strategy"] == "pivots" else {}
    names = ("limit", "max_per_trajectory", "max_per_domain", "target_mean", "variance_share", "min_pivot_probability")
    words = {**bounds, **{name: name.replace("_", " ").replace("limit", "max rows") for name in names}}
    return ", ".join([config["strategy"], *(f"{text} {config[key]}" for key, text in words.items() if config.get(key))])
