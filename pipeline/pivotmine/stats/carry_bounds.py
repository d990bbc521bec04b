"""Bounds of a new policy's mean reward, from its exact probability of each stored action.

Stored token sequences of a state exclude each other. If the new policy draws sequence i with probability q_i, and its
reward lies in [low_i, high_i], then the new mean reward lies between sum q_i low_i and 1 - sum q_i (1 - high_i). The
rest, u = 1 - sum q_i, is the probability of all other actions. Nothing is averaged over samples, so it does not matter
which policy drew the sequences, or how often.

The bounds leave open the success rate m of the unseen actions. The old policy's posterior Beta(a, b) is evidence about
m, but less so the more training came between: m ~ Beta(c g + k a, c (1 - g) + k b), a power prior (Ibrahim and Chen,
Statistical Science 15, 2000). Three numbers are fitted on freshly sampled states, and checked on others: the share of
the posterior that is kept (k), the rate to which the belief decays (g), and the weight of that rate (c). The success
rate is low + u m. Its belief is the beta distribution with the same mean and variance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pivotmine.stats.beta import log_beta

MOST_WEIGHT = 1e4
"""Maximum weight of a belief, in samples: that of a state whose bounds leave nothing open."""
_KEPT = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_RATES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_WEIGHTS = (0.3, 1.0, 3.0)

Tokens = tuple[int, ...]


class Stored(NamedTuple):
    """A stored action."""

    token_ids: Sequence[int]
    has_ended: bool
    """Whether the policy ended its turn; False if a budget cut it."""
    reward: float | None
    """None if unknown."""


class Reward(NamedTuple):
    """The known range of a sequence's reward."""

    low: float
    high: float


def exclusive_events(
    stored: Iterable[Stored], budget: int, end_ids: frozenset[int], *, judges_truncated: bool = False
) -> dict[Tokens, Reward]:
    """The distinct sequences that a policy with this token budget can draw, with their rewards.

    A sequence longer than the budget counts as its first `budget` tokens, with reward 0 like every truncated action.
    Three kinds are left out: sequences that were cut below the budget, because a longer stored one may begin with them;
    sequences without exactly one end of turn, as their last token; and sequences with an unknown reward. So the rest
    exclude each other.

    end_ids: the tokens that end the policy's turn. judges_truncated: whether the verifier also rewards truncated
    actions. Then a sequence of `budget` tokens has a known reward only if it was cut there.
    """
    found: dict[Tokens, Reward] = {}
    for action in stored:
        tokens = tuple(action.token_ids[:budget])
        ends = [place for place, token in enumerate(tokens) if token in end_ids]
        if action.has_ended and len(action.token_ids) <= budget:
            if ends != [len(tokens) - 1] or action.reward is None:
                continue
            reward = action.reward
        elif len(tokens) == budget and not ends:
            is_judged = not action.has_ended and len(action.token_ids) == budget
            reward = 0.0 if not judges_truncated else action.reward if is_judged else None
            if reward is None:
                continue
        else:
            continue
        known = found.get(tokens, Reward(1.0, 0.0))
        found[tokens] = Reward(min(known.low, reward), max(known.high, reward))
    return found


class Bounds(NamedTuple):
    """The bounds of a policy's mean reward in a state."""

    low: float = 0.0
    high: float = 1.0
    unseen: float = 1.0
    """Probability of all actions that are not stored."""


def bounds(events: Iterable[tuple[float, Reward]]) -> Bounds:
    """The bounds from (probability, reward) of exclusive events; rounding never takes them out of [0, 1]."""
    known = list(events)
    low = min(math.fsum(mass * reward.low for mass, reward in known), 1.0)
    lost = math.fsum(mass * (1 - reward.high) for mass, reward in known)
    unseen = max(1 - math.fsum(mass for mass, _ in known), 0.0)
    return Bounds(low, max(1 - lost, low), unseen)


class Carried(NamedTuple):
    """What earlier policies tell about a state."""

    bounds: Bounds
    old: tuple[float, float] | None
    """The old policy's posterior, alpha and beta; None if it has none."""


class Fresh(NamedTuple):
    """A carried state with samples of the new policy."""

    carried: Carried
    successes: float
    failures: float


@dataclass(frozen=True, slots=True)
class Decay:
    """How much the old posterior counts for unseen actions."""

    kept: float = 0.03
    rate: float = 0.3
    weight: float = 1.0

    def unseen(self, old: tuple[float, float] | None) -> tuple[float, float]:
        """Beta (alpha, beta) of the success rate among the unseen actions."""
        a, b = old or (0.0, 0.0)
        return self.weight * self.rate + self.kept * a, self.weight * (1 - self.rate) + self.kept * b

    def beta(self, state: Carried) -> tuple[float, float]:
        """Beta (alpha, beta) of the state's success rate under the new policy."""
        low, high, unseen = state.bounds
        a, b = self.unseen(state.old)
        # If an action has earned different rewards, the bounds lie further apart than the unseen mass.
        unseen = max(unseen, high - low)
        mean = min(max(low + unseen * a / (a + b), low), high)
        variance = unseen * unseen * a * b / ((a + b) ** 2 * (a + b + 1))
        mean = min(max(mean, 1e-6), 1 - 1e-6)
        # The beta distribution with this mean and variance has this weight (alpha + beta).
        weight = min(mean * (1 - mean) / variance - 1, MOST_WEIGHT) if variance > 0 else MOST_WEIGHT
        weight = max(weight, 1e-3)
        return mean * weight, (1 - mean) * weight


def fit_decay(states: Sequence[Fresh]) -> Decay:
    """The decay with the maximum likelihood; the default if no state was sampled."""
    if not states:
        return Decay()
    tried = [Decay(kept, rate, weight) for kept in _KEPT for rate in _RATES for weight in _WEIGHTS]
    return max(tried, key=lambda decay: math.fsum(_log_likelihood(decay, state) for state in states))


def _log_likelihood(decay: Decay, state: Fresh) -> float:
    a, b = decay.beta(state.carried)
    return log_beta(a + state.successes, b + state.failures) - log_beta(a, b)


@dataclass(frozen=True, slots=True)
class Calibration:
    """How well a decay predicts states that it was not fitted on."""

    states: int
    expected: float
    """Expected mean reward of their samples."""
    observed: float
    spread: float
    """Squared error of the states' rewards over the variance that the beliefs expect: 1 is calibrated, more is
    overconfident."""


def calibration(decay: Decay, states: Sequence[Fresh]) -> Calibration | None:
    """The calibration on sampled states; None if there are none."""
    if not states:
        return None
    expected = observed = error = variance = samples = 0.0
    for state in states:
        a, b = decay.beta(state.carried)
        n, mean = state.successes + state.failures, a / (a + b)
        samples, expected, observed = samples + n, expected + n * mean, observed + state.successes
        error += (state.successes - n * mean) ** 2
        variance += n * mean * (1 - mean) * (a + b + n) / (a + b + 1)
    return Calibration(len(states), expected / samples, observed / samples, error / max(variance, 1e-9))
