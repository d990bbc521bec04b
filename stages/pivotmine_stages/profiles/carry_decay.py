"""Estimates that `rollout --from` carried over to a policy: bounds by state, and a decay fitted on its own samples.

Two random sets of states are always sampled, even if the bounds decide. The decay is fitted on one and checked on the
other. Both sets depend only on stored rows, and so do all beliefs.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from pivotmine.errors import UserError
from pivotmine.run import rundir
from pivotmine.run.parts import require_sound
from pivotmine.stats.carry_bounds import Bounds, Carried, Decay, Fresh, fit_decay

RANDOM_STATES, RANDOM_SHARE = 128, 1 / 8
"""Size of each random set: this many states, or this share of a smaller run."""
_BOUNDS = ("carried_low", "carried_high", "unseen_mass")


def carried_dir(run: Path, policy_id: str, verifier_id: str) -> Path:
    """The folder with the parts of `carried` of one policy and verifier."""
    return run / "carried" / policy_id / verifier_id


def carried_states(run: Path, policy_id: str, verifier_id: str, budget: int | None) -> dict[str, Carried]:
    """The carried estimate by state_id, from the row with the smallest unseen mass. UserError if a row is invalid.

    budget: the token budget that the rows must have; None for any, if the profile's budget is unknown.
    """
    folder = carried_dir(run, policy_id, verifier_id)
    rows = rundir.scan(run, "carried", require_sound(run, "carried", folder))
    if budget is not None:
        rows = rows.filter(pl.col("budget") == budget)
    try:
        found = rows.sort("unseen_mass", "source").unique("state_id", keep="first", maintain_order=True).collect()
        wrong = found.filter(~_is_sound())
    except pl.exceptions.PolarsError as error:
        raise UserError(f"{folder} is damaged ({str(error).splitlines()[0]}): {_REMEDY}") from None
    if not wrong.is_empty():
        raise UserError(f"{folder}: invalid bounds in state {wrong['state_id'][0]!r}: {_REMEDY}")
    return {row["state_id"]: _carried(row) for row in found.iter_rows(named=True)}


_REMEDY = "delete it and start the same `pivotmine rollout --from` again"


def _is_sound() -> pl.Expr:
    """Whether the bounds are probabilities in order, and the posterior has positive weights or is missing."""
    low, high, unseen = (pl.col(name) for name in _BOUNDS)
    bounds = (low >= 0) & (low <= high) & (high <= 1) & unseen.is_between(0, 1)
    alpha, beta = pl.col("old_alpha"), pl.col("old_beta")
    weights = (alpha > 0) & (beta > 0) & alpha.is_finite() & beta.is_finite()
    return (bounds & (weights | (alpha.is_null() & beta.is_null()))).fill_null(False)


def _carried(row: Mapping[str, Any]) -> Carried:
    old = None if row["old_alpha"] is None else (row["old_alpha"], row["old_beta"])
    return Carried(Bounds(*(row[name] for name in _BOUNDS)), old)


def random_sets(state_ids: Iterable[str], policy_id: str) -> tuple[list[str], list[str]]:
    """The states to fit the decay on, and those to check it on: two random sets, the same in every process."""

    def place(state_id: str) -> bytes:
        return hashlib.blake2b(f"{policy_id}/{state_id}".encode(), digest_size=8).digest()

    found = sorted(state_ids, key=place)
    drawn = found[: 2 * min(RANDOM_STATES, math.ceil(RANDOM_SHARE * len(found)))]
    return drawn[::2], drawn[1::2]


def fresh_samples(
    state_ids: Iterable[str], carried: Mapping[str, Carried], profiles: Iterable[Mapping[str, Any]]
) -> list[Fresh]:
    """The carried states among `state_ids` with the rewards of their profiles, except those without samples."""
    wanted = set(state_ids)
    return [
        Fresh(carried[row["state_id"]], row["mean"] * row["num_scored"], (1 - row["mean"]) * row["num_scored"])
        for row in profiles
        if row["state_id"] in wanted and row["num_scored"]
    ]


def decay_of(carried: Mapping[str, Carried], policy_id: str, profiles: Iterable[Mapping[str, Any]]) -> Decay:
    """The decay fitted on the first random set."""
    fitted, _ = random_sets(carried, policy_id)
    return fit_decay(fresh_samples(fitted, carried, profiles))
