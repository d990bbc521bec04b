"""When a state needs no more samples.

Exact: of K samples with rewards in [0, 1] some are drawn. Whatever the rest earns, the mean of all K stays at or above
`max_mean`, or stays below it with rewards that differ already: then the state is decided, and K samples would have
selected the same. Samples that are never scored (reward null) leave both ways open only where they could change them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from pivotmine import strict_json
from pivotmine.run import rundir
from pivotmine.stats.profiles import SAME_REWARD

_ROUNDING = 1e-9
"""Sums of rewards other than 0 and 1 depend on their order; a bound that is this close is not reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppingRule:
    """What `profiles.stopping` holds as JSON for a state that was stopped."""

    rule: str
    """`exact` or `probabilistic`."""
    num_samples: int
    """Most samples of a state (K)."""
    max_mean: float
    """The selection's bound; 1 for a selection without one."""
    min_scored: int
    """Least scored samples of a stopped state."""

    def to_json(self) -> str:
        return strict_json.canonical(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> StoppingRule:
        return cls(**json.loads(text))


class Rewards(NamedTuple):
    """What is known of a state: the sums of its profile."""

    num_samples: int = 0
    """Drawn, scored or not."""
    num_scored: int = 0
    total: float = 0.0
    low: float = 1.0
    """Least reward; 1 where there is none."""
    high: float = 0.0
    """Greatest reward; 0 where there is none."""

    @property
    def differ(self) -> bool:
        return self.high - self.low > SAME_REWARD


def is_decided(state: Rewards, rule: StoppingRule) -> bool:
    """Whether the samples up to K can change nothing: a pivot already, or none whatever they earn."""
    left = max(rule.num_samples - state.num_samples, 0)
    if left == 0:
        return True
    if state.num_scored < rule.min_scored:
        return False
    scored = state.num_scored + left
    # The same division as the mean's own, so that a mean of exactly `max_mean` is told as it will be.
    margin = 0.0 if state.total % 1 == 0 else _ROUNDING
    too_high = state.total / scored >= rule.max_mean + margin
    return too_high or (state.differ and (state.total + left) / scored < rule.max_mean - margin)


def least_samples(state: Rewards, rule: StoppingRule) -> int:
    """The fewest further samples that could decide the state; 0 where it is decided."""
    left = rule.num_samples - state.num_samples
    for more in range(max(left, 0)):
        # The outcomes that decide soonest: all succeed, or none does but for one that makes the rewards differ.
        for successes in {0, min(1, more), more}:
            if is_decided(_with(state, successes, more - successes), rule):
                return more
    return max(left, 0)


def _with(state: Rewards, successes: int, failures: int) -> Rewards:
    return Rewards(
        state.num_samples + successes + failures,
        state.num_scored + successes + failures,
        state.total + successes,
        min(state.low, 1.0 if successes else state.low, 0.0 if failures else state.low),
        max(state.high, 1.0 if successes else state.high, 0.0 if failures else state.high),
    )


def plans_dir(run: Path, policy_id: str, verifier_id: str) -> Path:
    """Where the plans of one policy and verifier lie, and its last rule."""
    return run / "plans" / policy_id / verifier_id


def read_rule(run: Path, policy_id: str, verifier_id: str) -> StoppingRule | None:
    """The rule that the policy was last profiled under; None: every state had the same number of samples."""
    path = plans_dir(run, policy_id, verifier_id) / "rule.json"
    if not path.exists():
        return None
    return StoppingRule(**rundir.read_json(path, "delete it and start the same `pivotmine run --adaptive` again"))


def write_rule(run: Path, policy_id: str, verifier_id: str, rule: StoppingRule) -> None:
    """Remember the rule before its first plan: samples that it stopped are never without it."""
    rundir.write_text(plans_dir(run, policy_id, verifier_id) / "rule.json", rule.to_json() + "\n")


def rewards_of(profile: dict[str, Any]) -> Rewards:
    """The sums of a row of `profiles`."""
    if not profile["num_scored"]:
        return Rewards(num_samples=profile["num_samples"])
    total = round(profile["mean"] * profile["num_scored"], 9)
    return Rewards(profile["num_samples"], profile["num_scored"], total, profile["min_reward"], profile["max_reward"])


def finished(profiles: pl.DataFrame) -> pl.DataFrame:
    """The profiles without states that exact stopping has not decided by its own rule: a round to come would ask them.

    A pilot samples such states too, or a start that was killed.
    """
    rows = profiles.filter(pl.col("stopping").is_not_null() & (pl.col("num_scored") > 0)).iter_rows(named=True)
    under_way = [row["state_id"] for row in rows if not _is_finished(row)]
    return profiles.filter(~pl.col("state_id").is_in(under_way)) if under_way else profiles


def _is_finished(row: dict[str, Any]) -> bool:
    rule = StoppingRule.from_json(row["stopping"])
    return rule.rule != "exact" or is_decided(rewards_of(row), rule)


def rule_of(profiles: pl.DataFrame) -> StoppingRule | None:
    """The rule that stopped profiles; None where none did."""
    stopped = profiles["stopping"].drop_nulls()
    return StoppingRule.from_json(stopped[0]) if len(stopped) else None
