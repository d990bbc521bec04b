"""The covariates of the prior: facts about a state other than its rewards.

They are the domain, the tool that its first demonstration calls, the depth of its turn (logarithm of the turn's index
plus one), and, if triage gave it, the demonstration's probability under the policy as a logit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from pivotmine.run import rundir
from pivotmine.run.parts import require_sound
from pivotmine.stats.success_prior import Observed

COLUMNS = ("state_id", "domain", "kind", "demonstration", "turn_index")
"""Columns of `turns` that the covariates follow from."""
_LEAST_MASS = 1e-6
"""All demonstrations below this probability count the same: they are one of very many ways, or unlikely actions."""


def covariates(
    run: Path, turns: pl.DataFrame, policy_id: str, verifier_id: str, *, budget: int | None = None
) -> dict[str, Observed]:
    """The covariates by state_id, without rewards.

    turns: the demonstrated turns; the first of a state counts. budget: the token budget of a sample.
    """
    masses = demonstration_masses(run, policy_id, verifier_id, budget=budget)
    first = turns.select(COLUMNS).unique("state_id", keep="first", maintain_order=True)
    return {row["state_id"]: covariates_of(row, masses.get(row["state_id"])) for row in first.iter_rows(named=True)}


def covariates_of(turn: Mapping[str, Any], mass: float | None) -> Observed:
    """The covariates of one turn (COLUMNS). mass: the probability of its demonstration, None if unknown."""
    categories, numbers = _categories(str(turn["domain"]), _tool(turn)), _depth(turn["turn_index"])
    if mass is not None:
        bounded = min(max(mass, _LEAST_MASS), 1 - _LEAST_MASS)
        numbers = {**numbers, "demonstration": math.log(bounded / (1 - bounded))}
    return Observed(0.0, 0.0, categories, numbers)


# Cached, so that states share these objects: a run may have millions of states.
@lru_cache(4096)
def _categories(domain: str, tool: str) -> dict[str, str]:
    return {"domain": domain, "tool": tool}


@lru_cache(4096)
def _depth(turn_index: int) -> dict[str, float]:
    return {"depth": math.log1p(turn_index)}


def _tool(turn: Mapping[str, Any]) -> str:
    """The first call's name, or `message`."""
    calls = json.loads(turn["demonstration"]).get("tool_calls") or []
    return str(calls[0].get("name")) if calls else str(turn["kind"])


def demonstration_masses(run: Path, policy_id: str, verifier_id: str, *, budget: int | None = None) -> dict[str, float]:
    """By state_id, the probability that the policy takes the demonstration: a lower bound of its mean reward.

    Absent are states without triage, refused ones, and those whose demonstration has more than `budget` tokens.
    """
    parts = require_sound(run, "triage", run / "triage" / policy_id / verifier_id)
    rows = rundir.scan(run, "triage", parts).filter(pl.col("logprob").is_not_null() & pl.col("refusal").is_null())
    if budget is not None:
        rows = rows.filter(pl.col("num_tokens") <= budget)
    return dict(rows.select("state_id", pl.col("logprob").exp().clip(0, 1)).collect().iter_rows())
