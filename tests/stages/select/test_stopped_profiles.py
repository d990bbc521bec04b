"""Selections that are possible on profiles that stopped early; select refuses the others."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from pivotmine_stages.profiles.stopping import StoppingRule, finished
from pivotmine_stages.select.options import SelectConfig
from pivotmine_stages.select.stopped_profiles import undecided


def rule(num_samples: int = 16, max_mean: float = 0.6, min_scored: int = 2, name: str = "exact") -> StoppingRule:
    return StoppingRule(rule=name, num_samples=num_samples, max_mean=max_mean, min_scored=min_scored)


SCHEMA = {
    "num_samples": pl.Int32,
    "num_scored": pl.Int32,
    "mean": pl.Float64,
    "min_reward": pl.Float64,
    "max_reward": pl.Float64,
    "stopping": pl.String,
}


def profiles(stopping: StoppingRule | None, *rewards: list[float]) -> pl.DataFrame:
    text = stopping and stopping.to_json()
    rows = [(len(r), len(r), sum(r) / len(r), min(r), max(r), text) for r in rewards]
    return pl.DataFrame(rows, SCHEMA, orient="row")


FEW, MIXED, MANY = [0.0] * 7 + [1.0], [1.0, 0.0], [1.0] * 10


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, None),
        ({"max_mean": 0.5}, "1 state is undecided"),
        ({"strategy": "mixed"}, "1 state is undecided"),
        ({"strategy": "random"}, None),
        ({"strategy": "random", "limit": 1}, None),
        ({"strategy": "all"}, None),
        ({"min_scored": 3}, "--min-scored 3 needs more samples than 2"),
        ({"min_scored": 1}, None),
        ({"variance_share": 0.9}, "--variance-share needs the variance"),
        ({"limit": 1}, "--max-rows needs the variance"),
        ({"max_per_domain": 1}, "--max-per-domain needs the variance"),
        ({"holdout": "half"}, "--holdout half needs samples"),
        ({"min_pivot_probability": 0.5}, None),
    ],
)
def test_what_exact_stopping_leaves_open_is_refused(settings: dict[str, Any], words: str | None) -> None:
    found = undecided(profiles(rule(), FEW, MANY), SelectConfig(**settings))
    assert found is None if words is None else found is not None and found.startswith(words)
    assert undecided(profiles(None, FEW, MANY), SelectConfig(**settings)) is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, None),
        ({"max_mean": 0.5}, "--max-mean 0.5 is undecided"),
        ({"strategy": "mixed"}, "--strategy mixed is undecided"),
        ({"strategy": "random"}, None),
        ({"limit": 1}, None),
        ({"variance_share": 0.9}, "--variance-share needs the variance"),
    ],
)
def test_probabilistic_stopping_bears_its_own_bound(settings: dict[str, Any], words: str | None) -> None:
    found = undecided(profiles(rule(name="probabilistic"), MIXED, MANY), SelectConfig(**settings))
    assert found is None if words is None else found is not None and found.startswith(words)


def test_states_that_no_round_has_finished_are_no_profiles() -> None:
    """A pilot's, or those of a start that was killed: 1 of 2 may still become anything in 16."""
    found = profiles(rule(), FEW, [1.0, 0.0], MANY).with_columns(state_id=pl.Series(["few", "begun", "many"]))
    assert finished(found)["state_id"].to_list() == ["few", "many"]
    assert undecided(finished(found), SelectConfig()) is None
    for other in (rule(name="probabilistic"), None):
        begun = profiles(other, [1.0, 0.0]).with_columns(state_id=pl.lit("begun"))
        assert finished(begun).equals(begun)
