"""Make cells, one after another: all tries, then seed by seed over all arms.

Several processes may run at once: each cell is made by one of them. A killed one loses at most what it did since the
last checkpoint; the next start goes on from there.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from pivotmine.errors import UserError
from pivotmine_claims.arms import ARMS
from pivotmine_claims.cells import Cell, cell_of, file_of, key_of, make, tries_of
from pivotmine_claims.ledger import locked, stage, write_json
from pivotmine_claims.measure import WORLD_SAMPLES, WORLD_STATES, demonstration_probabilities, world_classes
from pivotmine_claims.mining import World, functional
from pivotmine_claims.scale import Scale


def run(
    world: World, scale: Scale, work: Path, results: Path, *, arms: Sequence[str] = (), minutes: float | None = None
) -> int:
    """Make the missing cells; return how many could not be made. `minutes`: start no cell after this time."""
    torch.set_num_threads(1)  # two threads of so small a model wait for each other
    check_world(world, work, results)
    until, refused = None if minutes is None else time.monotonic() + 60 * minutes, set[Path]()
    while True:
        made = 0
        for cell in missing(world, scale, results, arms):
            path = file_of(cell, world, scale, results)
            if path in refused:
                continue
            if until is not None and time.monotonic() > until:
                return len(refused)
            try:
                made += _make_alone(cell, world, scale, work, results)
            except UserError as error:
                refused.add(path)
                _say(f"{cell_name(cell)}: {error}")
            if made:
                break  # a finished try may decide which cell comes next
        if not made:
            return len(refused)


def _make_alone(cell: Cell, world: World, scale: Scale, work: Path, results: Path) -> bool:
    """Make a cell unless another process makes it or has made it; return whether this call made it."""
    folder = work / world.name / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        free = stack.enter_context(locked(folder / key_of(cell, world, scale), wait=False))
        if not free or file_of(cell, world, scale, results).is_file():
            return False
        _say(f"{cell_name(cell)} ...")
        began = time.monotonic()
        path = make(cell, world, scale, work, results)
        _say(f"{cell_name(cell)}: {time.monotonic() - began:.0f} s, {path}")
        return True


def missing(world: World, scale: Scale, results: Path, arms: Sequence[str] = ()) -> Iterator[Cell]:
    """Cells without a file that can be made now: all tries, then seed by seed."""
    names = arms or list(ARMS)
    tries = [one for arm in names for one in tries_of(arm, world, scale, results) or ()]
    cells = [cell_of(arm, seed, world, scale, results) for seed in range(scale.seeds) for arm in names]
    yield from (
        one for one in [*tries, *cells] if one is not None and not file_of(one, world, scale, results).is_file()
    )


def check_world(world: World, work: Path, results: Path) -> None:
    """Measure the world once, before any arm; UserError if it misses its target."""
    folder = work / world.name / "world"
    found = stage(folder, lambda folder: dict(world_classes(world.policy)))
    folder = work / world.name / "demonstrations"
    found["demonstrations"] = stage(folder, lambda folder: dict(demonstration_probabilities(world.policy)))
    for one in (found, found["demonstrations"]):
        one.pop("cpu_s")
    size = {"states": WORLD_STATES, "samples": WORLD_SAMPLES}
    write_json(
        results / world.name / "world.json",
        {"data": world.digest(), "verifier": functional().verifier_id, **size, **found},
    )
    low, high = world.never
    if not low <= found["never"] <= high:
        raise UserError(
            f"world {world.name}: the base policy never solves {found['never']:.1%} of the states, and it is to be "
            f"{low:.0%} to {high:.0%}"
        )


def cell_name(cell: Cell) -> str:
    """For a person."""
    return f"{cell.arm}, try {cell.place + 1}" if cell.place is not None else f"{cell.arm}, seed {cell.seed}"


def _say(words: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {words}\n")
    sys.stdout.flush()
