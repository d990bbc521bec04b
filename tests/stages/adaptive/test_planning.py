"""Probabilistic plans: their cost, when they stop, and that the lattice agrees with simulation."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from pivotmine.stats.success_prior import Observed
from pivotmine_stages.adaptive.allocation import Lattice, Place, moved
from pivotmine_stages.adaptive.planning import Goal, StateSoFar, probabilistic_plan
from pivotmine_stages.profiles.stopping import Rewards, StoppingRule

RULE = StoppingRule(rule="probabilistic", num_samples=8, max_mean=0.6, min_scored=2)


def state(successes: int, failures: int, **columns: Any) -> StateSoFar:
    n = successes + failures
    rewards = Rewards(n, n, float(successes), 0.0 if failures else 1.0, 1.0 if successes else 0.0)
    return StateSoFar(rewards=rewards, known=Observed(float(successes), float(failures)), **columns)


def test_the_worth_of_drawing_is_what_simulation_finds() -> None:
    """Full sampling from a place: backward induction against 20,000 draws from the posterior."""
    draw, lattice = random.Random(0), Lattice(a=0.4, b=0.8, batch_samples=2, max_mean=0.6)
    at, total = Place(0.0, 2.0, 0.0, 0.0), 0.0
    for _ in range(20_000):
        p = draw.betavariate(0.4, 2.8)
        successes = sum(draw.random() < p for _ in range(6))
        total += lattice.stop(moved(at, successes, 6 - successes))
    assert lattice.full(at, 6) == pytest.approx(total / 20_000, abs=0.005)
    # Free samples are worth at least what all of them are; dear ones are not drawn.
    assert lattice.outlook(at, 6, 1e-9, {}).worth >= lattice.full(at, 6)
    assert lattice.outlook(at, 6, 1.0, {}).num_samples == 0


def test_a_state_is_worth_its_signal_where_the_rule_selects_it() -> None:
    lattice = Lattice(a=1.0, b=1.0, batch_samples=1, max_mean=0.6)
    assert lattice.stop(Place(0.0, 4.0, 0.0, 0.0)) == 0
    assert lattice.stop(Place(3.0, 1.0, 0.0, 1.0)) == 0
    steps = 100_000
    density = [(p, p * (1 - p) ** 3) for p in ((i + 0.5) / steps for i in range(steps))]
    total = math.fsum(d for _, d in density)
    signal = math.fsum(math.sqrt(p * (1 - p)) * d for p, d in density if p < 0.6) / total
    above = math.fsum(d for p, d in density if p >= 0.6) / total
    assert lattice.stop(Place(1.0, 3.0, 0.0, 1.0)) == pytest.approx(signal - 0.4 * above, abs=1e-4)


def test_cheap_states_come_before_dear_ones() -> None:
    """Alike in all but the length of their answers, and samples for a part of them only."""
    states = [state(0, 2, tokens=10.0 if i % 2 else 200.0) for i in range(40)] + [state(1, 1) for _ in range(10)]
    counts = probabilistic_plan(states, RULE, Goal(sample_budget=150)).counts
    cheap, dear = (sum(counts[i] > 2 for i in range(parity, 40, 2)) for parity in (1, 0))
    assert cheap > dear


@pytest.mark.parametrize("budget", [0, 7, 40, 77, 200])
def test_no_plan_exceeds_the_budget(budget: int) -> None:
    draw, counts = random.Random(1), [0] * 30
    rates = [draw.choice([0.0, 0.3, 1.0]) for _ in counts]
    streams = [[draw.random() < p for _ in range(8)] for p in rates]
    while True:
        states = [state(sum(s[:n]), n - sum(s[:n])) for s, n in zip(streams, counts, strict=True)]
        plan = probabilistic_plan(states, RULE, Goal(sample_budget=budget)).counts
        if plan == counts:
            break
        counts = plan
    assert sum(counts) <= budget
    assert sum(counts) >= min(budget, 40) - 1


def test_a_higher_target_asks_more() -> None:
    draw = random.Random(2)
    successes = [sum(draw.random() < p for _ in range(2)) for p in (draw.random() for _ in range(100))]
    states = [state(s, 2 - s) for s in successes]
    asked = [sum(probabilistic_plan(states, RULE, Goal(target_recall=t)).counts) for t in (0.5, 0.8, 0.95, 1.0)]
    assert asked == sorted(asked)
    assert asked[0] < asked[-1]


def test_a_likely_demonstration_needs_no_sample() -> None:
    plan = probabilistic_plan([StateSoFar(least_mean=0.7), StateSoFar(least_mean=0.1)], RULE, Goal())
    assert plan.counts == [0, 2]
