"""The samples that rollout still has to draw: those of eligible states that are not stored."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from pivotmine.counts import counted
from pivotmine.errors import UserError
from pivotmine.run import rundir
from pivotmine.run.states import demonstrated_turns
from pivotmine.verifiers import VerifierSpec
from pivotmine_stages.profiles.budgets import PENDING, REPLACED
from pivotmine_stages.profiles.gate import Gate, as_reject, gate_states, reject_reason
from pivotmine_stages.rollout.options import MAX_SAMPLES

MIN_JUDGED = 256
"""Minimum number of states judged at a time until a limit is reached, since each time reads the turns again."""


class Eligible(NamedTuple):
    states: pl.DataFrame
    """The first demonstrated turn of each state that passes the gate, in the order of the sources."""
    rejects: list[dict[str, Any]]
    """The rejects of this shard's states that fail it. Only one shard rejects a state."""


def eligible_states(
    run: Path,
    verifier: VerifierSpec,
    shard: tuple[int, int],
    *,
    plan: Path | None = None,
    limit: int | None = None,
) -> Eligible:
    """The states that may be sampled.

    Only the states that are needed are judged: the plan's, or else the shard's; with a limit, states in order until
    that many pass.
    """
    turns = demonstrated_turns(run)
    counts = turns.group_by("state_id").agg(pl.len().cast(pl.Int32).alias("num_turns"))
    states = turns.unique("state_id", keep="first", maintain_order=True).join(
        counts, on="state_id", maintain_order="left"
    )
    if plan is not None:
        states = states.join(_read_plan(plan), on="state_id", how="semi", maintain_order="left")
    elif limit is None:
        states = _of_shard(states, shard)
    gates: dict[str, Gate] = {}
    num_passing, wanted = 0, len(states) if limit is None else limit
    while num_passing < wanted and len(gates) < len(states):
        batch = states.slice(len(gates), max(wanted - num_passing, MIN_JUDGED))
        found = gate_states(run, turns.join(batch, on="state_id", how="semi", maintain_order="left"), verifier)
        num_passing += sum(bool(gate.usable) for gate in found.values())
        gates |= found
    passing = pl.Series("passes", [bool(gate.usable) for gate in gates.values()], pl.Boolean)
    judged = states.head(len(gates)).with_columns(passing)
    # A batch may judge more states than the limit needs. Drop those: the result must not depend on the batch size.
    before = pl.col("passes").cum_sum() - pl.col("passes").cast(pl.UInt32)
    judged = judged.filter(before < wanted)
    rejects = [
        as_reject("rollout", reject_reason(gates[turn["state_id"]].gate), turn, gates[turn["state_id"]].detail)
        for turn in _of_shard(judged.filter(~pl.col("passes")), shard).iter_rows(named=True)
    ]
    return Eligible(judged.filter("passes").drop("passes"), rejects)


def wanted_samples(
    eligible: pl.DataFrame, *, num_samples: int, plan: Path | None, limit: int | None, shard: tuple[int, int]
) -> pl.DataFrame:
    """This command's states with `num_samples` (the plan's, or the same for all), after the limit and then the
    shard."""
    if plan is not None:
        states = eligible.join(_known_plan(plan, eligible), on="state_id", maintain_order="left")
    else:
        states = eligible.with_columns(num_samples=pl.lit(num_samples, pl.Int32))
    return _of_shard(first_states(states, limit), shard)


def first_states(states: pl.DataFrame, limit: int | None) -> pl.DataFrame:
    """The first `limit` states; all if it is None."""
    return states if limit is None else states.head(min(limit, len(states)))  # polars takes no number of over 64 bits


def _of_shard(states: pl.DataFrame, shard: tuple[int, int]) -> pl.DataFrame:
    """The states of one shard: trajectories are assigned by their id, and stay whole for the prefix cache's sake."""
    i, n = shard
    share = pl.col("trajectory_id").str.slice(0, 8).str.to_integer(base=16) % n
    return states.filter(share == i) if n > 1 else states


def _known_plan(path: Path, eligible: pl.DataFrame) -> pl.DataFrame:
    """The plan's rows; UserError if one of its states is not eligible."""
    plan = _read_plan(path)
    unknown = plan.join(eligible, on="state_id", how="anti")
    if not unknown.is_empty():
        example = unknown["state_id"][0]
        raise UserError(
            f"--plan {path}: {counted(len(unknown), 'state is', 'states are')} not eligible in this run, "
            f"{example} for example"
        )
    return plan


def _read_plan(path: Path) -> pl.DataFrame:
    readers = {".parquet": pl.read_parquet, ".csv": pl.read_csv, ".jsonl": pl.read_ndjson}
    if path.suffix not in readers:
        raise UserError(f"--plan {path}: not a .parquet, .csv or .jsonl file with columns state_id and num_samples")
    try:
        # Pass the bytes: polars would expand a path that looks like a pattern.
        given = readers[path.suffix](io.BytesIO(path.read_bytes())).select(
            pl.col("state_id").cast(pl.String), pl.col("num_samples").cast(pl.Float64)
        )
        plan = given.cast({"num_samples": pl.Int32})
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"--plan {path} cannot be read: {str(error).splitlines()[0]}") from None
    if (
        plan["state_id"].is_duplicated().any()
        or plan.null_count().sum_horizontal().item()
        or not given["num_samples"].is_between(0, MAX_SAMPLES).all()
        or (given["num_samples"] != plan["num_samples"]).any()
    ):
        raise UserError(
            f"--plan {path}: needs one row per state, with a whole number of samples from 0 to {MAX_SAMPLES}"
        )
    return plan


def missing_samples(samples: pl.DataFrame, wanted: pl.DataFrame) -> pl.DataFrame:
    """The wanted states that lack samples, with the sample indices `missing` (to be drawn) and `pending`.

    All pending samples of a state can be continued. samples: the rows of `samples_under`; the index of a replaced
    sample is not used again.
    """
    status, index = pl.col("status"), pl.col("sample_index")
    lists = {
        "done": index.filter(status != REPLACED),
        "replaced": index.filter(status == REPLACED),
        "pending": index.filter(status == PENDING).sort(),
    }
    known = samples.group_by("state_id").agg(**lists)
    stored = wanted.join(known, on="state_id", how="left", maintain_order="left")
    stored = stored.with_columns(pl.col(name).fill_null([]) for name in lists)
    usable = pl.int_ranges(0, pl.col("num_samples") + pl.col("replaced").list.len(), dtype=pl.Int32)
    usable = usable.list.set_difference("replaced").list.sort().list.head("num_samples")
    found = stored.with_columns(missing=usable.list.set_difference("done").list.sort())
    is_pending = (pl.col("pending").list.len() > 0) & (pl.col("num_samples") > 0)
    return found.filter((pl.col("missing").list.len() > 0) | is_pending).drop("done", "replaced")


def in_prefix_order(run: Path, states: pl.DataFrame) -> pl.DataFrame:
    """Sort whole trajectories so that those with a common beginning are neighbours, for the sake of prefix caches.

    The order is by tools, then message by message (message ids hash the content), as in a prefix tree. The states of a
    trajectory keep their order.
    """
    begins = states.unique("trajectory_id", keep="first").select("trajectory_id", "segment_id", "tools_id")
    messages = rundir.scan(run, "segments").select("segment_id", pl.col("message_ids").list.join(" ")).collect()
    place = begins.join(messages, on="segment_id").sort("tools_id", "message_ids", "trajectory_id")
    place = place.select("trajectory_id").with_row_index("place")
    return (
        states.join(place, on="trajectory_id", maintain_order="left").sort("place", maintain_order=True).drop("place")
    )
