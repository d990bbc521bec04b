"""Compare the stored scores of two verifiers on the same samples."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from pivotmine.run import rundir

SAME_REWARD = 1e-6
"""Rewards agree if they differ by at most this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Two verifiers on the same samples."""

    one: str
    """Verifier id."""
    other: str
    samples: int
    """Samples with a reward from both."""
    agree: int
    """Samples with the same reward."""
    only_one_higher: int
    """Samples with the higher reward from `one`."""
    only_other_higher: int
    null: int
    """Samples without a reward from at least one of them."""
    examples: list[dict[str, Any]]
    """Samples on which they disagree, one for each state and action, the greatest differences first."""


def outcome_rates(run: Path, policy_id: str) -> list[dict[str, Any]]:
    """Return rows of verifier_id, outcome, samples and share, by verifier and then by number of samples."""
    scores = _scores(run, policy_id).group_by("verifier_id", "outcome").agg(samples=pl.len())
    share = pl.col("samples") / pl.col("samples").sum().over("verifier_id")
    ordered = scores.with_columns(share=share).sort(
        "verifier_id", "samples", "outcome", descending=[False, True, False]
    )
    return ordered.collect().to_dicts()


def agreements(run: Path, policy_id: str, num_examples: int) -> list[Agreement]:
    """Compare each two verifiers that scored the policy."""
    verifier_ids = sorted(path.name for path in (run / "scores" / policy_id).glob("*") if path.is_dir())
    return [
        _agreement(_scores(run, policy_id), one, other, num_examples)
        for one, other in itertools.combinations(verifier_ids, 2)
    ]


def _scores(run: Path, policy_id: str) -> pl.LazyFrame:
    """Return each sample's row with the largest token budget."""
    rows = rundir.scan(run, "scores", sorted((run / "scores" / policy_id).glob("*/part-*.parquet")))
    longest = rows.sort("budget", nulls_last=False, maintain_order=True)
    return longest.unique(["verifier_id", "state_id", "sample_index"], keep="last", maintain_order=True)


def _agreement(scores: pl.LazyFrame, one: str, other: str, num_examples: int) -> Agreement:
    left, right = (scores.filter(pl.col("verifier_id") == verifier_id) for verifier_id in (one, other))
    on = ["state_id", "sample_index", "budget"]
    both = left.join(right, on=on, suffix="_other", nulls_equal=True).collect()
    known = both.drop_nulls(["reward", "reward_other"])
    gap = (pl.col("reward") - pl.col("reward_other")).alias("gap")
    apart = known.with_columns(gap).filter(pl.col("gap").abs() > SAME_REWARD)
    examples = (
        apart.unique(["state_id", "action"], keep="first", maintain_order=True)
        .sort(pl.col("gap").abs(), "state_id", "action", descending=[True, False, False])
        .head(num_examples)
        .select("state_id", "action", "reward", "outcome", "detail", "reward_other", "outcome_other", "detail_other")
    )
    return Agreement(
        one=one,
        other=other,
        samples=len(known),
        agree=len(known) - len(apart),
        only_one_higher=apart.filter(pl.col("gap") > 0).height,
        only_other_higher=apart.filter(pl.col("gap") < 0).height,
        null=len(both) - len(known),
        examples=examples.to_dicts(),
    )
