"""A cell is an arm with a seed, or a try of an arm: its key, its file, and how it is made.

A key holds data, verifier, settings and sizes, and no commit: a cell is made once, and made again only where one of
those changes. Files lie in RESULTS/<world>/cells and RESULTS/<world>/tries.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pivotmine_claims.arms import ARMS, Settings
from pivotmine_claims.ledger import as_json, stage, write_json
from pivotmine_claims.mining import Lab, World, digest, functional
from pivotmine_claims.scale import Scale

RECIPES_VERSION = 1
"""Raise it when a recipe or a measure changes its meaning: all cells are then made again."""
TRY_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    arm: str
    seed: int
    settings: Settings
    place: int | None = None
    """The try's place in its arm's list; None if it is a cell of the table."""
    first: Settings | None = None
    """Settings of the arm that this one starts after."""


def key_of(cell: Cell, world: World, scale: Scale) -> str:
    """Return the hash that names the cell."""
    return digest(
        {
            "recipes": RECIPES_VERSION,
            "data": world.digest(),
            "verifier": functional().verifier_id,
            "scale": {name: value for name, value in asdict(scale).items() if name != "seeds"},
            "is_try": cell.place is not None,
            **{name: getattr(cell, name) for name in ("arm", "seed", "settings", "first")},
        }
    )


def file_of(cell: Cell, world: World, scale: Scale, results: Path) -> Path:
    """Return the path of the finished cell."""
    key = key_of(cell, world, scale)[:8]
    if cell.place is not None:
        return results / world.name / "tries" / f"{cell.arm}-{cell.place + 1}-{key}.json"
    return results / world.name / "cells" / f"{cell.arm}-seed{cell.seed}-{key}.json"


def read(path: Path) -> dict[str, Any] | None:
    """Read a finished cell; None if it does not exist."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def tries_of(arm: str, world: World, scale: Scale, results: Path) -> list[Cell] | None:
    """List the arm's tries; None while they wait for the tries of another arm."""
    first, name = None, ARMS[arm].after
    if name is not None and (first := frozen(name, world, scale, results)) is None:
        return None
    tries = enumerate(ARMS[arm].tries)
    return [Cell(arm=arm, seed=TRY_SEED, settings=one, place=place, first=first) for place, one in tries]


def frozen(arm: str, world: World, scale: Scale, results: Path) -> Settings | None:
    """Return the settings of the best try; None before all tries are done. An arm without tries has no settings."""
    if (other := ARMS[arm].like) is not None:
        return frozen(other, world, scale, results)
    tries = tries_of(arm, world, scale, results)
    if tries is None:
        return None
    done = [read(file_of(one, world, scale, results)) for one in tries]
    scores = [found["points"][-1]["measured"]["greedy"] for found in done if found is not None]
    if len(scores) < len(tries):
        return None
    return dict(tries[max(range(len(tries)), key=lambda i: scores[i])].settings) if tries else {}


def cell_of(arm: str, seed: int, world: World, scale: Scale, results: Path) -> Cell | None:
    """Return the arm's cell of a seed; None while tries are missing."""
    settings, first, after = frozen(arm, world, scale, results), None, ARMS[arm].after
    if after is not None:
        first = frozen(after, world, scale, results)
    if settings is None or (after is not None and first is None):
        return None
    return Cell(arm=arm, seed=seed, settings=settings, first=first)


def make(cell: Cell, world: World, scale: Scale, work: Path, results: Path) -> Path:
    """Make the cell and return its file; continue where an earlier attempt was killed."""
    from pivotmine_claims.recipes import RECIPES  # TRL takes seconds to import, and the page does not need it

    arm, is_try = ARMS[cell.arm], cell.place is not None
    lab = Lab(world=world, scale=scale.tried(arm.steps) if is_try else scale, work=work, seed=cell.seed)
    more = {} if cell.first is None else {"first": cell.first}
    points = RECIPES[arm.recipe](lab, cell.settings, **arm.options, **more)
    hows = ["try"] if is_try else [*["curve"] * (len(points) - 1), "final"]
    measured = [_measured(lab, point, how) for point, how in zip(points[-len(hows) :], hows, strict=True)]
    path = file_of(cell, world, scale, results)
    write_json(
        path,
        {
            "world": world.name,
            **asdict(replace(cell, place=None if cell.place is None else cell.place + 1)),
            "key": key_of(cell, world, scale),
            "data": world.digest(),
            "verifier": functional().verifier_id,
            "scale": asdict(scale),
            "points": measured,
        },
    )
    return path


def _measured(lab: Lab, point: Any, how: Any) -> dict[str, Any]:
    from pivotmine_claims.measure import measure

    world, scale = lab.world, lab.scale
    sizes = {
        name: getattr(scale, name) for name in ("curve_tasks", "final_tasks", "questions", "kl_batches", "try_tasks")
    }
    place = point.policy.relative_to(lab.work) if point.policy.is_relative_to(lab.work) else "base"
    key = digest({"policy": str(place), "data": world.digest(), "how": how, "seed": lab.seed, **sizes})
    folder = lab.work / world.name / "measured" / key
    found = stage(folder, lambda folder: measure(point.policy, world.policy, scale, how, seed=lab.seed))
    cpu_s = found.pop("cpu_s")
    return {
        "step": point.step,
        "how": how,
        "measured": found,
        "measuring_cpu_s": cpu_s,
        "ledger": as_json(point.ledger),
    }
