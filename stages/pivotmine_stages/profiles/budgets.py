"""The samples of a policy under one token budget: which row of `rollouts` counts for each of them, and how.

A sample keeps its index while its budget grows, and each of its rows begins with the tokens of the row before. So the
row with the largest budget is enough for every smaller one: a sample with more tokens than the budget is truncated
under it. A sample that a smaller budget cut is pending, because its end is unknown. To count it as 0, or to draw it
again, would favour short replies. It waits until `rollout` continues it from its tokens.

If a server returns no token ids, nothing can be continued, and the lengths that a smaller budget needs are unknown.
Such samples are replaced: they do not count, and `rollout` draws the state's samples again under new indices. If one of
these samples was cut, all of the state are replaced, not only that one.

A run may have more samples than fit in memory, so they come in blocks of whole states. A state's samples may be in any
part of `rollouts`, because rounds and budgets add to them. Each part is read once. Until its block's turn, a row takes
20 to 30 bytes: the columns that a budget needs, and a hash of its state.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

import polars as pl

from pivotmine.run import rundir
from pivotmine.run.parts import require_sound
from pivotmine.verifiers import Outcome
from pivotmine_stages.policy.record import PolicyRecord, is_sampled, load_policy

TOLD, LONGER, PENDING, REPLACED = "told", "longer", "pending", "replaced"
"""Status of a sample under a budget: its row's verdict holds; it is truncated; it waits to be continued; it does not
count."""
SAMPLE = ("state_id", "sample_index")
ROW = (*SAMPLE, "budget")
ROWS_PER_BLOCK = 1 << 18
"""Rows of `rollouts` in a block, on average."""


def stored_rows(run: Path, record: PolicyRecord) -> pl.LazyFrame:
    """The rows of `rollouts` of a policy, each with its budget; an unknown budget is 0."""
    parts = require_sound(run, "rollouts", run / "rollouts" / record.policy_id, may_lack=True)
    return rundir.scan(run, "rollouts", parts).with_columns(known_budget(record))


def known_budget(record: PolicyRecord) -> pl.Expr:
    """`budget` of a row of `rollouts` or `scores` of the policy; 0 if unknown."""
    return pl.col("budget").fill_null(record.first_budget or 0)


def longest_rows(rows: pl.LazyFrame) -> pl.LazyFrame:
    """The row with the largest budget of each sample."""
    return rows.sort("budget").unique(SAMPLE, keep="last")


def samples_under(run: Path, record: PolicyRecord, budget: int | None) -> pl.DataFrame:
    """A row per sample: state_id, sample_index, `budget` of the row that counts, and `status` (TOLD, ...).

    budget: None for samples recorded elsewhere. Their budgets are unknown, and all of them count.
    """
    return pl.concat(under(rows, budget) for rows in sample_blocks(run, record))


def sample_blocks(run: Path, record: PolicyRecord, scores: Path | None = None) -> Iterator[pl.DataFrame]:
    """The rows of `rollouts` of a policy in blocks (at least one): all rows of a state, in the order of the parts.

    Columns: those that `under` needs. scores: a folder of `scores`. It adds `reward` and `outcome` of the row's
    verdict, and `is_judged`, which is false if the row has no verdict.
    """
    paths = [None, *require_sound(run, "rollouts", run / "rollouts" / record.policy_id, may_lack=True)]
    # Hashes stand for ids to save memory. If two ids of this run have the same hash, another seed is tried.
    seeds = (_keyed_parts(run, record, paths, seed, scores) for seed in count())
    states, parts = next(found for found in seeds if found[0]["key"].n_unique() == len(found[0]))
    num_blocks = 1 + sum(len(part) for part in parts) // ROWS_PER_BLOCK
    for number in range(num_blocks):
        is_own = pl.col("key") % num_blocks == number
        rows = pl.concat(part.filter(is_own) for part in parts)
        named = rows.join(states.filter(is_own), on="key", how="left", maintain_order="left")
        named = named.select("state_id", pl.exclude("state_id", "key"))
        yield named if scores is None else named.with_columns(pl.col("outcome").cast(pl.String))


def _keyed_parts(
    run: Path, record: PolicyRecord, paths: list[Path | None], seed: int, scores: Path | None
) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """The states of all parts, once each, and the rows of each part."""
    read = [_keyed_part(run, record, path, seed, scores) for path in paths]
    states = pl.concat(own for own, _ in read).unique("state_id", maintain_order=True)
    return states, [rows for _, rows in read]


def _keyed_part(
    run: Path, record: PolicyRecord, path: Path | None, seed: int, scores: Path | None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The states of a part with their `key`, and its rows with `key` instead of `state_id`; path None gives no rows."""
    keyed = pl.col("state_id").hash(seed).alias("key")
    rows = rundir.scan(run, "rollouts", [path] if path else []).with_columns(known_budget(record))
    kept = _needed_columns(rows).with_columns(keyed)
    states, kept = kept.select("state_id", "key").unique(maintain_order=True), kept.drop("state_id")
    if scores is None:
        return states, kept
    files = [scores / path.name] if path and (scores / path.name).exists() else []
    verdicts = rundir.scan(run, "scores", files).with_columns(known_budget(record))
    judged = {"outcome": pl.col("outcome").cast(pl.Categorical), "is_judged": pl.lit(True)}
    verdicts = verdicts.select(keyed, *ROW[1:], "reward", **judged).collect()
    joined = kept.join(verdicts, on=("key", *ROW[1:]), how="left", maintain_order="left")
    return states, joined.with_columns(pl.col("is_judged").fill_null(False))


def prompts_of_states(run: Path, record: PolicyRecord) -> pl.DataFrame:
    """state_id, num_prompt_tokens and prompt_hash of each sampled state. Several hashes in the list mean an error."""
    paths = require_sound(run, "rollouts", run / "rollouts" / record.policy_id)
    tokens, hashes = pl.col("num_prompt_tokens").max(), pl.col("prompt_hash")
    by_part = [
        rundir.scan(run, "rollouts", [path]).group_by("state_id").agg(tokens, hashes.unique().drop_nulls()).collect()
        for path in paths
    ]
    none = rundir.scan(run, "rollouts", []).group_by("state_id").agg(tokens, hashes).collect()
    return pl.concat([none, *by_part]).group_by("state_id").agg(tokens, hashes.explode().unique().drop_nulls())


def exceptions(run: Path, record: PolicyRecord, budget: int | None) -> pl.DataFrame:
    """The rows of `rollouts` whose verdicts do not count as they are: ROW and `is_longer`.

    The longer ones count as truncated, the others not at all.
    """
    found: list[pl.DataFrame] = []
    for rows in sample_blocks(run, record):
        joined = rows.select(ROW).join(under(rows, budget), on=ROW, how="left")
        odd = joined.filter(pl.col("status").ne_missing(TOLD))
        found.append(odd.select(*ROW, is_longer=pl.col("status").eq_missing(LONGER)))
    return pl.concat(found)


class Counts(NamedTuple):
    """Numbers of a policy's samples under a budget."""

    states: int
    """States with samples that count."""
    samples: int
    """Samples that count, including pending ones."""
    pending: int
    told: int
    longer: int


def count_samples(run: Path, record: PolicyRecord, budget: int | None) -> Counts:
    """`samples_under`, counted with memory for one block."""
    found = [0, 0, 0, 0, 0]
    for rows in sample_blocks(run, record):
        samples = under(rows, budget)
        counted, status = counts_of(samples), samples["status"]
        sums = int(counted["num_samples"].sum()), int(counted["num_pending"].sum())
        block = (len(counted), *sums, int((status == TOLD).sum()), int((status == LONGER).sum()))
        found = [a + b for a, b in zip(found, block, strict=True)]
    return Counts(*found)


def under(rows: pl.DataFrame, budget: int | None) -> pl.DataFrame:
    """`samples_under` for rows with state_id, sample_index, budget, num_tokens, cut and has_tokens."""
    limit = pl.lit(budget, pl.Int32)
    # The last row of a sample counts: the one of exactly this budget, else the longest one.
    chosen = rows.sort((pl.col("budget") == limit).fill_null(False), "budget", maintain_order=True).unique(
        SAMPLE, keep="last", maintain_order=True
    )
    if budget is None:
        return chosen.select(*ROW, status=pl.lit(TOLD))
    smaller, larger = pl.col("budget") < budget, pl.col("budget") > budget
    # A cut sample without tokens cannot be continued. Keeping the state's other samples would favour short replies.
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
    """The samples, with the longer ones of these states as pending.

    The verifier of these states also judges truncated samples, so it must see them as this budget cuts them. `rollout`
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
    """The first `count` samples that count of each state."""
    counted = samples.filter(pl.col("status") != REPLACED)
    return counted.filter(pl.col("sample_index").rank("ordinal").over("state_id") <= count)


def budget_of(profiles: pl.DataFrame, record: PolicyRecord) -> int | None:
    """The token budget of a policy's profiles; older profiles do not have it, so theirs is the first budget."""
    return next(iter(profiles["budget"].drop_nulls()), record.first_budget)


def problem_of(profiles: pl.DataFrame, samples: Counts, record: PolicyRecord) -> str | None:
    """Why the profiles do not match the samples under the policy's budget, in a few words; None if they do."""
    if not profiles.is_empty() and budget_of(profiles, record) != record.budget:
        return f"of a budget of {budget_of(profiles, record)} tokens, and the policy's is {record.budget}"
    known = int((profiles["num_samples"] - profiles["num_pending"]).sum())
    is_known = samples.told <= known <= samples.told + samples.longer
    return None if is_known and samples.samples == profiles["num_samples"].sum() else "of fewer samples than there are"


def scores_under(scores: pl.LazyFrame, samples: pl.DataFrame, record: PolicyRecord) -> pl.DataFrame:
    """The rows of `scores` that count under a budget. A sample longer than the budget is truncated and earns 0.

    samples: from `samples_under`; pending and replaced ones have no row.
    """
    counted = samples.filter(pl.col("status").is_in([TOLD, LONGER]))
    joined = scores.with_columns(known_budget(record)).join(counted.lazy(), on=ROW, how="inner").collect()
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

    If the samples are gone, all stored rows count.
    """
    parts = require_sound(run, "scores", run / "scores" / policy_id / verifier_id)
    wanted = state_ids.unique().to_frame("state_id")
    scores = pl.concat(_of_states(run, "scores", path, wanted).collect() for path in [None, *parts])
    if not is_sampled(run, policy_id):
        return scores.sort(SAMPLE)
    record = load_policy(run, policy_id)
    samples = under(rows_of_states(run, record, wanted), budget)
    return scores_under(scores.lazy(), samples, record).sort(SAMPLE)


def rows_of_states(run: Path, record: PolicyRecord, wanted: pl.DataFrame) -> pl.DataFrame:
    """The rows of `rollouts` of some states (`state_id`), with the columns that `under` needs."""
    return pl.concat(_needed_columns(rows) for rows in parts_of_states(run, record, wanted))


def parts_of_states(run: Path, record: PolicyRecord, wanted: pl.DataFrame | None) -> Iterator[pl.LazyFrame]:
    """`stored_rows` of some states (column `state_id`; of all if None), part by part, because one part fits in memory.

    At least one part, perhaps empty.
    """
    paths = require_sound(run, "rollouts", run / "rollouts" / record.policy_id, may_lack=True)
    for path in [None, *paths]:
        yield _of_states(run, "rollouts", path, wanted).with_columns(known_budget(record))


def _of_states(run: Path, table: str, path: Path | None, wanted: pl.DataFrame | None) -> pl.LazyFrame:
    """The rows of one part (empty if path is None) that belong to some states (to all if wanted is None)."""
    rows = rundir.scan(run, table, [path] if path else [])
    if wanted is None:
        return rows
    return rows.join(wanted.lazy(), on="state_id", how="semi", maintain_order="left")


def _needed_columns(rows: pl.LazyFrame) -> pl.DataFrame:
    """The columns that `under` needs."""
    cut = (pl.col("finish_reason") == "length").fill_null(False)
    has_tokens = pl.col("num_tokens").is_not_null() & pl.col("message").is_null()
    return rows.select(*ROW, "num_tokens", cut=cut, has_tokens=has_tokens).collect()
