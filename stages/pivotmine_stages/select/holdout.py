"""Two profiles of every state, from samples that know nothing of each other: one to choose by, one to report.

Chosen by the same samples, the states that pass `mean < max_mean` are those whose samples were unlucky: their means
are below their success rates, and a trainer's first measure would "improve" on them by chance alone.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from pivotmine.run import rundir
from pivotmine.run.parts import require_sound
from pivotmine.run.states import demonstrated_turns
from pivotmine.stats.profiles import profile
from pivotmine_stages.profiles.posteriors import with_posteriors


def split_profiles(run: Path, profiles: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The profiles of one policy and verifier, by the samples of even and of odd index."""
    if profiles.is_empty():
        return profiles, profiles
    identity = dict(zip(("policy_id", "verifier_id"), profiles.select("policy_id", "verifier_id").row(0), strict=True))
    folder = run / "scores" / identity["policy_id"] / identity["verifier_id"]
    scores = rundir.scan(run, "scores", require_sound(run, "scores", folder)).collect()
    parts = require_sound(run, "rollouts", run / "rollouts" / identity["policy_id"])
    drawn = rundir.scan(run, "rollouts", parts).select("state_id", "sample_index").collect()
    turns, halves = demonstrated_turns(run), list[pl.DataFrame]()
    for parity in (0, 1):
        mine = pl.col("sample_index") % 2 == parity
        counts = drawn.group_by("state_id").agg(num_samples=mine.sum().cast(pl.Int32))
        states = counts.join(profiles.select("state_id", "gate"), on="state_id", how="left")
        half = pl.DataFrame(profile(scores.filter(mine), states, **identity))
        halves.append(with_posteriors(run, turns, half).with_columns(stopping=pl.lit(None, pl.String)))
    return halves[0], halves[1]
