"""The finished cells of the present settings, as the page reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pivotmine_claims.arms import ARMS
from pivotmine_claims.cells import cell_of, file_of, read, tries_of
from pivotmine_claims.ledger import Cost, from_json, total
from pivotmine_claims.mining import World
from pivotmine_claims.scale import Scale
from pivotmine_claims.statistics import Estimate, paired

MEASURES = ("greedy", "sampled", "skills_mean", "skills_worst", "kl_to_base")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """All cells of a world."""

    cells: dict[str, dict[int, dict[str, Any]]]
    """By arm and seed."""
    tries: dict[str, list[dict[str, Any] | None]]
    """By arm, in the order of its list; null: not made yet."""
    other_files: int
    """Number of files with other settings; the page leaves them out."""

    def final(self, arm: str, measure: str) -> dict[int, float]:
        """By seed."""
        return {seed: cell["points"][-1]["measured"][measure] for seed, cell in self.cells[arm].items()}

    def mean(self, arm: str, measure: str) -> Estimate:
        return Estimate(values=list(self.final(arm, measure).values()))

    def difference(self, ours: str, theirs: str, measure: str) -> Estimate:
        """Paired by seed."""
        return paired(self.final(ours, measure), self.final(theirs, measure))

    def cost(self, arm: str, kind: str | None = None) -> Cost | None:
        """Mean over seeds, of `mining` or `training` alone, or of both; null without a cell."""
        found = [cost_at(cell["points"][-1], kind) for cell in self.cells[arm].values()]
        if not found:
            return None
        summed = total(found)
        whole = {name: round(getattr(summed, name) / len(found)) for name in Cost.__slots__ if name != "cpu_s"}
        return Cost(**whole, cpu_s=summed.cpu_s / len(found))

    def curve(self, arm: str, x: str) -> list[list[tuple[float, float]]]:
        """(cost so far, greedy success) of each seed; x: a field or property of `Cost`, mining included."""
        return [
            [(getattr(cost_at(point), x), point["measured"]["greedy"]) for point in cell["points"]]
            for cell in self.cells[arm].values()
        ]

    def reached(self, arm: str, target: float) -> list[int | None]:
        """Rollout turns, mining included, of each seed's first measured policy at the target; null: not reached."""
        return [
            next((cost_at(p).turns for p in cell["points"] if p["measured"]["greedy"] >= target), None)
            for cell in self.cells[arm].values()
        ]


def cost_at(point: dict[str, Any], kind: str | None = None) -> Cost:
    """Return the total cost up to a measured policy."""
    return total(entry.cost for entry in from_json(point["ledger"]) if kind in (None, entry.kind))


def load(world: World, scale: Scale, results: Path) -> Scores:
    """Read the finished cells and tries."""
    cells: dict[str, dict[int, dict[str, Any]]] = {}
    tries: dict[str, list[dict[str, Any] | None]] = {}
    seen: set[Path] = set()
    for arm in ARMS:
        asked = tries_of(arm, world, scale, results)
        tried = [file_of(one, world, scale, results) for one in asked or ()]
        tries[arm] = [read(path) for path in tried] if asked is not None else [None] * len(ARMS[arm].tries)
        cells[arm] = {}
        for seed in range(scale.seeds):
            cell = cell_of(arm, seed, world, scale, results)
            path = None if cell is None else file_of(cell, world, scale, results)
            if path is not None and (found := read(path)) is not None:
                cells[arm][seed] = found
                seen.add(path)
        seen.update(tried)
    files = set((results / world.name).glob("*/*.json"))
    return Scores(cells=cells, tries=tries, other_files=len(files - seen))


def percent(value: float | None) -> str:
    """12.3 %, or a dash."""
    return "–" if value is None else f"{100 * value:.1f} %"


def points(value: float) -> str:
    """A difference of shares: +1.2."""
    return f"{round(100 * value, 1) + 0.0:+.1f}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """As Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
