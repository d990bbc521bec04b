"""What is known of a state apart from its rewards: the covariates of the prior.

Domain, the tool that its first demonstration calls, the depth of its turn (logarithm of one more than the turn's
index), and the demonstration's probability under the policy, as a logit, where triage gave it.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import polars as pl

from pivotmine.run import rundir
from pivotmine.run.parts import require_sound
from pivotmine.stats.success_prior import Observed

_LEAST_MASS = 1e-6
"""Demonstrations less likely are alike: one of very many ways, or unlikely altogether."""


def covariates(
    run: Path, turns: pl.DataFrame, policy_id: str, verifier_id: str, *, budget: int | None = None
) -> dict[str, Observed]:
    """By state_id, with no rewards yet; `turns` are the demonstrated ones, the first of a state counts.

    budget: the token budget of a sample.
    """
    masses = demonstration_masses(run, policy_id, verifier_id, budget=budget)
    columns = ("state_id", "domain", "kind", "demonstration", "turn_index")
    first = turns.unique("state_id", keep="first", maintain_order=True).select(columns)
    return {row["state_id"]: _covariates(row, masses.get(row["state_id"])) for row in first.iter_rows(named=True)}


def _covariates(turn: dict[str, Any], mass: float | None) -> Observed:
    numbers = {"depth": math.log1p(turn["turn_index"])}
    if mass is not None:
        bounded = min(max(mass, _LEAST_MASS), 1 - _LEAST_MASS)
        numbers["demonstration"] = math.log(bounded / (1 - bounded))
    return Observed(0.0, 0.0, {"domain": str(turn["domain"]), "tool": _tool(turn)}, numbers)


def _tool(turn: dict[str, Any]) -> str:
    """The first call's name; null for a message."""
    calls = json.loads(turn["demonstration"]).get("tool_calls") or []
    return str(calls[0].get("name")) if calls else str(turn["kind"])


def demonstration_masses(run: Path, policy_id: str, verifier_id: str, *, budget: int | None = None) -> dict[str, float]:
    """By state_id, the probability that the policy takes the demonstration: a bound on its mean reward from below.

    States without triage are absent, those where it was refused, and those whose demonstration has more tokens than a
    sample may have (`budget`).
    """
    parts = require_sound(run, "triage", run / "triage" / policy_id / verifier_id)
    rows = rundir.scan(run, "triage", parts).filter(pl.col("logprob").is_not_null() & pl.col("refusal").is_null())
    if budget is not None:
        rows = rows.filter(pl.col("num_tokens") <= budget)
    return dict(rows.select("state_id", pl.col("logprob").exp().clip(0, 1)).collect().iter_rows())
