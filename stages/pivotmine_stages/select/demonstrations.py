"""The third split: a fair random sample of all demonstrated states, pivots or not, for a loss on demonstrated actions.

A state that a held-out task has met is left out, whichever row it has. Every other state has the same chance, the
states of which nothing is known too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from pivotmine.run import rundir
from pivotmine_stages.policy.prompts import Renderer
from pivotmine_stages.select.dataset import DEMONSTRATIONS, Mined, pivot_rows, validation_trajectories
from pivotmine_stages.select.options import SelectConfig
from pivotmine_stages.select.strategies import salted_hash


@dataclass
class DemonstrationSample:
    """What became of the draw."""

    states: int = 0
    """Demonstrated states that no held-out task has met."""
    rows: int = 0
    left_out: dict[str, int] = field(default_factory=dict[str, int])
    """States that were drawn and cannot be a row, by reason; others were drawn in their place."""


def demonstration_rows(
    run: Path,
    config: SelectConfig,
    mined: Mined,
    renderer: Renderer,
    turns: pl.DataFrame,
    candidates: pl.DataFrame,
    found: DemonstrationSample,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(DEMONSTRATIONS, row) of the drawn states; `found` is filled on the way.

    turns: the usable demonstrations, in the order of the sources. candidates: each state's first turn with the columns
    that a row needs.
    """
    held_out = pl.col("trajectory_id").is_in(validation_trajectories(run, config))
    met = rundir.scan(run, "turns").filter(held_out).select("state_id").unique().collect()
    states = candidates.join(met, on="state_id", how="anti")
    found.states = len(states)
    places = [salted_hash(f"demonstrations/{state_id}", config.seed) for state_id in states["state_id"]]
    order = states.sort(pl.Series(places, dtype=pl.UInt64))
    start = 0
    while start < len(order) and found.rows < config.num_demonstrations:
        drawn = order.slice(start, config.num_demonstrations - found.rows).sort("place")
        start += len(drawn)
        rejects: list[dict[str, Any]] = []
        several = turns.join(drawn, on="state_id", how="semi")
        for _, row in pivot_rows(run, config, mined, renderer, drawn, several, rejects):
            found.rows += 1
            yield DEMONSTRATIONS, row
        for reject in rejects:
            found.left_out[reject["reason"]] = found.left_out.get(reject["reason"], 0) + 1
