"""The fitted prior: it recovers the prior of simulated runs, and its posteriors are calibrated."""

from __future__ import annotations

import math
import random

import pytest

from pivotmine.stats.beta import cdf
from pivotmine.stats.success_prior import Observed, fit_prior, replication_probability


def draw_states(seed: int, n: int = 8, num_states: int = 2000) -> list[tuple[float, Observed]]:
    """(success rate, state): two domains and a number move the mean of p, the concentration is 3."""
    draw = random.Random(seed)
    found: list[tuple[float, Observed]] = []
    for i in range(num_states):
        domain, depth = ("easy", "hard")[i % 2], draw.gauss(0, 1)
        mean = 1 / (1 + math.exp(-((1.0 if domain == "easy" else -1.0) + 0.5 * depth)))
        p = draw.betavariate(3 * mean, 3 * (1 - mean))
        successes = sum(draw.random() < p for _ in range(n))
        found.append((p, Observed(successes, n - successes, {"domain": domain}, {"depth": depth})))
    return found


def test_it_finds_what_the_states_were_drawn_from() -> None:
    prior = fit_prior([state for _, state in draw_states(0)])
    means = [prior.mean(Observed(0, 0, {"domain": d}, {"depth": x})) for d in ("easy", "hard") for x in (-1.0, 1.0)]
    assert prior.phi == pytest.approx(3, rel=0.2)
    assert means == pytest.approx([0.622, 0.818, 0.182, 0.378], abs=0.06)


def test_posterior_intervals_hold_as_often_as_they_say() -> None:
    inside, places = 0, list[float]()
    states = draw_states(1, n=5)
    prior = fit_prior([state for _, state in states])
    for p, state in states:
        a, b = prior.beta(state)
        place = cdf(p, a + state.successes, b + state.failures)
        places.append(place)
        inside += 0.05 <= place <= 0.95
    assert inside / len(states) == pytest.approx(0.9, abs=0.02)
    # Places are uniform where posteriors are right: every tenth holds a tenth.
    tenths = [sum(i / 10 <= place < (i + 1) / 10 for place in places) / len(places) for i in range(10)]
    assert tenths == pytest.approx([0.1] * 10, abs=0.025)


def test_samples_that_stop_by_their_own_rewards_leave_it_calibrated() -> None:
    """Stop at the first success, or after 12: the likelihood does not care why the samples ended."""
    draw, states = random.Random(2), list[tuple[float, Observed]]()
    for _ in range(3000):
        p, failures = draw.betavariate(0.3, 0.9), 0
        while draw.random() >= p and failures < 11:
            failures += 1
        states.append((p, Observed(float(failures < 11), failures)))
    prior = fit_prior([state for _, state in states])
    posteriors = [(p, *prior.beta(state), state) for p, state in states]
    inside = sum(0.05 <= cdf(p, a + s.successes, b + s.failures) <= 0.95 for p, a, b, s in posteriors)
    assert inside / len(states) == pytest.approx(0.9, abs=0.025)


def test_few_states_of_a_kind_are_drawn_to_the_rest() -> None:
    common = [Observed(2, 2, {"tool": "find"}) for _ in range(200)]
    rare = [Observed(4, 0, {"tool": "rare"}) for _ in range(9)]
    prior = fit_prior([*common, *rare])
    assert prior.mean(Observed(0, 0, {"tool": "find"})) == pytest.approx(0.5, abs=0.07)
    assert 0.6 < prior.mean(Observed(0, 0, {"tool": "rare"})) < 0.98


@pytest.mark.parametrize(
    "states", [[], [Observed(0, 0)], [Observed(0, 8)] * 50, [Observed(8, 0)] * 50, [Observed(1.5, 2.5)]]
)
def test_runs_with_little_to_tell_have_a_proper_prior(states: list[Observed]) -> None:
    a, b = fit_prior(states).beta(Observed(0, 0))
    assert a > 0
    assert b > 0
    assert math.isfinite(a + b)


def test_the_chance_of_a_second_profile() -> None:
    """A state of p = 0.05 passes the plain rule at K = 8 in one of three runs; a rate that is known needs no prior."""
    assert replication_probability(0.05e9, 0.95e9, 8, 0.6) == pytest.approx(0.337, abs=1e-3)
    assert replication_probability(0.7e9, 0.3e9, 16, 0.6) == pytest.approx(0.175, abs=1e-3)
    draw = random.Random(3)
    passed = sum(0 < sum(draw.random() < p for _ in range(8)) < 4.8 for p in draws(draw, 20_000))
    assert replication_probability(2, 3, 8, 0.6) == pytest.approx(passed / 20_000, abs=0.01)


def draws(draw: random.Random, count: int) -> list[float]:
    return [draw.betavariate(2, 3) for _ in range(count)]
