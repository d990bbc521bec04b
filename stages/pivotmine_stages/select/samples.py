"""What the samples of a state were, for the rows of a dataset, and what all of them cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from pivotmine_stages.profiles.budgets import ROW, longest_rows, scores_of_states, stored_rows
from pivotmine_stages.select.dataset import Mined


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleCost:
    """What the samples of one policy cost."""

    states: int
    samples: int
    tokens: int | None
    """Sampled tokens; None: the server does not tell."""


def sample_cost(run: Path, mined: Mined) -> SampleCost:
    """Every sample of the policy, those of states that were not chosen too: the choice needs them."""
    drawn = longest_rows(stored_rows(run, mined.policy)).select(
        states=pl.col("state_id").n_unique(),
        samples=pl.len(),
        tokens=pl.col("num_tokens").cast(pl.Int64).sum(),
        known=pl.col("num_tokens").count(),
    )
    row = drawn.collect().row(0, named=True)
    tokens = row["tokens"] if row["known"] else None
    return SampleCost(states=row["states"], samples=row["samples"], tokens=tokens)


def with_samples(run: Path, states: pl.DataFrame, mined: Mined) -> pl.DataFrame:
    """The states with `rewards` and `lengths` in the order of the sample indices, and `num_distinct_actions`.

    Only samples that count under the policy's budget, with at most its tokens. A state without any has null.
    """
    if mined.verifier_id is None:
        absent = {"rewards": pl.List(pl.Float64), "lengths": pl.List(pl.Int32), "num_distinct_actions": pl.Int32}
        return states.with_columns(pl.lit(None, kind).alias(name) for name, kind in absent.items())
    record, ids = mined.policy, states["state_id"]
    scores = scores_of_states(run, record.policy_id, mined.verifier_id, record.budget, ids)
    wanted = ids.unique().to_frame().lazy()
    lengths = stored_rows(run, record).join(wanted, on="state_id", how="semi").select(*ROW, "num_tokens").collect()
    is_longer = (pl.col("num_tokens") > pl.lit(record.budget, pl.Int32)).fill_null(False)
    length = pl.when(is_longer).then(pl.lit(record.budget, pl.Int32)).otherwise("num_tokens")
    found = scores.join(lengths, on=ROW, how="left", maintain_order="left").with_columns(length=length)
    found = found.group_by("state_id", maintain_order=True).agg(
        rewards="reward", lengths="length", num_distinct_actions=pl.col("action").n_unique()
    )
    return states.join(found, on="state_id", how="left", maintain_order="left")
