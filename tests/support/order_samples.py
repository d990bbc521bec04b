"""The small policy's samples in the states of twelve orders."""

from pathlib import Path
from typing import Any

import polars as pl

from pivotmine.run.rundir import scan
from pivotmine_stages.cli.options import rollout
from pivotmine_stages.rollout.stage import RolloutSummary

NUM_ORDERS = 12


def sample(run: Path, model: Path, **options: Any) -> RolloutSummary:
    settings: dict[str, Any] = {"engine": "transformers", "num_samples": 3, "max_new_tokens": 6, "batch_size": 16}
    settings |= {"verifier": "tool_call"}  # messages have none
    return rollout({}, run=run, model=str(model), **{**settings, **options})


def rows(run: Path) -> pl.DataFrame:
    return scan(run, "rollouts").collect().sort("state_id", "sample_index")


def keys(run: Path) -> list[tuple[str, int]]:
    return list(rows(run).select("state_id", "sample_index").iter_rows())


def calling_states(run: Path) -> set[str]:
    turns = scan(run, "turns").filter(pl.col("kind") == "tool_call").collect()
    return set(turns["state_id"])
