"""select, the stage: choose states, hand them to `dataset`, write the card.

A state's row is of its first demonstration that passes the gate; with `--strategy all` every demonstrated turn is a
row. Same settings, same input: the same files.
"""

from __future__ import annotations

import shlex
import time
from collections import Counter
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl

from pivotmine.errors import UserError
from pivotmine.run import rundir, sql
from pivotmine.run.parts import require_sound
from pivotmine.run.states import demonstrated_turns
from pivotmine.stats.profiles import with_bounds
from pivotmine.verifiers import Outcome
from pivotmine_stages.policy.record import PolicyRecord, choose, choose_policy, scored_verifiers, stored_verifier
from pivotmine_stages.profiles.budgets import problem_of, samples_under
from pivotmine_stages.profiles.gate import as_reject, gate_states
from pivotmine_stages.profiles.posteriors import pivot_probabilities
from pivotmine_stages.profiles.stopping import finished, rule_of
from pivotmine_stages.select.card import data_card
from pivotmine_stages.select.dataset import (
    DEMONSTRATIONS,
    SPLITS,
    Mined,
    load_prompt_renderer,
    pivot_rows,
    write_splits,
)
from pivotmine_stages.select.demonstrations import DemonstrationSample, demonstration_rows
from pivotmine_stages.select.holdout import split_profiles
from pivotmine_stages.select.options import SelectConfig
from pivotmine_stages.select.resume_command import sample_the_rest
from pivotmine_stages.select.rule import check, choose_states
from pivotmine_stages.select.stopped_profiles import undecided
from pivotmine_stages.select.strategies import STRATEGIES

_STATISTICS = ("num_samples", "num_scored", "mean", "variance", "reward_class")
_PROFILE = (
    *_STATISTICS,
    "num_pending",
    "num_unproven",
    "mean_low",
    "mean_high",
    "gate",
    "posterior_mean",
    "pivot_probability",
)


def select(config: SelectConfig, run: Path) -> dict[str, Any]:
    """Run the stage; returns the summary that the command prints.

    Under the name of a finished selection, other settings are a UserError; more scores give it new rows.
    """
    rundir.require_run(run)
    if problem := check(config):
        raise UserError(problem)
    record = choose_policy(run, config.policy)
    with rundir.stage_lock(run, f"select-{config.name}"):
        mined = mined_profiles(config, run, record)
        identity = check_name(config, run, record.policy_id, mined.verifier_id)
        return _select(config, run, mined, identity)


def mined_profiles(config: SelectConfig, run: Path, record: PolicyRecord) -> Mined:
    rollouts = require_sound(run, "rollouts", run / "rollouts" / record.policy_id)
    prompts = rundir.scan(run, "rollouts", rollouts).group_by("state_id")
    prompts = prompts.agg(pl.col("num_prompt_tokens").max(), pl.col("prompt_hash").unique().drop_nulls()).collect()
    scored = scored_verifiers(run, record.policy_id)
    if not scored and not STRATEGIES[config.strategy].needs_profiles and config.verifier is None:
        return Mined(record, None, record.parser, rundir.scan(run, "profiles", []).collect(), prompts)
    where = f"of {record.policy_id} in {run}: run `pivotmine score {shlex.quote(str(run))}` first"
    verifier_id = choose("verifier", scored, config.verifier, where)
    folder = run / "scores" / record.policy_id / verifier_id
    spec, settings = stored_verifier(folder)
    profiles = with_bounds(rundir.scan(run, "profiles", require_sound(run, "profiles", folder)).collect())
    samples = samples_under(run, record, record.budget)
    old = "of an older version of the verifier" if spec.verifier_id != verifier_id else None
    if old := old or problem_of(profiles, samples, record):
        raise UserError(f"the profiles {where} (they are {old})")
    profiles = finished(profiles)
    if (rule := rule_of(profiles)) and (problem := undecided(profiles, config)):
        raise UserError(f"{problem}; {sample_the_rest(run, record, spec, rule)}, or choose otherwise")
    reported = None
    if config.holdout == "half":
        profiles, reported = split_profiles(run, profiles, record, samples)
    chances = pl.Series("pivot_probability", list(pivot_probabilities(profiles, config.max_mean)), pl.Float64)
    return Mined(record, spec, settings["parser"], profiles.with_columns(chances), prompts, reported)


def check_name(config: SelectConfig, run: Path, policy_id: str, verifier_id: str | None) -> dict[str, Any]:
    """The settings that the selection is known by; UserError where its name has others already."""
    identity = {**asdict(config), "policy": policy_id, "verifier": verifier_id}
    if not (run / "pivots" / config.name).exists():
        return identity
    for manifest in rundir.read_manifests(run, "select"):
        # An option that came later had its default's meaning before.
        theirs = {**asdict(SelectConfig()), **manifest["config"]}
        if theirs["name"] == identity["name"] and theirs != identity:
            difference = rundir.difference(identity, theirs)
            raise UserError(f"pivots/{identity['name']} was selected otherwise ({difference}): choose another --name")
    return identity


def _select(config: SelectConfig, run: Path, mined: Mined, identity: dict[str, Any]) -> dict[str, Any]:
    started = time.monotonic()
    by_state = STRATEGIES[config.strategy].needs_profiles
    turns = usable_turns(run, config, mined)
    chosen = choose_states(candidate_rows(turns, config, mined), config)
    rejects = [
        as_reject("select", turn["reject_reason"], turn, None)
        for turn in chosen.filter(pl.col("reject_reason").is_not_null()).iter_rows(named=True)
    ]
    kept = _reported(chosen.filter(pl.col("reject_reason").is_null()).sort("place"), mined)
    several = turns.join(kept, on="state_id", how="semi") if by_state else turns.clear()
    renderer = load_prompt_renderer(config, mined.policy)
    rows = pivot_rows(run, config, mined, renderer, kept, several, rejects)
    folder, first = run / "pivots" / config.name, next(rows, None)
    sampled = DemonstrationSample()
    if first is None:
        written = dict.fromkeys(SPLITS, 0)
    elif config.num_demonstrations:
        usable = turns if by_state or mined.verifier is None else passing_turns(run, turns, mined)
        states = _reported(_with_profiles(usable.unique("state_id", keep="first", maintain_order=True), mined), mined)
        third = demonstration_rows(run, config, mined, renderer, usable, states, sampled)
        written = write_splits(folder, chain([first], rows, third), (*SPLITS, DEMONSTRATIONS))
    else:
        written = write_splits(folder, chain([first], rows))
    # One name has one set of rejects and one manifest: a selection made anew replaces the old ones.
    place = {"name": config.name}
    rundir.write_rows(rundir.rejects_dir(run, "select", place) / "rejects.parquet", "rejects", rejects)
    summary = {
        "name": config.name,
        "policy_id": mined.policy.policy_id,
        "verifier_id": mined.verifier_id,
        "candidates": len(chosen),
        **written,
        DEMONSTRATIONS: asdict(sampled),
        "rejects": dict(sorted(Counter(row["reason"] for row in rejects).items())),
        "seconds": round(time.monotonic() - started, 2),
    }
    if first is None:  # an empty dataset would pass for one
        sql.write_views(run)
        return summary
    rundir.write_text(folder / "README.md", data_card(run, config, mined.policy, mined.verifier, summary))
    rundir.write_manifest(run, "select", place, {"config": identity, "summary": summary})
    sql.write_views(run)
    return summary


def usable_turns(run: Path, config: SelectConfig, mined: Mined) -> pl.DataFrame:
    """Demonstrated turns in the order of the sources, with `place` and `num_turns`, the turns lost with a row.

    Of states that pass the gate only the turns whose demonstration does; with `all` every turn, each for itself.
    """
    turns = demonstrated_turns(run).with_row_index("place")
    turns = turns.with_columns(state_domain=pl.col("domain").first().over("state_id"))
    if not STRATEGIES[config.strategy].needs_profiles:
        return turns.with_columns(num_turns=pl.lit(1, pl.Int32))
    return passing_turns(run, turns.with_columns(num_turns=pl.len().over("state_id").cast(pl.Int32)), mined)


def passing_turns(run: Path, turns: pl.DataFrame, mined: Mined) -> pl.DataFrame:
    """Of states that pass the gate only the turns whose demonstration does; of other states all turns."""
    assert mined.verifier is not None, "only `all` goes without profiles"
    passing = mined.profiles.filter(pl.col("gate") == str(Outcome.CORRECT)).select("state_id")
    gated = turns.join(passing, on="state_id", how="semi", maintain_order="left")
    usable = [
        (state_id, text)
        for state_id, gate in gate_states(run, gated, mined.verifier).items()
        for text in gate.usable
    ]  # fmt: skip
    usable = pl.DataFrame(usable, schema={"state_id": pl.String, "demonstration": pl.String}, orient="row")
    good = gated.join(usable, on=["state_id", "demonstration"], how="semi")
    return pl.concat([good, turns.join(passing, on="state_id", how="anti")]).sort("place")


def candidate_rows(turns: pl.DataFrame, config: SelectConfig, mined: Mined) -> pl.DataFrame:
    """The rows that `choose_states` takes: one a state, with `all` one a turn."""
    if STRATEGIES[config.strategy].needs_profiles:
        turns = turns.unique("state_id", keep="first", maintain_order=True)
    return _with_profiles(turns, mined)


def _with_profiles(turns: pl.DataFrame, mined: Mined) -> pl.DataFrame:
    profiles = mined.profiles.select("state_id", *_PROFILE)
    rows = turns.join(profiles, on="state_id", how="left", maintain_order="left")
    return rows.join(mined.prompts, on="state_id", how="left", maintain_order="left")


def _reported(rows: pl.DataFrame, mined: Mined) -> pl.DataFrame:
    """The rows with the statistics that the dataset reports: those of the held-out samples, if there are such."""
    if mined.reported is None:
        return rows
    held_out = mined.reported.select("state_id", *_STATISTICS, "posterior_mean")
    return rows.drop(*_STATISTICS, "posterior_mean").join(held_out, on="state_id", how="left", maintain_order="left")
