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
    """Demonstrated turns in the order of the sources, with `place`, and `num_turns`: the turns lost with a state.

    `state_domain`: the domain by which the verifier of the state is chosen.
    """
    return demonstrated_turns(run).with_row_index("place").with_columns(
        state_domain=pl.col("domain").first().over("state_id"),
        num_turns=pl.len().over("state_id").cast(pl.Int32),
    )  # fmt: skip


def usable_turns(run: Path, turns: pl.DataFrame, mined: Mined) -> pl.DataFrame:
    """Of profiled states that pass the gate only the turns whose demonstration does; of other states all turns."""
    passing = mined.profiles.filter(pl.col("gate") == str(Outcome.CORRECT)).select("state_id")
    gated = turns.join(passing, on="state_id", how="semi", maintain_order="left")
    good = passing_turns(run, gated, mined)
    return pl.concat([good, turns.join(passing, on="state_id", how="anti")]).sort("place")


def passing_turns(run: Path, turns: pl.DataFrame, mined: Mined) -> pl.DataFrame:
    """The turns whose demonstration passes the gate of its state."""
    assert mined.verifier is not None, "only `all` goes without profiles"
    gates = gate_table(run, turns, mined.verifier).rows.filter(pl.col("usable").list.len() > 0)
    usable = gates.select("state_id", demonstration=pl.col("demonstrations").list.gather(pl.col("usable")))
    usable = usable.explode("demonstration")
    return turns.join(usable, on=["state_id", "demonstration"], how="semi", maintain_order="left")


def rule_turns(run: Path, turns: pl.DataFrame, config: SelectConfig, mined: Mined) -> pl.DataFrame:
    """The turns that the rule chooses among: the usable ones; with `all` every turn, each for itself."""
    if STRATEGIES[config.strategy].needs_profiles:
        return usable_turns(run, turns, mined)
    return turns.with_columns(num_turns=pl.lit(1, pl.Int32))


def candidate_rows(turns: pl.DataFrame, config: SelectConfig, mined: Mined) -> pl.DataFrame:
    """The rows that `choose_states` takes, of the turns of `rule_turns`: one a state, with `all` one a turn."""
    if STRATEGIES[config.strategy].needs_profiles:
        turns = turns.unique("state_id", keep="first", maintain_order=True)
    return _with_profiles(turns, mined)


def row_candidates(turns: pl.DataFrame, mined: Mined) -> pl.DataFrame:
    """Each state's first turn with the statistics that a row reports; no rule looks at them."""
    return reported(_with_profiles(turns.unique("state_id", keep="first", maintain_order=True), mined), mined)


def reported(rows: pl.DataFrame, mined: Mined) -> pl.DataFrame:
    """The rows with the statistics that the dataset reports: those of the held-out samples, if there are such."""
    if mined.reported is None:
        return rows
    held_out = mined.reported.select("state_id", *_STATISTICS, "posterior_mean")
    return rows.drop(*_STATISTICS, "posterior_mean").join(held_out, on="state_id", how="left", maintain_order="left")


def _with_profiles(turns: pl.DataFrame, mined: Mined) -> pl.DataFrame:
    profiles = with_carried(mined.profiles).select("state_id", *_PROFILE, *_CARRIED)
    rows = turns.join(profiles, on="state_id", how="left", maintain_order="left")
    return rows.join(mined.prompts, on="state_id", how="left", maintain_order="left")
