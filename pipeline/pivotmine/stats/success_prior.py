"""Empirical Bayes: beliefs about a state's success rate before and after its samples, fitted on the whole run.

State i has p_i ~ Beta(mu_i phi, (1 - mu_i) phi) with logit mu_i = w . x_i, and s_i successes of n_i samples given p_i:
the beta-binomial regression of Williams (Applied Statistics 31, 1982). w and phi are fitted in turns. w: by weighted
least squares with weights n mu (1 - mu) / (1 + (n - 1) / (phi + 1)), and a ridge that pulls small groups towards the
rest. phi: by maximum marginal likelihood. A reward between 0 and 1 counts as that share of a success. The number of
samples of a state may depend on its rewards, because that does not change the likelihood.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pivotmine.stats.beta import log_beta

RIDGE = 1.0
"""Prior precision of a weight; features are 0 or 1, or of that size."""
MAX_LEVELS = 24
"""Maximum number of groups of a category with a weight of their own; the others share the intercept."""
MIN_LEVEL = 8
"""Minimum number of states of such a group."""
MAX_STATES = 4000
"""Maximum number of states to fit on; from more, an evenly spread subset is taken."""
ROUNDS = 12
_PHI_LOW, _PHI_HIGH = 0.02, 200.0
_LOGIT_STEP = 0.125
"""Prior means are rounded to it (in logits), so that similar states share one computation."""


class Observed(NamedTuple):
    """A state's rewards and covariates."""

    successes: float
    failures: float
    categories: Mapping[str, str] = {}
    """For example domain and tool."""
    numbers: Mapping[str, float] = {}
    """For example depth and the demonstration's probability as a logit; a missing one counts as average."""


@dataclass(frozen=True, slots=True)
class Prior:
    """A fitted prior; `beta` gives the prior of one state."""

    phi: float
    """Concentration: the prior weighs as much as this many samples."""
    weights: tuple[float, ...]
    levels: tuple[tuple[str, str], ...]
    """(category, level) of the weights after the intercept."""
    scales: tuple[tuple[str, float, float], ...]
    """(number, mean, standard deviation) of the weights after those."""

    def mean(self, state: Observed) -> float:
        """Prior mean of the state's success rate."""
        return _mean(sum(self.weights[place] * value for place, value in self.features(state)))

    def beta(self, state: Observed) -> tuple[float, float]:
        """(alpha, beta) before the state's samples."""
        mean = self.mean(state)
        return mean * self.phi, (1 - mean) * self.phi

    def features(self, state: Observed) -> list[tuple[int, float]]:
        """The state's features that are not 0, by place."""
        found = [(0, 1.0)]
        found += [(i, 1.0) for i, (name, level) in enumerate(self.levels, 1) if state.categories.get(name) == level]
        for i, (name, mean, deviation) in enumerate(self.scales, 1 + len(self.levels)):
            if name in state.numbers:
                found.append((i, max(-4.0, min(4.0, (state.numbers[name] - mean) / deviation))))
        return found


def fit_prior(states: Sequence[Observed]) -> Prior:
    """The prior of a run, from its sampled states; flat if there are none."""
    sampled = [state for state in states if state.successes + state.failures > 0]
    chosen = [sampled[place] for place in fitted_places(len(sampled))]
    levels, scales = _levels(chosen), _scales(chosen)
    prior = Prior(2.0, (0.0,) * (1 + len(levels) + len(scales)), levels, scales)
    rows = Counter(
        (tuple(prior.features(state)), round(state.successes, 6), round(state.failures, 6)) for state in chosen
    )
    if not rows:
        return prior
    data = [(list(features), s, f, count) for (features, s, f), count in rows.items()]
    for _ in range(ROUNDS):
        weights = _step(data, prior)
        phi = _best_phi(data, weights)
        moved = max(abs(a - b) for a, b in zip(weights, prior.weights, strict=True)) + abs(math.log(phi / prior.phi))
        prior = Prior(phi, weights, levels, scales)
        if moved < 1e-3:
            break
    return prior


def fitted_places(num_states: int) -> list[int]:
    """The indices of the sampled states that a prior is fitted on."""
    size = min(num_states, MAX_STATES)
    return [i * num_states // size for i in range(size)]


_Data = list[tuple[list[tuple[int, float]], float, float, int]]
"""(features, successes, failures, number of states with these values)."""


def _levels(states: Sequence[Observed]) -> tuple[tuple[str, str], ...]:
    counts = Counter((name, level) for state in states for name, level in state.categories.items())
    names = sorted({name for name, _ in counts})
    several = {name for name in names if sum(other == name for other, _ in counts) > 1}
    return tuple(
        key
        for name in sorted(several)
        for key, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[: len(counts)]
        if key[0] == name and count >= MIN_LEVEL
    )[: MAX_LEVELS * max(1, len(several))]


def _scales(states: Sequence[Observed]) -> tuple[tuple[str, float, float], ...]:
    found: list[tuple[str, float, float]] = []
    for name in sorted({name for state in states for name in state.numbers}):
        values = [state.numbers[name] for state in states if name in state.numbers]
        mean = math.fsum(values) / len(values)
        deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
        if deviation > 1e-9:
            found.append((name, mean, deviation))
    return tuple(found)


def _step(data: _Data, prior: Prior) -> tuple[float, ...]:
    """One weighted least-squares step for the weights."""
    size = len(prior.weights)
    # A weak ridge on the intercept too: in a run that always fails, it would be infinite.
    matrix = [[(RIDGE if i else 0.01) * (i == j) for j in range(size)] for i in range(size)]
    vector = [0.0] * size
    for features, s, f, count in data:
        logit = max(-30.0, min(30.0, sum(prior.weights[place] * value for place, value in features)))
        mean = 1 / (1 + math.exp(-logit))
        slope = max(mean * (1 - mean), 1e-4)
        n = s + f
        weight = count * n * slope / (1 + (n - 1) / (prior.phi + 1))
        # Clipped, so that a step from a distant start does not overshoot.
        target = logit + max(-4.0, min(4.0, (s / n - mean) / slope))
        for place, value in features:
            vector[place] += weight * value * target
            row = matrix[place]
            for other, also in features:
                row[other] += weight * value * also
    return tuple(_solve(matrix, vector))


def _solve(matrix: list[list[float]], vector: list[float]) -> list[float]:
    """Gaussian elimination of a positive definite system."""
    size = len(vector)
    rows = [[*row, value] for row, value in zip(matrix, vector, strict=True)]
    for i in range(size):
        for j in range(i + 1, size):
            if factor := rows[j][i] / rows[i][i]:
                rows[j] = [a - factor * b for a, b in zip(rows[j], rows[i], strict=True)]
    solution = [0.0] * size
    for i in reversed(range(size)):
        known = sum(rows[i][j] * solution[j] for j in range(i + 1, size))
        solution[i] = (rows[i][size] - known) / rows[i][i]
    return solution


def _best_phi(data: _Data, weights: Sequence[float]) -> float:
    """The concentration with the maximum marginal likelihood, by golden-section search on its logarithm."""
    alike = Counter[tuple[float, float, float]]()
    for features, s, f, count in data:
        alike[(_mean(sum(weights[place] * value for place, value in features)), s, f)] += count

    def likelihood(log_phi: float) -> float:
        phi = math.exp(log_phi)
        return sum(
            count * (log_beta(mean * phi + s, (1 - mean) * phi + f) - log_beta(mean * phi, (1 - mean) * phi))
            for (mean, s, f), count in alike.items()
        )

    low, high, golden = math.log(_PHI_LOW), math.log(_PHI_HIGH), (math.sqrt(5) - 1) / 2
    while high - low > 0.02:
        a, b = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, b) if likelihood(a) > likelihood(b) else (a, high)
    return math.exp((low + high) / 2)


def _mean(logit: float) -> float:
    """The success rate at a logit, which is first rounded to _LOGIT_STEP."""
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, round(logit / _LOGIT_STEP) * _LOGIT_STEP))))


def replication_probability(a: float, b: float, num_samples: int, max_mean: float, min_mean: float = 0.0) -> float:
    """P(0 < s < K and min_mean <= s / K < max_mean) for K new samples of p ~ Beta(a, b).

    This is the probability that a new profile selects the state.
    """
    return sum(
        math.comb(num_samples, s) * math.exp(log_beta(a + s, b + num_samples - s) - log_beta(a, b))
        for s in range(1, num_samples)
        if min_mean <= s / num_samples < max_mean
    )
