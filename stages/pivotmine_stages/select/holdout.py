"""Two profiles of every state, from separate samples: one to choose by, one to report.

States that pass `mean < max_mean` tend to have unlucky samples. By the same samples their reported means would be below
their success rates, and a trainer's first evaluation would "improve" on them by chance alone.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from pivotmine.run import rundir
from pivotmine.run.parts import require_sound
from pivotmine.run.states import demonstrated_turns
from pivotmine.stats.profiles import profile
from pivotmine_stages.policy.record import PolicyRecord
from pivotmine_stages.profiles.budgets import counts_of, scores_under
from pivotmine_stages.profiles.posteriors import with_posteriors


def split_profiles(
    run: Path, profiles: pl.DataFrame, record: PolicyRecord, samples: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Profile the states by the samples of even index, and by those of odd index.

    profiles: of one policy and verifier. samples: the result of `samples_under` for the policy's budget.
    """
    if profiles.is_empty():
        return profiles, profiles
    policy_id, verifier_id = profiles.select("policy_id", "verifier_id").row(0)
    parts = require_sound(run, "scores", run / "scores" / policy_id / verifier_id)
    turns, halves = demonstrated_turns(run), list[pl.DataFrame]()
    every = samples.select("state_id").unique()
    for parity in (0, 1):
        mine = samples.filter(pl.col("sample_index") % 2 == parity)
        counts = every.join(counts_of(mine), on="state_id", how="left").fill_null(0)
        states = counts.join(profiles.select("state_id", "gate"), on="state_id", how="left")
        scores = scores_under(rundir.scan(run, "scores", parts), mine, record)
        ids = {"policy_id": policy_id, "verifier_id": verifier_id}
        half = pl.DataFrame(profile(scores, states, budget=record.budget, **ids))
        halves.append(with_posteriors(run, turns, half).with_columns(stopping=pl.lit(None, pl.String)))
    return halves[0], halves[1]
