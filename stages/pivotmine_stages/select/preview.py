"""Count the rows that a selection would have, for each bound on the mean and each K, without writing it.

Caps, limits and the split work as in `select`. Faults that only rendering shows (a prompt that changed or is not plain
text) are not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import polars as pl

from pivotmine.errors import UserError
from pivotmine.run import rundir
from pivotmine.run.parts import require_sound
from pivotmine.stats.profiles import profile
from pivotmine_stages.policy.record import choose_policy
from pivotmine_stages.profiles.budgets import counts_of, first_samples, samples_under, scores_under
from pivotmine_stages.select.dataset import Mined, validation_trajectories
from pivotmine_stages.select.options import PreviewOptions, SelectConfig
from pivotmine_stages.select.rule import check, choose_states
from pivotmine_stages.select.stage import mined_profiles, select
from pivotmine_stages.select.summary import SelectPreview, SelectSummary
from pivotmine_stages.select.turns import all_turns, candidate_rows, rule_turns

BOUNDS = tuple(round(0.05 * step, 2) for step in range(1, 21))
"""Values of `--max-mean` that a preview tries; the configured one is added."""


def select_or_preview(config: SelectConfig, asked: PreviewOptions, run: Path) -> SelectSummary | SelectPreview:
    """Run `pivotmine select`: write a dataset, or only count its rows with --dry-run."""
    return SelectPreview(rows=preview(config, run)) if asked.dry_run else select(config, run)


def preview_text(rows: list[dict[str, Any]]) -> str:
    """Return a table with a line per K and a column per bound. It adds training and validation rows."""
    bounds = sorted({row["max_mean"] for row in rows})
    counts = {(row["num_samples"], row["max_mean"]): row["train"] + row["validation"] for row in rows}
    lines = [f"{'K':>6} | --max-mean " + " ".join(f"{bound:>6.2f}" for bound in bounds)]
    for num_samples in sorted({row["num_samples"] for row in rows}):
        shown = " ".join(f"{counts[num_samples, bound]:>6,}" for bound in bounds)
        lines.append(f"{num_samples:>6} | {'rows':>10} {shown}")
    return "\n".join(lines)


def preview(config: SelectConfig, run: Path) -> list[dict[str, Any]]:
    """Count the rows for each K and `--max-mean`: {num_samples, max_mean, train, validation}.

    K is 2, 4, 8, ... up to all samples. The profile of a smaller K is of the first K samples of each state.
    """
    rundir.require_run(run)
    if problem := check(config):
        raise UserError(problem)
    mined = mined_profiles(config, run, choose_policy(run, config.policy))
    turns = rule_turns(run, all_turns(run), config, mined)
    whole = mined.profiles
    most = int(whole["num_samples"].max() or 0)  # pyright: ignore[reportArgumentType]
    found: list[dict[str, Any]] = []
    # Only whole profiles have a `pivot_probability`.
    counts = [most] if config.min_pivot_probability is not None else _sample_counts(whole, most)
    for num_samples in counts:
        profiles = whole if num_samples == most else _of_first_samples(run, mined, num_samples)
        candidates = candidate_rows(turns, config, mined._replace(profiles=profiles))
        found += [{"num_samples": num_samples, **row} for row in _over_bounds(run, candidates, config)]
    return found


def rows_by_bound(
    run: Path, policy_id: str, verifier_id: str, selected: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """Count the rows for each `--max-mean` with all samples: {max_mean, train, validation}.

    selected: the settings of a finished selection, which the preview keeps. None means the defaults.
    """
    known = {field.name for field in fields(SelectConfig)}
    theirs = {"policy", "verifier"}
    settings = {name: value for name, value in (selected or {}).items() if name in known - theirs}
    config = replace(SelectConfig(policy=policy_id, verifier=verifier_id), **settings)
    mined = mined_profiles(config, run, choose_policy(run, policy_id))
    candidates = candidate_rows(rule_turns(run, all_turns(run), config, mined), config, mined)
    return _over_bounds(run, candidates, config)


def _over_bounds(run: Path, candidates: pl.DataFrame, config: SelectConfig) -> list[dict[str, Any]]:
    held_out = validation_trajectories(run, config)
    found: list[dict[str, Any]] = []
    for bound in sorted({*BOUNDS, config.max_mean}):
        chosen = choose_states(candidates, replace(config, max_mean=bound))
        kept = chosen.filter(pl.col("reject_reason").is_null())["trajectory_id"].to_list()
        validation = sum(trajectory_id in held_out for trajectory_id in kept)
        found.append({"max_mean": bound, "train": len(kept) - validation, "validation": validation})
    return found


def _sample_counts(profiles: pl.DataFrame, most: int) -> Iterable[int]:
    """Return 2, 4, 8, ... up to all samples; only the last without profiles, or if a rule stopped some of them."""
    if profiles.is_empty() or profiles["stopping"].drop_nulls().len():
        return [most]
    return [*(1 << power for power in range(1, most.bit_length()) if 1 << power < most), most]


def _of_first_samples(run: Path, mined: Mined, num_samples: int) -> pl.DataFrame:
    """Profile the states by their first samples only."""
    record, whole = mined.policy, mined.profiles
    policy_id, verifier_id = whole.select("policy_id", "verifier_id").row(0)
    files = require_sound(run, "scores", run / "scores" / policy_id / verifier_id)
    samples = first_samples(samples_under(run, record, record.budget), num_samples)
    scores = scores_under(rundir.scan(run, "scores", files), samples, record)
    states = whole.select("state_id", "gate").join(counts_of(samples), on="state_id", how="left").fill_null(0)
    return pl.DataFrame(profile(scores, states, policy_id=policy_id, verifier_id=verifier_id, budget=record.budget))
