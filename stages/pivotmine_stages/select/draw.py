"""Draw states at random, without looking at rewards: for the third split, and for the control next to a dataset.

- Demonstrations: a fair sample of all demonstrated states, pivots or not, for a loss on demonstrated actions. States
  that a held-out task has met are left out. Every other state has the same chance, profiled or not.
- The twin: as many rows of each domain and split as the dataset has, from all states that the verifier can judge.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from pivotmine.run import rundir
from pivotmine_stages.policy.prompts import Renderer
from pivotmine_stages.select.dataset import DEMONSTRATIONS, SPLITS, Mined, pivot_rows, validation_trajectories
from pivotmine_stages.select.options import SelectConfig
from pivotmine_stages.select.samples import with_samples
from pivotmine_stages.select.strategies import salted_hash
from pivotmine_stages.select.turns import passing_turns, row_candidates

Cell = tuple[str, str | None]
"""A split and a domain."""
STATES_AT_ONCE = 64
"""Minimum number of states whose gates are judged together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """The result of a draw."""

    states: int = 0
    """States that could be drawn."""
    rows: int = 0
    left_out: dict[str, int] = field(default_factory=dict[str, int])
    """States that were drawn but cannot be a row, by reason; other states replaced them."""


class Draw:
    """One draw: it yields rows and counts the results."""

    def __init__(self, run: Path, config: SelectConfig, mined: Mined, renderer: Renderer) -> None:
        self._run, self._config, self._mined, self._renderer = run, config, mined, renderer
        self._held_out = validation_trajectories(run, config)
        self._states = self._rows = 0
        self._left_out: Counter[str] = Counter()

    @property
    def summary(self) -> Drawn:
        return Drawn(states=self._states, rows=self._rows, left_out=dict(self._left_out))

    def demonstrations(self, turns: pl.DataFrame) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (DEMONSTRATIONS, row) of drawn states. turns: usable demonstrations, in the order of the sources."""
        held_out = rundir.scan(self._run, "turns").filter(pl.col("trajectory_id").is_in(self._held_out))
        met = held_out.select("state_id").unique().collect()
        order = self._in_order(row_candidates(turns.join(met, on="state_id", how="anti"), self._mined), DEMONSTRATIONS)
        self._states, start = len(order), 0
        while start < len(order) and self._rows < self._config.num_demonstrations:
            drawn = order.slice(start, self._config.num_demonstrations - self._rows)
            start += len(drawn)
            yield from ((DEMONSTRATIONS, row) for _, row in self._write(drawn, turns))

    def twin(self, turns: pl.DataFrame, sizes: Counter[Cell]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (split, row) of random states, as many of each split and domain as `sizes` says.

        turns: all demonstrated turns. Gates are judged in batches, until enough states pass.
        """
        missing = Counter(sizes)
        domains = pl.Series("domain", list({domain for _, domain in sizes}), pl.String)
        of_domain = turns.filter(pl.col("domain").is_in(domains, nulls_equal=True))
        order = self._in_order(of_domain.unique("state_id", keep="first", maintain_order=True), "twin")
        self._states, start = len(order), 0
        ready = row_candidates(turns.clear(), self._mined).with_columns(split=pl.lit(None, pl.String))
        usable = turns.clear()
        while missing.total():
            chosen = self._first_of_each(ready, missing)
            if len(chosen) < missing.total() and start < len(order):
                states = order.slice(start, max(STATES_AT_ONCE, 2 * missing.total()))
                start += len(states)
                passing = passing_turns(self._run, turns.join(states, on="state_id", how="semi"), self._mined)
                self._left_out["unverifiable"] += len(states) - passing["state_id"].n_unique()
                usable = pl.concat([usable, passing])
                more = self._in_order(row_candidates(passing, self._mined), "twin")
                ready = pl.concat([ready, more.with_columns(split=self._split())])
                continue
            if chosen.is_empty():
                break
            ready = ready.join(chosen, on="state_id", how="anti", maintain_order="left")
            for split, row in self._write(chosen, usable):
                missing[split, row["domain"]] -= 1
                yield split, row
        self._left_out = +self._left_out

    def _in_order(self, states: pl.DataFrame, salt: str) -> pl.DataFrame:
        places = [salted_hash(f"{salt}/{state_id}", self._config.seed) for state_id in states["state_id"]]
        return states.sort(pl.Series(places, dtype=pl.UInt64))

    def _split(self) -> pl.Expr:
        train, validation = map(pl.lit, SPLITS)
        return pl.when(pl.col("trajectory_id").is_in(self._held_out)).then(validation).otherwise(train)

    def _first_of_each(self, ready: pl.DataFrame, missing: Counter[Cell]) -> pl.DataFrame:
        """Return the first states of each split and domain, as many as are missing there."""
        rows = [(split, domain, count) for (split, domain), count in missing.items()]
        cells = pl.DataFrame(rows, {"split": pl.String, "domain": pl.String, "missing": pl.Int64}, orient="row")
        found = ready.join(cells, on=["split", "domain"], nulls_equal=True, maintain_order="left")
        place = pl.int_range(pl.len()).over("split", "domain")
        return found.filter(place < pl.col("missing")).drop("missing")

    def _write(self, drawn: pl.DataFrame, turns: pl.DataFrame) -> Iterator[tuple[str, dict[str, Any]]]:
        rejects: list[dict[str, Any]] = []
        states = with_samples(self._run, drawn.sort("place"), self._mined)
        several = turns.join(drawn, on="state_id", how="semi")
        for split, row in pivot_rows(self._run, self._config, self._mined, self._renderer, states, several, rejects):
            self._rows += 1
            yield split, row
        self._left_out.update(reject["reason"] for reject in rejects)
