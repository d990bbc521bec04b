"""Adaptive profiling: signal recall against samples spent, on simulated populations and, with `--desk RUN`, on a run.

Signal recall is the sum of sqrt(p (1 - p)) over the selected states, relative to that of fixed K = 16, p the true
success rate; every arm selects by the paper's rule (rewards differ, mean below 0.6) on the samples that it drew, from
the same stream of rewards per state. Next to it: selected states relative to fixed K = 16, and the share of them whose
p is in (0, 0.6), since a rule that selects more finds more.

The limit: backward induction with the true population as prior and a decision after every sample. At any price no rule
that sees counts alone finds more worth on average (signal below the bound, less what states above it cost; a rule that
selects carelessly may find more signal). What it still spends goes to states that never succeed, which only many
failures tell from those that seldom do.

    python -m benchmarks.adaptive [--desk RUN] [--seeds 3] [--states 1500]
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import polars as pl

from pivotmine.run import rundir
from pivotmine.stats.success_prior import Observed
from pivotmine_stages.adaptive.allocation import RENT, Lattice, Outlook, Place, moved
from pivotmine_stages.adaptive.planning import Goal, StateSoFar, exact_plan, probabilistic_plan
from pivotmine_stages.profiles.stopping import Rewards, StoppingRule

MOST = 16
MAX_MEAN = 0.6
TARGETS = (0.8, 0.85, 0.9, 0.95, 0.98)
PRICES = (0.012, 0.008, 0.005, 0.0035, 0.0025, 0.0018, 0.0012)
RULE = StoppingRule(rule="exact", num_samples=MOST, max_mean=MAX_MEAN, min_scored=2)
RECALL = 0.95
MASS_NOISE, VARIED = 1.0, 0.2
"""Simulated triage: the demonstration has about half of the right actions' mass (its logit is normal, of deviation 1),
but in a fifth of the states it is one of very many: a share of 0.01 to 0.000001, log-uniform."""


def mostly_never(draw: random.Random) -> float:
    """71 % without signal, as in the paper, 55 never and 16 always; the rest flat."""
    u = draw.random()
    return 0.0 if u < 0.55 else 1.0 if u < 0.71 else draw.random()


def mostly_always(draw: random.Random) -> float:
    """65 % without signal, 53 always and 12 never; the rest flat."""
    u = draw.random()
    return 1.0 if u < 0.53 else 0.0 if u < 0.65 else draw.random()


def flat(draw: random.Random) -> float:
    """Every success rate alike."""
    return draw.random()


POPULATIONS: dict[str, Callable[[random.Random], float]] = {
    "mostly never (71 % without signal)": mostly_never,
    "mostly always (65 % without signal)": mostly_always,
    "flat": flat,
}


class World(NamedTuple):
    """States with their true success rates, their streams of rewards, and what triage says of them."""

    rates: list[float]
    streams: list[list[float]]
    masses: list[float] | None


class Point(NamedTuple):
    """What an arm reached."""

    samples: float
    """Relative to fixed K = 16."""
    recall: float
    selected: float
    """Relative to fixed K = 16."""
    pivots: float
    """Share of the selected states with p in (0, 0.6)."""


def simulated(population: Callable[[random.Random], float], num_states: int, seed: int) -> World:
    """A world, and the demonstration's mass for each state: below p, which it bounds."""
    draw = random.Random(seed)
    rates = [population(draw) for _ in range(num_states)]
    streams = [[float(draw.random() < p) for _ in range(MOST)] for p in rates]
    masses = []
    for p in rates:
        varied = draw.random() < VARIED
        share = 10 ** -draw.uniform(2, 6) if varied else 1 / (1 + math.exp(draw.gauss(0, MASS_NOISE)))
        masses.append(p * share)
    return World(rates, streams, masses)


def seen(world: World, state: int, count: int, *, triage: bool) -> StateSoFar:
    """A state after `count` samples."""
    rewards = world.streams[state][:count]
    total = math.fsum(rewards)
    numbers: dict[str, float] = {}
    mass = 0.0
    if triage and world.masses is not None:
        mass = world.masses[state]
        bounded = min(max(mass, 1e-4), 1 - 1e-4)
        numbers = {"demonstration": math.log(bounded / (1 - bounded))}
    return StateSoFar(
        rewards=Rewards(count, count, total, min(rewards, default=1.0), max(rewards, default=0.0)),
        known=Observed(total, count - total, {}, numbers),
        least_mean=mass,
    )


def adapted(world: World, goal: Goal | None, *, triage: bool = False) -> list[int]:
    """Samples of every state after all rounds: exact without a goal."""
    counts = [0] * len(world.rates)
    while True:
        states = [seen(world, i, count, triage=triage) for i, count in enumerate(counts)]
        plan = exact_plan(states, RULE) if goal is None else probabilistic_plan(states, RULE, goal)
        if plan.counts == counts:
            return counts
        counts = plan.counts


def measure(world: World, counts: Sequence[int]) -> Point:
    """An arm against fixed K = 16 in the same world."""
    chosen, fixed = _selected(world, counts), _selected(world, [MOST] * len(counts))
    signal = [math.sqrt(p * (1 - p)) for p in world.rates]
    return Point(
        sum(counts) / (MOST * len(counts)),
        sum(signal[i] for i in chosen) / sum(signal[i] for i in fixed),
        len(chosen) / len(fixed),
        sum(0 < world.rates[i] < MAX_MEAN for i in chosen) / max(len(chosen), 1),
    )


def _selected(world: World, counts: Sequence[int]) -> list[int]:
    return [
        i
        for i, count in enumerate(counts)
        if 0 < (total := sum(world.streams[i][:count])) < count and total / count < MAX_MEAN
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownPrior(Lattice):
    """The limit: a lattice whose prior is the population itself, each success rate as likely as it is."""

    rates: tuple[float, ...]

    def _weights(self, at: Place) -> list[float]:
        likelihoods = [p**at.successes * (1 - p) ** at.failures for p in self.rates]
        total = math.fsum(likelihoods)
        return [likelihood / total for likelihood in likelihoods]

    def worth(self, at: Place) -> float:
        known = zip(self._weights(at), self.rates, strict=True)
        return math.fsum(w * (math.sqrt(p * (1 - p)) if p < MAX_MEAN else -RENT) for w, p in known)

    def chances(self, at: Place, batch: int) -> list[float]:
        assert batch == 1
        success = math.fsum(w * p for w, p in zip(self._weights(at), self.rates, strict=True))
        return [1 - success, success]


def limit(world: World, population: Callable[[random.Random], float], price: float) -> list[int]:
    """Samples of every state by the best policy of all, which knows the population and decides after each sample."""
    draw = random.Random(0)
    rates = tuple(population(draw) for _ in range(2000))
    lattice = KnownPrior(a=1.0, b=1.0, batch_samples=1, max_mean=MAX_MEAN, rates=rates)
    memo: dict[tuple[Place, int], Outlook] = {}
    counts: list[int] = []
    for stream in world.streams:
        at, count = Place(0, 0), 0
        while lattice.outlook(at, MOST - count, price, memo).num_samples > 0:
            reward = int(stream[count])
            at, count = moved(at, reward, 1 - reward), count + 1
        counts.append(count)
    return counts


def arms(world: World, population: Callable[[random.Random], float] | None) -> dict[str, list[Point]]:
    """Every arm's curve: its points from few samples to many."""
    size = len(world.rates)
    curves = {f"fixed K={k}": [measure(world, [k] * size)] for k in (4, 8, 12, 16)}
    curves["exact"] = [measure(world, adapted(world, None))]
    curves["probabilistic"] = [measure(world, adapted(world, Goal(target_recall=t))) for t in TARGETS]
    if world.masses is not None:
        curves["with triage"] = [measure(world, adapted(world, Goal(target_recall=t), triage=True)) for t in TARGETS]
    if population is not None:
        curves["limit from counts"] = [measure(world, limit(world, population, price)) for price in PRICES]
    return curves


def at_recall(curve: Sequence[Point], recall: float) -> Point | None:
    """Where a curve first reaches the recall, between its points; None where it never does."""
    before: Point | None = None
    for point in sorted(curve):
        if point.recall >= recall:
            if before is None:
                return point
            part = (recall - before.recall) / (point.recall - before.recall)
            return Point(*(a + part * (b - a) for a, b in zip(before, point, strict=True)))
        before = point
    return None


def median(points: Sequence[Point]) -> Point:
    """Column by column."""
    return Point(*(statistics.median(column) for column in zip(*points, strict=True)))


def show(title: str, worlds: Sequence[World], population: Callable[[random.Random], float] | None) -> None:
    """Print the curves, medians over the worlds."""
    found = [arms(world, population) for world in worlds]
    medians = {
        name: [median([curves[name][i] for curves in found]) for i in range(len(curve))]
        for name, curve in found[0].items()
    }
    print(f"adaptive {title}: {len(worlds[0].rates)} states, medians of {len(worlds)} seeds; K = {MOST} is 100 %")
    print(f"         {'arm':<18} {'samples':>8} {'recall':>7} {'selected':>9} {'pivots among them':>18}")
    for name, curve in medians.items():
        for point in curve:
            print(f"         {name:<18} {_row(point)}")
    for name in ("probabilistic", "with triage", "limit from counts"):
        if (reached := at_recall(medians.get(name, []), RECALL)) is not None:
            print(f"         {name:<18} {_row(reached)}  at recall {RECALL}")


def _row(point: Point) -> str:
    return f"{point.samples:>8.0%} {point.recall:>7.3f} {point.selected:>9.2f} {point.pivots:>18.2f}"


def desk(run: Path, seed: int) -> World:
    """The states of a run with at least 64 scored samples: their mean is p, their samples in a drawn order the stream."""
    scores = rundir.scan(run, "scores").drop_nulls("reward").sort("state_id", "sample_index").collect()
    draw = random.Random(seed)
    kept: dict[str, list[float]] = {}
    for (state,), rows in scores.group_by("state_id", maintain_order=True):
        rewards = rows["reward"].to_list()
        if len(rewards) >= 64:
            draw.shuffle(rewards)
            kept[str(state)] = rewards
    asked = rundir.scan(run, "triage").drop_nulls("logprob").filter(pl.col("refusal").is_null())
    masses = dict(asked.group_by("state_id").agg(pl.col("logprob").exp().sum()).collect().iter_rows())
    rates = [math.fsum(rewards) / len(rewards) for rewards in kept.values()]
    known = [min(masses.get(state, 0.0), 1.0) for state in kept] if masses else None
    return World(rates, [rewards[:MOST] for rewards in kept.values()], known)


def main(arguments: Sequence[str] = ()) -> None:
    """Print the curves."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adaptive")
    parser.add_argument("--desk", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--states", type=int, default=1500)
    options = parser.parse_args(arguments)
    if options.desk is not None:
        show(f"{options.desk}", [desk(options.desk, seed) for seed in range(options.seeds)], None)
        return
    for name, population in POPULATIONS.items():
        show(name, [simulated(population, options.states, seed) for seed in range(options.seeds)], population)


if __name__ == "__main__":
    main(sys.argv[1:])
