"""The select stage: choose states, write them as a dataset, and write its card.

The row of a state is made from its first demonstration that passes the gate. With `--strategy all` every demonstrated
turn is a row. The same settings and input give the same files.
"""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from pivotmine.errors import UserError
from pivotmine.run import rundir, sql
from pivotmine.run.parts import require_sound, write_rejects
from pivotmine.run.tables import TABLES
from pivotmine.stats.profiles import with_bounds
from pivotmine_stages.policy.record import PolicyRecord, choose, choose_policy, scored_verifiers, stored_verifier
from pivotmine_stages.profiles.budgets import count_samples, problem_of, prompts_of_states, samples_under
from pivotmine_stages.profiles.gate import REJECTED
from pivotmine_stages.profiles.never_states import never_states, unlikely_demonstrations
from pivotmine_stages.profiles.posteriors import pivot_probabilities
from pivotmine_stages.profiles.stopping import finished, rule_of
from pivotmine_stages.select.card import data_card, twin_card
from pivotmine_stages.select.dataset import (
    DEMONSTRATIONS,
    SPLITS,
    Mined,
    copy_demonstrations,
    load_prompt_renderer,
    pivot_rows,
    write_splits,
)
from pivotmine_stages.select.draw import Cell, Draw, Drawn
from pivotmine_stages.select.holdout import split_profiles
from pivotmine_stages.select.options import SelectConfig
from pivotmine_stages.select.resume_command import sample_hotter, sample_the_rest
from pivotmine_stages.select.rule import check, choose_states, twin_name
from pivotmine_stages.select.samples import entropies, no_entropy, sample_cost, with_samples
from pivotmine_stages.select.stopped_profiles import undecided
from pivotmine_stages.select.strategies import STRATEGIES
from pivotmine_stages.select.summary import Deferred, SelectSummary, Suspect, TwinSummary
from pivotmine_stages.select.turns import all_turns, candidate_rows, reported, rule_turns, usable_turns


def select(config: SelectConfig, run: Path) -> SelectSummary:
    """Run the stage and return its summary.

    UserError if a finished selection with other settings has the name. With the same settings it is replaced.
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
    """Load the profiles and what else a selection needs; UserError if they cannot answer this selection."""
    prompts = prompts_of_states(run, record)
    if STRATEGIES[config.strategy].asks_entropy:
        if problem := no_entropy(record.sampling):
            raise UserError(f"--strategy {config.strategy} needs {problem}")
        found = entropies(run, record, even=config.holdout == "half")
        prompts = prompts.join(found, on="state_id", how="left")
    scored = scored_verifiers(run, record.policy_id)
    if not scored and not STRATEGIES[config.strategy].needs_profiles and config.verifier is None:
        return Mined(record, None, record.parser, rundir.scan(run, "profiles", []).collect(), prompts)
    whose, remedy = f"of {record.policy_id} in {run}", f"run `pivotmine score {shlex.quote(str(run))}` first"
    verifier_id = choose("verifier", scored, config.verifier, f"{whose}: {remedy}")
    folder = run / "scores" / record.policy_id / verifier_id
    spec, settings = stored_verifier(folder)
    profiles = with_bounds(rundir.scan(run, "profiles", require_sound(run, "profiles", folder)).collect())
    old = "of an older version of the verifier" if spec.verifier_id != verifier_id else None
    if old := old or problem_of(profiles, count_samples(run, record, record.budget), record):
        raise UserError(f"the profiles {whose} are {old}: {remedy}")
    profiles = finished(profiles)
    if (rule := rule_of(profiles)) and (problem := undecided(profiles, config)):
        raise UserError(f"{problem}; {sample_the_rest(run, record, spec, rule)}, or choose otherwise")
    held_out = None
    if config.holdout == "half":
        profiles, held_out = split_profiles(run, profiles, record, samples_under(run, record, record.budget))
    # `pivot_probability` is always for --max-mean; `carried_chance` is for the strategy's own bound.
    bound, low = STRATEGIES[config.strategy].max_mean, config.min_mean or 0.0
    highs = {"pivot_probability": config.max_mean, "carried_chance": bound(config) if bound else config.max_mean}
    chances = [
        pl.Series(name, list(pivot_probabilities(profiles, high, low)), pl.Float64) for name, high in highs.items()
    ]
    return Mined(record, spec, settings["parser"], profiles.with_columns(*chances), prompts, held_out)


def check_name(config: SelectConfig, run: Path, policy_id: str, verifier_id: str | None) -> dict[str, Any]:
    """Return the settings that identify the selection; UserError if its name, or its twin's, has other ones."""
    identity: dict[str, Any] = {**asdict(config), "policy": policy_id, "verifier": verifier_id}
    identity["domain_quota"] = list(config.domain_quota)  # as JSON has it
    ours = [identity] if config.twin == "none" else [identity, _twin_identity(config, identity)]
    taken = {one["name"] for one in ours if (run / "pivots" / one["name"]).exists()}
    for manifest in rundir.read_manifests(run, "select") if taken else ():
        # Before an option existed, select worked as its default does now.
        theirs = {**asdict(SelectConfig()), "domain_quota": [], **manifest["config"]}
        for one in ours:
            if theirs["name"] == one["name"] in taken and theirs != one:
                difference = rundir.difference(one, theirs)
                raise UserError(
                    f"pivots/{one['name']} was selected with other options ({difference}): choose another --name"
                )
    return identity


def _twin_identity(config: SelectConfig, identity: dict[str, Any]) -> dict[str, Any]:
    return {**identity, "name": twin_name(config), "strategy": "random", "twin": "none", "twin_of": config.name}


def _select(config: SelectConfig, run: Path, mined: Mined, identity: dict[str, Any]) -> SelectSummary:
    started = time.monotonic()
    by_state = STRATEGIES[config.strategy].needs_profiles
    everything = all_turns(run)
    turns = rule_turns(run, everything, config, mined)
    chosen = choose_states(candidate_rows(turns, config, mined), config)
    rejects, passed_over = list[dict[str, Any]](), _passed_over(chosen)
    kept = reported(chosen.filter(pl.col("reject_reason").is_null()).sort("place"), mined)
    several = turns.join(kept, on="state_id", how="semi") if by_state else turns.clear()
    renderer = load_prompt_renderer(config, mined.policy)
    rows = pivot_rows(run, config, mined, renderer, with_samples(run, kept, mined), several, rejects)
    written, demonstrations, twin = dict.fromkeys(SPLITS, 0), Drawn(), None
    if (first := next(rows, None)) is not None:  # an empty dataset would look like a finished one
        draw, sizes = Draw(run, config, mined, renderer), Counter[Cell]()
        splits = (*SPLITS, DEMONSTRATIONS) if config.num_demonstrations else SPLITS
        usable = turns if by_state or mined.verifier is None else usable_turns(run, turns, mined)
        third = draw.demonstrations(usable) if config.num_demonstrations else ()
        written = write_splits(
            run / "pivots" / config.name, chain(_counted(chain([first], rows), sizes), third), splits
        )
        demonstrations = draw.summary
        if config.twin != "none":
            twin = _write_twin(run, config, mined, Draw(run, config, mined, renderer), everything, sizes)
    # One name has one set of rejects and one manifest: a new selection replaces the old ones.
    place = {"name": config.name}
    table = pa.concat_tables([passed_over, rundir.table_of_rows("rejects", rejects)]).combine_chunks()
    write_rejects(run, rundir.rejects_dir(run, "select", place), table)
    summary = SelectSummary(
        name=config.name,
        policy_id=mined.policy.policy_id,
        verifier_id=mined.verifier_id,
        candidates=len(chosen),
        train=written["train"],
        validation=written["validation"],
        demonstrations=demonstrations,
        twin=twin,
        cost=sample_cost(run, mined),
        deferred=_deferred(run, mined),
        suspects=_suspects(run, mined),
        rejects=dict(sorted(Counter(table["reason"].to_pylist()).items())),
        seconds=round(time.monotonic() - started, 2),
    )
    if first is not None:
        _finish(run, config, mined, summary, identity)
    sql.write_views(run)
    return summary


def _passed_over(chosen: pl.DataFrame) -> pa.Table:
    """Return the states that the rule or a cap leaves out, as rows of `rejects`."""
    left = chosen.filter(pl.col("reject_reason").is_not_null())
    rows = left.with_columns(stage=pl.lit("select"), reason="reject_reason", detail=pl.lit(None, pl.String))
    schema = TABLES["rejects"]
    absent = [pl.lit(None).alias(name) for name in schema.names if name not in REJECTED]
    return rows.with_columns(absent).select(schema.names).to_arrow().cast(schema)


def _deferred(run: Path, mined: Mined) -> Deferred | None:
    found = never_states(mined.profiles)
    if found is None or mined.verifier is None:
        return None
    commands = sample_hotter(run, mined.policy, mined.verifier, mined.profiles)
    return Deferred(states=found.states, expected=round(found.expected, 1), commands=commands)


def _suspects(run: Path, mined: Mined) -> list[Suspect]:
    if mined.verifier_id is None:
        return []
    found = unlikely_demonstrations(sql.connect(run), mined.policy.policy_id, mined.verifier_id)
    return [Suspect(state_id=state_id, logprob=round(logprob, 1)) for state_id, logprob in found]


def _counted(rows: Iterable[tuple[str, dict[str, Any]]], sizes: Counter[Cell]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Pass the rows on, and count them in `sizes` by split and domain."""
    for split, row in rows:
        sizes[split, row["domain"]] += 1
        yield split, row


def _write_twin(
    run: Path, config: SelectConfig, mined: Mined, draw: Draw, turns: pl.DataFrame, sizes: Counter[Cell]
) -> TwinSummary:
    """Write the control, with the same demonstrations, so that the two datasets differ in their rows only."""
    folder = run / "pivots" / twin_name(config)
    written = write_splits(folder, draw.twin(turns, sizes))
    if config.num_demonstrations:
        copy_demonstrations(run, run / "pivots" / config.name, folder)
    return TwinSummary(
        name=twin_name(config),
        train=written["train"],
        validation=written["validation"],
        left_out=draw.summary.left_out,
    )


def _finish(run: Path, config: SelectConfig, mined: Mined, summary: SelectSummary, identity: dict[str, Any]) -> None:
    """Write the cards, and the manifests last."""
    card = data_card(run, config, mined.policy, mined.verifier, summary)
    rundir.write_text(run / "pivots" / config.name / "README.md", card)
    if (twin := summary.twin) is not None:
        card = twin_card(run, config, mined.policy, mined.verifier, summary)
        rundir.write_text(run / "pivots" / twin.name / "README.md", card)
        ids = {"policy_id": summary.policy_id, "verifier_id": summary.verifier_id}
        facts = {"config": _twin_identity(config, identity), "summary": {**ids, **asdict(twin)}}
        rundir.write_manifest(run, "select", {"name": twin.name}, facts)
    rundir.write_manifest(run, "select", {"name": config.name}, {"config": identity, "summary": asdict(summary)})
