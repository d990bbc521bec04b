"""States that are never solved: deferred, not rejected.

K failures do not show that a success rate is 0. The posterior says how likely a rate above 1 % still is, and a later
round at a higher temperature may solve the state. It is different if a demonstration is almost impossible under the
policy: then a fault of format or verifier is more likely than a hard state.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import duckdb
import polars as pl

from pivotmine.counts import counted
from pivotmine.stats.beta import cdf

MIN_RATE = 0.01
"""Success rate above which a state is worth another look."""
MIN_LOGPROB = math.log(1e-6)
"""A demonstration less likely than this suggests a fault of format or verifier, not a hard state."""


class NeverStates(NamedTuple):
    states: int
    expected: float
    """Expected number of these states, by the posterior, with a success rate above MIN_RATE."""

    def words(self) -> str:
        """The two figures as a sentence."""
        return (
            f"{counted(self.states, 'state was', 'states were')} never solved; "
            f"by the posterior about {self.expected:,.0f} of them succeed in more than {MIN_RATE:.0%} of all samples"
        )


def never_states(profiles: pl.DataFrame) -> NeverStates | None:
    """The number of states of class `never`, and how many of them probably succeed at times; None if there are none."""
    never = profiles.filter(pl.col("reward_class") == "never").select("posterior_alpha", "posterior_beta")
    chances = [solvable_probability(a, b) for a, b in never.drop_nulls().iter_rows()]
    return NeverStates(len(never), sum(chances)) if len(never) else None


def solvable_probability(a: float, b: float) -> float:
    """P(success rate > MIN_RATE) under Beta(a, b)."""
    return 1 - cdf(MIN_RATE, a, b)


def unlikely_demonstrations(
    connection: duckdb.DuckDBPyConnection, policy_id: str, verifier_id: str
) -> list[tuple[str, float]]:
    """(state_id, natural log-probability) of unsolved states with almost impossible demonstrations, worst first.

    Solved states are left out: they show that format and verifier work. Only demonstrations in `triage` are known.
    """
    return connection.execute(_UNLIKELY, [policy_id, policy_id, verifier_id, MIN_LOGPROB]).fetchall()


_UNLIKELY = """
    select state_id, max(logprob) as best from triage
    where policy_id = ? and logprob is not null
        and state_id in (
            select state_id from profiles
            where policy_id = ? and verifier_id = ? and coalesce(max_reward, 0) <= 0
        )
    group by state_id having best < ? order by best, state_id
"""
