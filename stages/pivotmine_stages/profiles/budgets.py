"""The samples of a policy under one token budget: which row of `rollouts` counts for each of them, and how.

A sample keeps its index while its budget grows: each row of it begins with the tokens of the row before. So the row
with the largest budget tells every smaller one: a sample with more tokens than the budget is truncated under it. A
sample that a smaller budget cut is pending: its end is not known, and to count it as 0, or to draw it again, would
favour short replies. It waits until `rollout` continues it from its tokens.

Where a server returns no token ids, nothing can be continued, and the lengths that a smaller budget needs are not
known. Samples that cannot be told are replaced: they do not count, and `rollout` draws the state's samples under new
indices. All of the state's samples that were drawn so go with a cut one, not that one alone.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from pivotmine.run import rundir
from pivotmine.run.parts import require_sound
from pivotmine.verifiers import Outcome
from pivotmine_stages.policy.record import PolicyRecord, is_sampled, load_policy

TOLD, LONGER, PENDING, REPLACED = "told", "longer", "pending", "replaced"
"""What a sample is under a budget: its row's verdict holds, or it is truncated, waiting, or of no use."""
SAMPLE = ("state_id", "sample_index")
ROW = (*SAMPLE, "budget")


def stored_rows(run: Path, record: PolicyRecord) -> pl.LazyFrame:
    """The rows of `rollouts` of a policy, each with its budget; a budget that nobody knows is 0."""
    parts = require_sound(run, "rollouts", run / "rollouts" / record.policy_id, may_lack=True)
    return rundir.scan(run, "rollouts", parts).with_columns(known_budget(record))


def known_budget(record: PolicyRecord) -> pl.Expr:
    """`budget` of a row of `rollouts` or `scores` of the policy; 0: nobody knows it."""
    return pl.col("budget").fill_null(record.first_budget or 0)


def longest_rows(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Of each sample the row with the largest budget."""
    return rows.sort("budget").unique(SAMPLE, keep="last")


def samples_under(run: Path, record: PolicyRecord, budget: int | None) -> pl.DataFrame:
    """A row per sample: state_id, sample_index, `budget` of the row that counts, and `status` (TOLD, ...).

    budget: None for samples that were recorded elsewhere, whose budgets nobody knows: all of them count.
    """
    return under(_told_of(stored_rows(run, record)), budget)


def under(rows: pl.DataFrame, budget: int | None) -> pl.DataFrame:
    """`samples_under` of given rows: state_id, sample_index, budget, num_tokens, cut, has_tokens."""
    limit = pl.lit(budget, pl.Int32)
    # The row of this very budget first: it is the sample under it. Else the longest one, which tells all smaller ones.
    chosen = rows.sort((pl.col("budget") == limit).fill_null(False), "budget", maintain_order=True).unique(
        SAMPLE, keep="last", maintain_order=True
    )
    if budget is None:
        return chosen.select(*ROW, status=pl.lit(TOLD))
    smaller, larger = pl.col("budget") < budget, pl.col("budget") > budget
    lost = smaller & pl.col("cut") & ~pl.col("has_tokens")
    replaced = pl.when(smaller).then(lost.any().over("state_id")).otherwise(larger & pl.col("num_tokens").is_null())
    status = (
        pl.when(replaced & ~(smaller & pl.col("has_tokens")))
        .then(pl.lit(REPLACED))
        .when(smaller & pl.col("cut"))
        .then(pl.lit(PENDING))
        .when(larger & (pl.col("cut") | (pl.col("num_tokens") > budget)))
        .then(pl.lit(LONGER))
        .otherwise(pl.lit(TOLD))
    )
    return chosen.select(*ROW, status=status)


def unread_as_pending(samples: pl.DataFrame, states: list[str]) -> pl.DataFrame:
    """The samples; pending are those of the given states that are longer than the budget.

    The verifier of those states reads truncated samples too, so it must see them as the budget cuts them: `rollout`
    with this budget writes that row.
    """
    unread = (pl.col("status") == LONGER) & pl.col("state_id").is_in(states)
    return samples.with_columns(status=pl.when(unread).then(pl.lit(PENDING)).otherwise("status"))


def counts_of(samples: pl.DataFrame) -> pl.DataFrame:
    """state_id, num_samples and num_pending of every state with samples that count."""
    counted = samples.filter(pl.col("status") != REPLACED)
    return counted.group_by("state_id", maintain_order=True).agg(
        num_samples=pl.len().cast(pl.Int32), num_pending=(pl.col("status") == PENDING).sum().cast(pl.Int32)
    )


def first_samples(samples: pl.DataFrame, count: int) -> pl.DataFrame:
    """Of each state the first `count` samples that count."""
    counted = samples.filter(pl.col("status") != REPLACED)
    return counted.filter(pl.col("sample_index").rank("ordinal").over("state_id") <= count)


def budget_of(profiles: pl.DataFrame, record: PolicyRecord) -> int | None:
    """The token budget of the profiles of a policy; profiles of an older version do not name it."""
    return next(iter(profiles["budget"].drop_nulls()), record.first_budget)


def problem_of(profiles: pl.DataFrame, samples: pl.DataFrame, record: PolicyRecord) -> str | None:
    """In a few words why the profiles are not those of the samples under the policy's budget; None: they are."""
    if not profiles.is_empty() and budget_of(profiles, record) != record.budget:
        return f"of a budget of {budget_of(profiles, record)} tokens, and the policy's is {record.budget}"
    counts = counts_of(samples)
    told = int((samples["status"] == TOLD).sum())
    longer = int((samples["status"] == LONGER).sum())
    known = int((profiles["num_samples"] - profiles["num_pending"]).sum())
    if counts["num_samples"].sum() != profiles["num_samples"].sum() or not told <= known <= told + longer:
        return "of fewer samples than there are"
    return None


def scores_under(scores: pl.LazyFrame, samples: pl.DataFrame, record: PolicyRecord) -> pl.DataFrame:
    """The rows of `scores` that count, as they count: a sample longer than the budget is truncated and earns 0.

    samples: those of `samples_under`; pending and replaced ones have no row.
    """
    told = samples.filter(pl.col("status").is_in([TOLD, LONGER]))
    joined = scores.with_columns(known_budget(record)).join(told.lazy(), on=ROW, how="inner").collect()
    is_longer = pl.col("status") == LONGER
    return joined.with_columns(
        reward=pl.when(is_longer).then(0.0).otherwise("reward"),
        outcome=pl.when(is_longer).then(pl.lit(str(Outcome.TRUNCATED))).otherwise("outcome"),
        detail=pl.when(~is_longer).then("detail"),
    ).drop("status")


def scores_of_states(
    run: Path, policy_id: str, verifier_id: str, budget: int | None, state_ids: pl.Series
) -> pl.DataFrame:
    """The rows of `scores` that count for these states under a budget, in the order of the samples.

    Where the samples are gone, all rows that there are.
    """
    parts = require_sound(run, "scores", run / "scores" / policy_id / verifier_id)
    wanted = state_ids.unique().to_frame("state_id").lazy()
    scores = rundir.scan(run, "scores", parts).join(wanted, on="state_id", how="semi")
    if not is_sampled(run, policy_id):
        return scores.sort(SAMPLE).collect()
    record = load_policy(run, policy_id)
    samples = under(_told_of(stored_rows(run, record).join(wanted, on="state_id", how="semi")), budget)
    return scores_under(scores, samples, record).sort(SAMPLE)


def _told_of(rows: pl.LazyFrame) -> pl.DataFrame:
    """What `under` asks of rows of `rollouts`."""
    cut = (pl.col("finish_reason") == "length").fill_null(False)
    has_tokens = pl.col("num_tokens").is_not_null() & pl.col("message").is_null()
    return rows.select(*ROW, "num_tokens", cut=cut, has_tokens=has_tokens).collect()
