"""Which turns are demonstrations: not those that the source masks, that failed, or of trajectories that did badly.

What one turn says is known as it is read. How good a trajectory must be depends on the best outcome label of all
sources, so the turns settle last.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl

from pivotmine import messages, rundir
from pivotmine.actions import Action
from pivotmine.inert import one_line
from pivotmine.tables import TABLES

LOW_OUTCOME = "low_outcome"


def turn_problem(segment: list[dict[str, Any]], position: int, action: Action) -> tuple[str | None, str]:
    """Why a turn is not worth imitating, whatever its trajectory's outcome: (reason or None, detail)."""
    message = segment[position]
    if message.get("weight") == 0 or message.get("is_demo") is True:
        return "masked", "the source excludes it from training"
    if action.unparsed:
        return "bad_arguments", action.unparsed[0].reason
    if not action.tool_calls and not action.message:
        return "empty_turn", "neither text nor call"
    for result in _results(segment, position) if action.tool_calls else ():
        if messages.call_failed([result]):
            return "failed_call", one_line(messages.text_of(result.get("content")))[:200]
    return None, ""


def _results(segment: list[dict[str, Any]], position: int) -> list[dict[str, Any]]:
    end = position + 1
    while end < len(segment) and segment[end]["role"] in ("tool", "function"):
        end += 1
    return segment[position + 1 : end]


def least_outcome(labels: Iterable[tuple[float | None, float]]) -> float | None:
    """The best of (outcome, the format's failure label); infinity where all fail, None where nothing is labelled."""
    labelled = [(outcome, failure) for outcome, failure in labels if outcome is not None]
    if not labelled:
        return None
    return max((outcome for outcome, failure in labelled if outcome > failure), default=math.inf)


def settle_turns(folder: Path, min_outcome: float | None) -> pl.DataFrame:
    """Mark the turns of trajectories below the least outcome, and write their rejects.

    Returns state_id and reject_reason of every turn.
    """
    trajectories = rundir.scan(folder, "trajectories").select("trajectory_id", "source", "source_index").collect()
    floor = -math.inf if min_outcome is None else min_outcome
    kept: list[pl.DataFrame] = []
    for path in rundir.table_files(folder, "turns"):
        turns = rundir.scan(folder, "turns", [path]).collect()
        low = pl.col("reject_reason").is_null() & (pl.col("outcome") < floor).fill_null(value=False)
        lost = turns.filter(low).join(trajectories, on="trajectory_id", how="left", maintain_order="left")
        turns = turns.with_columns(reject_reason=pl.when(low).then(pl.lit(LOW_OUTCOME)).otherwise("reject_reason"))
        if not lost.is_empty():
            rundir.write_table(path, turns.to_arrow().cast(TABLES["turns"]))
            rundir.write_table(
                folder / "rejects" / f"low-{path.name}", _rejects(lost).to_arrow().cast(TABLES["rejects"])
            )
        kept.append(turns.select("state_id", "reject_reason"))
    return pl.concat(kept)


def _rejects(turns: pl.DataFrame) -> pl.DataFrame:
    return turns.select(
        pl.lit("extract").alias("stage"),
        pl.lit(LOW_OUTCOME).alias("reason"),
        "source",
        "source_index",
        "trajectory_id",
        "turn_id",
        "state_id",
        pl.lit(1, pl.Int32).alias("num_turns"),
        (pl.lit("outcome ") + pl.col("outcome").cast(pl.String)).alias("detail"),
    )
