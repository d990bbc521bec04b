"""Carried bounds against exact enumeration: a policy of three tokens with all replies and rewards known."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pivotmine.stats.carry_bounds import (
    Bounds,
    Calibration,
    Carried,
    Decay,
    Fresh,
    Reward,
    Stored,
    Tokens,
    bounds,
    calibration,
    exclusive_events,
    fit_decay,
)

END = 2
BUDGET = 4
ENDS = frozenset([END])


class Policy:
    """Draws tokens 0, 1 and END, with other probabilities behind every prefix."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def next(self, prefix: Tokens) -> list[float]:
        draw = random.Random(f"{self.seed}/{prefix}")
        weights = [draw.expovariate(1) ** 2 + 1e-3 for _ in range(3)]
        return [weight / sum(weights) for weight in weights]

    def mass(self, tokens: Tokens) -> float:
        return math.prod(self.next(tokens[:i])[token] for i, token in enumerate(tokens))

    def sample(self, draw: random.Random, budget: int) -> Tokens:
        tokens: Tokens = ()
        while len(tokens) < budget and END not in tokens:
            tokens = (*tokens, draw.choices(range(3), self.next(tokens))[0])
        return tokens


def replies(budget: int) -> Iterator[Tokens]:
    """Every reply under a budget: those that end, and those that it cuts."""
    for length in range(1, budget + 1):
        for body in itertools.product((0, 1), repeat=length - 1):
            yield (*body, END)
    yield from itertools.product((0, 1), repeat=budget)


def reward(tokens: Tokens, seed: int) -> float:
    """A truncated reply earns nothing."""
    return random.Random(f"{seed}/{tokens}").choice((0.0, 0.0, 0.5, 1.0)) if tokens[-1] == END else 0.0


def stored(tokens: Tokens, seed: int) -> Stored:
    return Stored(list(tokens), has_ended=tokens[-1] == END, reward=reward(tokens, seed))


def carried(policy: Policy, actions: list[Stored], budget: int = BUDGET) -> Bounds:
    events = exclusive_events(actions, budget, ENDS)
    return bounds((policy.mass(tokens), earned) for tokens, earned in events.items())


@given(seed=st.integers(0, 10_000), num_samples=st.integers(0, 12), budgets=st.lists(st.integers(1, 6), min_size=1))
def test_bounds_hold_whatever_was_stored_and_the_unseen_mass_is_exact(
    seed: int, num_samples: int, budgets: list[int]
) -> None:
    """Samples of another policy, drawn under budgets of their own: below, at and above the new one's."""
    old, new, draw = Policy(seed), Policy(seed + 1), random.Random(seed)
    actions = [stored(old.sample(draw, draw.choice(budgets)), seed) for _ in range(num_samples)]
    mean = math.fsum(new.mass(tokens) * reward(tokens, seed) for tokens in replies(BUDGET))
    low, high, unseen = carried(new, actions)
    assert -1e-12 <= low - 1e-12 <= mean <= high + 1e-12 <= 1 + 2e-12
    known = {tuple(a.token_ids[:BUDGET]) for a in actions if a.has_ended or len(a.token_ids) >= BUDGET}
    rest = math.fsum(new.mass(tokens) for tokens in replies(BUDGET) if tokens not in known)
    assert unseen == pytest.approx(rest, abs=1e-12)
    assert high - low == pytest.approx(unseen, abs=1e-12)


def test_a_cut_sequence_that_a_longer_one_begins_with_is_not_counted_twice() -> None:
    cut, longer = Stored([0, 1], has_ended=False, reward=0.0), Stored([0, 1, 0, END], has_ended=True, reward=1.0)
    # Under the larger budget the cut one may still earn something; under the smaller one both are one event.
    assert exclusive_events([cut, longer], 4, ENDS) == {(0, 1, 0, END): Reward(1.0, 1.0)}
    assert exclusive_events([cut, longer], 2, ENDS) == {(0, 1): Reward(0.0, 0.0)}
    assert exclusive_events([cut, longer], 3, ENDS) == {(0, 1, 0): Reward(0.0, 0.0)}


def test_what_the_policy_cannot_draw_is_no_event() -> None:
    beyond, unended = Stored([END, 0, END], has_ended=True, reward=1.0), Stored([0, 1], has_ended=True, reward=1.0)
    cut = Stored([0, END, 1, 1], has_ended=False, reward=0.0)
    unknown = Stored([1, END], has_ended=True, reward=None)
    assert exclusive_events([beyond, unended, cut, unknown, Stored([], has_ended=False, reward=0.0)], 4, ENDS) == {}


def test_a_verifier_that_judges_truncated_actions_knows_those_alone_that_were_cut_there() -> None:
    cut, longer = Stored([0, 1], has_ended=False, reward=0.5), Stored([0, 0, END], has_ended=True, reward=1.0)
    assert exclusive_events([cut, longer], 2, ENDS, judges_truncated=True) == {(0, 1): Reward(0.5, 0.5)}


def test_verdicts_that_differ_on_one_sequence_leave_its_reward_open() -> None:
    twice = [Stored([0, END], has_ended=True, reward=earned) for earned in (1.0, 0.25)]
    assert exclusive_events(twice, 4, ENDS) == {(0, END): Reward(0.25, 1.0)}
    assert bounds([(0.5, Reward(0.25, 1.0))]) == Bounds(0.125, 1.0, 0.5)


def test_nothing_stored_bounds_nothing_and_rounding_stays_within() -> None:
    assert bounds([]) == Bounds(0.0, 1.0, 1.0)
    assert bounds([(0.7, Reward(1.0, 1.0)), (0.3000001, Reward(1.0, 1.0))]) == Bounds(1.0, 1.0, 0.0)


@given(
    low=st.floats(0, 1), share=st.floats(0, 1), old=st.none() | st.tuples(st.floats(0.01, 50), st.floats(0.01, 50)),
    kept=st.floats(0, 1), rate=st.floats(0.02, 0.98),
)  # fmt: skip
def test_a_belief_has_its_mean_within_the_bounds(
    low: float, share: float, old: tuple[float, float] | None, kept: float, rate: float
) -> None:
    high = low + share * (1 - low)
    a, b = Decay(kept, rate, 1.0).beta(Carried(Bounds(low, high, high - low), old))
    assert a > 0
    assert b > 0
    assert low - 2e-6 <= a / (a + b) <= high + 2e-6


def test_a_never_state_that_training_opened_is_believed_open_and_a_seen_one_is_not() -> None:
    """All 16 samples failed. Then the new policy leaves them for actions that nobody has stored, or repeats them."""
    failed = (0.1, 16.1)
    decay = Decay(kept=0.01, rate=0.2, weight=1.0)
    a, b = decay.beta(Carried(Bounds(0.0, 0.9, 0.9), failed))
    assert a / (a + b) > 0.1
    a, b = decay.beta(Carried(Bounds(0.0, 0.01, 0.01), failed))
    assert a / (a + b) < 0.003


def fresh(rates: list[float], weight: float, seed: int, size: int = 300) -> list[Fresh]:
    """States whose unseen part succeeds at one of these rates, independent of the old policy."""
    draw, found = random.Random(seed), list[Fresh]()
    for _ in range(size):
        unseen = draw.random()
        low = draw.random() * (1 - unseen)
        p = low + unseen * draw.choice(rates)
        successes = sum(draw.random() < p for _ in range(8))
        old = (weight * draw.random() + 0.1, weight * draw.random() + 0.1)
        found.append(Fresh(Carried(Bounds(low, low + unseen, unseen), old), successes, 8 - successes))
    return found


def test_the_decay_is_fitted_and_calibrated_on_other_states() -> None:
    decay = fit_decay(fresh([0.2], weight=20, seed=1))
    assert decay.kept <= 0.01
    assert abs(decay.rate - 0.2) <= 0.1
    found = calibration(decay, fresh([0.2], weight=20, seed=2))
    assert found is not None
    assert found.states == 300
    assert found.expected == pytest.approx(found.observed, abs=0.03)
    assert 0.5 < found.spread < 1.4
    # A decay that keeps all that the old policy believed is found out.
    sure = calibration(Decay(kept=1.0, rate=0.5, weight=1.0), fresh([0.02], weight=200, seed=3))
    assert sure is not None
    assert sure.spread > 2
    assert fit_decay([]) == Decay()
    assert calibration(decay, []) is None
    alone = calibration(Decay(), [Fresh(Carried(Bounds(), None), 1.0, 1.0)])
    assert alone is not None
    assert alone == Calibration(1, 0.3, 0.5, alone.spread)
    assert alone.spread == pytest.approx(0.16 / (2 * 0.3 * 0.7 * 3 / 2))
