"""The demonstrated turns of a run, and the rows that they may become."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from pivotmine.run.states import demonstrated_turns
from pivotmine.verifiers import Outcome
from pivotmine_stages.profiles.gate import gate_table
from pivotmine_stages.select.carry_chance import with_carried
from pivotmine_stages.select.dataset import Mined
from pivotmine_stages.select.options import SelectConfig
from pivotmine_stages.select.strategies import STRATEGIES

_STATISTICS = ("num_samples", "num_scored", "mean", "variance", "reward_class")
_PROFILE = (
    *_STATISTICS,
    *("num_pending", "num_unproven", "mean_low", "mean_high", "gate", "posterior_mean", "pivot_probability"),
)
_CARRIED = ("unseen_mass", "carried_chance")


def all_turns(run: Path) -> pl.DataFrame:
    """Return the demonstrated turns in the order of the sources, with three more columns.

    `place`: the order. `num_turns`: the turns that are lost if the state is rejected. `state_domain`: the domain by
    which the verifier of the state is chosen.
    """
    return demonstrated_turns(run).with_row_index("place").with_columns(
        state_domain=pl.col("domain").first().over("state_id"),
        num_turns=pl.len().over("state_id").cast(pl.Int32),
    )  # fmt: skip


def usable_turns(run: Path, turns: pl.DataFrame, mined: Mined) -> pl.DataFrame:
    """Drop the turns whose own demonstration fails the gate, in profiled states that pass it; keep all other turns."""
    passing = mined.profiles.filter(pl.col("gate") == str(Outcome.CORRECT)).select("state_id")
    gated = turns.join(passing, on="state_id", how="semi", maintain_order="left")
    good = passing_turns(run, gated, mined)
    return pl.concat([good, turns.join(passing, on="state_id", how="anti")]).sort("place")


def passing_turns(run: Path, turns: pl.DataFrame, mined: Mined) -> pl.DataFrame:
    """Return the turns whose demonstration passes the gate of its state."""
    assert mined.verifier is not None, "only `all` goes without profiles"
    gates = gate_table(run, turns, mined.verifier).rows.filter(pl.col("usable").list.len() > 0)
    usable = gates.select("state_id", demonstration=pl.col("demonstrations").list.gather(pl.col("usable")))
    usable = usable.explode("demonstration")
    return turns.join(usable, on=["state_id", "demonstration"], how="semi", maintain_order="left")


def rule_turns(run: Path, turns: pl.DataFrame, config: SelectConfig, mined: Mined) -> pl.DataFrame:
    """Return the turns that the rule chooses from: the usable ones, or with `all` every turn on its own."""
    if STRATEGIES[config.strategy].needs_profiles:
        return usable_turns(run, turns, mined)
    return turns.with_columns(num_turns=pl.lit(1, pl.Int32))


def candidate_rows(turns: pl.DataFrame, config: SelectConfig, mined: Mined) -> pl.DataFrame:
    """Make the candidates of `choose_states` from the turns of `rule_turns`: one per state, or with `all` per turn."""
    if STRATEGIES[config.strategy].needs_profiles:
        turns = turns.unique("state_id", keep="first", maintain_order=True)
    return _with_profiles(turns, mined)


def row_candidates(turns: pl.DataFrame, mined: Mined) -> pl.DataFrame:
    """Return each state's first turn with the statistics that a row reports. No rule looks at them."""
    return reported(_with_profiles(turns.unique("state_id", keep="first", maintain_order=True), mined), mined)


def reported(rows: pl.DataFrame, mined: Mined) -> pl.DataFrame:
    """Return the rows with the statistics that the dataset reports: those of held-out samples, if there are any."""
    if mined.reported is None:
        return rows
    held_out = mined.reported.select("state_id", *_STATISTICS, "posterior_mean")
    return rows.drop(*_STATISTICS, "posterior_mean").join(held_out, on="state_id", how="left", maintain_order="left")


def _with_profiles(turns: pl.DataFrame, mined: Mined) -> pl.DataFrame:
    profiles = with_carried(mined.profiles).select("state_id", *_PROFILE, *_CARRIED)
    rows = turns.join(profiles, on="state_id", how="left", maintain_order="left")
    return rows.join(mined.prompts, on="state_id", how="left", maintain_order="left")
