"""Facts about the samples of a state, for the rows of a dataset, and the cost of all samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from pivotmine_stages.policy.record import PolicyRecord
from pivotmine_stages.profiles.budgets import (
    ROW,
    longest_rows,
    parts_of_states,
    rows_of_states,
    sample_blocks,
    scores_of_states,
)
from pivotmine_stages.select.dataset import Mined


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleCost:
    """The cost of the samples of one policy."""

    states: int
    samples: int
    tokens: int | None
    """Sampled tokens; None if the server does not report them."""


def sample_cost(run: Path, mined: Mined) -> SampleCost:
    """Count all samples of the policy. States that were not chosen count too, because the choice needs them."""
    states = samples = tokens = known = 0
    for rows in sample_blocks(run, mined.policy):
        drawn = longest_rows(rows.lazy()).select("state_id", pl.col("num_tokens").cast(pl.Int64)).collect()
        states, samples = states + drawn["state_id"].n_unique(), samples + len(drawn)
        tokens, known = tokens + int(drawn["num_tokens"].sum()), known + drawn["num_tokens"].count()
    return SampleCost(states=states, samples=samples, tokens=tokens if known else None)


def no_entropy(sampling: Mapping[str, Any]) -> str | None:
    """Return what samples with these parameters lack for an entropy, in one line; None if they lack nothing."""
    own = {"temperature": 1, "top_p": 1, "top_k": 0}
    if all(sampling.get(name, value) == value for name, value in own.items()):
        return None
    return "samples of the model's own distribution (--temperature 1, --top-p 1, --top-k 0)"


def entropies(
    run: Path, record: PolicyRecord, state_ids: pl.Series | None = None, *, even: bool = False
) -> pl.DataFrame:
    """Return state_id and `entropy` of the policy's actions in nats, for all states or for `state_ids`.

    -log p of an action sampled from p is an unbiased estimate of the entropy. This is its mean over the samples with
    stored log-probabilities (CARL, arXiv 2512.04949, uses this entropy as a state's criticality). Engines store the
    log-probabilities of the model's own distribution, so the entropy is null for samples of another one (`no_entropy`).
    Long actions have more entropy than short ones. A truncated sample counts with the tokens that it has.
    even: only samples of even index.
    """
    within = pl.col("logprobs") if record.budget is None else pl.col("logprobs").list.head(record.budget)
    wanted = None if state_ids is None else state_ids.unique().to_frame()
    nats = -within.cast(pl.List(pl.Float64)).list.sum()
    if no_entropy(record.sampling):
        nats = pl.lit(None, pl.Float64)
    read = [rows.select(*ROW, nats=nats).collect() for rows in parts_of_states(run, record, wanted)]
    rows = longest_rows(pl.concat(read).lazy())
    if even:
        rows = rows.filter(pl.col("sample_index") % 2 == 0)
    return rows.group_by("state_id").agg(entropy=pl.col("nats").mean()).collect()


def with_samples(run: Path, states: pl.DataFrame, mined: Mined) -> pl.DataFrame:
    """Add `rewards` and `lengths` (in the order of the sample indices), `num_distinct_actions` and `entropy`.

    Only samples under the policy's budget count, with at most its tokens. A state without samples has nulls.
    """
    if mined.verifier_id is None:
        absent = {"rewards": pl.List(pl.Float64), "lengths": pl.List(pl.Int32), "num_distinct_actions": pl.Int32}
        nulls = [pl.lit(None, kind).alias(name) for name, kind in absent.items()]
        return states.with_columns(*nulls, entropy=pl.lit(None, pl.Float64))
    record, ids = mined.policy, states["state_id"]
    scores = scores_of_states(run, record.policy_id, mined.verifier_id, record.budget, ids)
    lengths = rows_of_states(run, record, ids.unique().to_frame()).select(*ROW, "num_tokens")
    is_longer = (pl.col("num_tokens") > pl.lit(record.budget, pl.Int32)).fill_null(False)
    length = pl.when(is_longer).then(pl.lit(record.budget, pl.Int32)).otherwise("num_tokens")
    found = scores.join(lengths, on=ROW, how="left", maintain_order="left").with_columns(length=length)
    found = found.group_by("state_id", maintain_order=True).agg(
        rewards="reward", lengths="length", num_distinct_actions=pl.col("action").n_unique()
    )
    found = found.join(entropies(run, record, ids), on="state_id", how="left")
    return states.drop("entropy", strict=False).join(found, on="state_id", how="left", maintain_order="left")
