"""When a state needs no more samples.

Exact: of K samples with rewards in [0, 1] some are drawn. The state is decided if for all possible rewards
of the rest the mean of all K is at least `max_mean`, or if it is below and the rewards differ already: then all K
samples would select the same. Samples that are never scored (reward null) leave a state undecided only if they could
change the decision.
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

UNPROVEN_SAMPLES = 8
"""After this many samples a state is given up if most of them are unproven and without a reward."""
MIN_DECIDED = 0.5
"""Default of `select --min-decided`."""
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
    """A state's known rewards: the sums of its profile."""

    num_samples: int = 0
    """Drawn, scored or not; a pending one is not drawn to its end, and counts as one still to be drawn."""
    num_scored: int = 0
    total: float = 0.0
    low: float = 1.0
    """Smallest reward; 1 if there is none."""
    high: float = 0.0
    """Greatest reward; 0 if there is none."""
    num_undecided: int = 0
    """Unproven samples whose reward is null."""

    @property
    def differ(self) -> bool:
        return self.high - self.low > SAME_REWARD

    @property
    def is_mostly_unproven(self) -> bool:
        """Whether enough samples show that the verifier cannot judge this state: no more are drawn."""
        return self.num_samples >= UNPROVEN_SAMPLES and 2 * self.num_undecided > self.num_samples


def is_decided(state: Rewards, rule: StoppingRule, min_decided: float = MIN_DECIDED) -> bool:
    """Whether the samples up to K can change nothing: a pivot already, or no pivot with any rewards.

    An unproven sample without a reward counts as 1 to prove a pivot, and as 0 to prove the opposite.
    """
    left = max(rule.num_samples - state.num_samples, 0)
    if left == 0 or state.is_mostly_unproven:
        return True
    if state.num_scored < rule.min_scored:
        return False
    judged = state.num_scored + state.num_undecided + left
    # The same division as the mean's own, so that a mean of exactly `max_mean` is decided as it will be.
    margin = 0.0 if state.total % 1 == 0 else _ROUNDING
    if state.total / judged >= rule.max_mean + margin:
        return True
    below = (state.total + state.num_undecided + left) / judged < rule.max_mean - margin
    # A single unproven sample brings in the rule about the share of decided ones.
    enough = state.num_undecided == 0 or state.num_scored / judged >= min_decided
    return state.differ and below and enough


def least_samples(state: Rewards, rule: StoppingRule) -> int:
    """The fewest further samples that could decide the state; 0 if it is decided."""
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
        state.num_undecided,
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


REWARDS = ("num_samples", "num_pending", "num_scored", "mean", "min_reward", "max_reward", "num_undecided")
"""Columns of `with_bounds` that `rewards_of` reads."""


def rewards_of(profile: dict[str, Any]) -> Rewards:
    """The sums of a row of `profiles`."""
    undecided, drawn = profile.get("num_undecided", 0), num_drawn(profile)
    if not profile["num_scored"]:
        return Rewards(num_samples=drawn, num_undecided=undecided)
    total = round(profile["mean"] * profile["num_scored"], 9)
    return Rewards(drawn, profile["num_scored"], total, profile["min_reward"], profile["max_reward"], undecided)


def num_drawn(profile: dict[str, Any]) -> int:
    """Samples of a row of `profiles` that are drawn to their end, or to the budget's."""
    return profile["num_samples"] - (profile.get("num_pending") or 0)


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
