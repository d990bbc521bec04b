"""When a state needs no more samples.

Exact: some of K samples with rewards in [0, 1] are drawn. The state is decided if all possible rewards of the rest give
the same selection. Either the mean of all K is certainly at least `max_mean`, or it is certainly below and the rewards
differ already. Samples without a reward leave a state undecided only if they could change the decision.
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
"""Sums of rewards other than 0 and 1 depend on their order, so a bound this close does not count as reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppingRule:
    """A rule that stops states, stored as JSON in `profiles.stopping`."""

    rule: str
    """`exact` or `probabilistic`."""
    num_samples: int
    """Maximum number of samples of a state (K)."""
    max_mean: float
    """The selection's bound; 1 for a selection without one."""
    min_scored: int
    """Minimum number of scored samples of a stopped state."""

    def to_json(self) -> str:
        return strict_json.canonical(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> StoppingRule:
        return cls(**json.loads(text))


class Rewards(NamedTuple):
    """A state's known rewards: the sums of its profile."""

    num_samples: int = 0
    """Samples drawn, scored or not. A pending one counts as not drawn, because its end is missing."""
    num_scored: int = 0
    total: float = 0.0
    low: float = 1.0
    """Smallest reward; 1 if there is none."""
    high: float = 0.0
    """Largest reward; 0 if there is none."""
    num_undecided: int = 0
    """Unproven samples whose reward is null."""

    @property
    def differ(self) -> bool:
        return self.high - self.low > SAME_REWARD

    @property
    def is_mostly_unproven(self) -> bool:
        """Whether enough samples show that the verifier cannot judge this state. Then no more are drawn."""
        return self.num_samples >= UNPROVEN_SAMPLES and 2 * self.num_undecided > self.num_samples


def is_decided(state: Rewards, rule: StoppingRule, min_decided: float = MIN_DECIDED) -> bool:
    """Whether more samples up to K cannot change the selection: a pivot already, or not a pivot with any rewards.

    An unproven sample without a reward counts as 1 to prove a pivot, and as 0 to prove the opposite.
    """
    left = max(rule.num_samples - state.num_samples, 0)
    if left == 0 or state.is_mostly_unproven:
        return True
    if state.num_scored < rule.min_scored:
        return False
    judged = state.num_scored + state.num_undecided + left
    # The same division as in the profile, so that a mean of exactly `max_mean` is decided as selection decides it.
    margin = 0.0 if state.total % 1 == 0 else _ROUNDING
    if state.total / judged >= rule.max_mean + margin:
        return True
    below = (state.total + state.num_undecided + left) / judged < rule.max_mean - margin
    # With an unproven sample, selection also requires a minimum share of decided ones.
    enough = state.num_undecided == 0 or state.num_scored / judged >= min_decided
    return state.differ and below and enough


def least_samples(state: Rewards, rule: StoppingRule) -> int:
    """The minimum number of further samples that could decide the state; 0 if it is decided."""
    left = rule.num_samples - state.num_samples
    for more in range(max(left, 0)):
        # These outcomes decide first: none succeeds, all do, or a single one makes the rewards differ.
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
    """The folder with the plans of one policy and verifier, and their last rule."""
    return run / "plans" / policy_id / verifier_id


def read_rule(run: Path, policy_id: str, verifier_id: str) -> StoppingRule | None:
    """The rule that the policy was last profiled under; None if every state had the same number of samples."""
    path = plans_dir(run, policy_id, verifier_id) / "rule.json"
    if not path.exists():
        return None
    return StoppingRule(**rundir.read_json(path, "delete it and start the same `pivotmine run --adaptive` again"))


def write_rule(run: Path, policy_id: str, verifier_id: str, rule: StoppingRule) -> None:
    """Store the rule before its first plan, so that samples that it stopped are never without it."""
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
    """Samples of a row of `profiles` that reached their end or the budget's."""
    return profile["num_samples"] - (profile.get("num_pending") or 0)


def finished(profiles: pl.DataFrame) -> pl.DataFrame:
    """The profiles without states that an exact run has not finished; a later round would sample them.

    A pilot leaves such states, and so does a start that was killed.
    """
    rows = profiles.filter(pl.col("stopping").is_not_null() & (pl.col("num_scored") > 0)).iter_rows(named=True)
    under_way = [row["state_id"] for row in rows if not _is_finished(row)]
    return profiles.filter(~pl.col("state_id").is_in(under_way)) if under_way else profiles


def _is_finished(row: dict[str, Any]) -> bool:
    rule = StoppingRule.from_json(row["stopping"])
    return rule.rule != "exact" or is_decided(rewards_of(row), rule)


def rule_of(profiles: pl.DataFrame) -> StoppingRule | None:
    """The rule that stopped these profiles; None if none did."""
    stopped = profiles["stopping"].drop_nulls()
    return StoppingRule.from_json(stopped[0]) if len(stopped) else None
