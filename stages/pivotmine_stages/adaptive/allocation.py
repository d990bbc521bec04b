"""Allocate the next samples where they change the selection most per token.

When sampling stops, a state has a worth, by its posterior Beta(a, b). If the rule selects it (rewards differ, mean
below `max_mean`), the worth is

    E[sqrt(p (1 - p)); p < max_mean] - RENT * P(p >= max_mean)

This is the signal that GRPO gets from it (PivotRL, theorem 3.2), less the place that a state above the bound takes from
a pivot. Otherwise its worth is 0. Drawing `batch_samples` more costs a price per token. Backward induction over
(successes, failures) up to K gives, for every price, the best decisions, their worth and their expected cost, all exact
under the prior. States are independent, so one price for all of them is the best use of any budget (a Lagrange
multiplier).

A state whose prior is carried over from an earlier policy may be selected without a sample, if a new profile of K
samples would probably select it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from pivotmine.stats.beta import cdf, expected_signal, log_beta
from pivotmine.stats.profiles import SAME_REWARD
from pivotmine.stats.success_prior import replication_probability

LIKELY = 0.5
"""A carried state is selected if a new profile would select it with at least this probability."""
RENT = 0.4
"""Cost of a selected state above the bound: the mean of sqrt(p (1 - p)) over p uniform in (0, 0.6)."""


class Place(NamedTuple):
    """The rewards of a state so far: their sums, minimum and maximum."""

    successes: float
    failures: float
    low: float = 1.0
    high: float = 0.0


class Outlook(NamedTuple):
    """Expected worth (in signal) and expected number of samples of the best decisions from a place on."""

    worth: float
    num_samples: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lattice:
    """The places that states of one prior can reach."""

    a: float
    b: float
    batch_samples: int
    """Samples drawn before the next decision."""
    max_mean: float
    carried_samples: int | None = None
    """K of the new profile that has to select a carried state; None if the state's own samples have to."""
    _stops: dict[Place, float] = field(default_factory=dict[Place, float])
    _steps: dict[tuple[float, float, int], list[float]] = field(
        default_factory=dict[tuple[float, float, int], list[float]]
    )

    def stop(self, at: Place) -> float:
        """The worth of drawing no more."""
        if at not in self._stops:
            self._stops[at] = self._stop(at)
        return self._stops[at]

    def _stop(self, at: Place) -> float:
        if self.carried_samples is not None:
            a, b = self.a + at.successes, self.b + at.failures
            chance = replication_probability(a, b, self.carried_samples, self.max_mean)
            return self.worth(at) if chance >= LIKELY else 0.0
        n = at.successes + at.failures
        if at.high - at.low <= SAME_REWARD or at.successes / n >= self.max_mean:
            return 0.0
        return self.worth(at)

    def worth(self, at: Place) -> float:
        """What a state that is selected there is worth."""
        a, b = self.a + at.successes, self.b + at.failures
        return expected_signal(a, b, self.max_mean) - RENT * (1 - cdf(self.max_mean, a, b))

    def chances(self, at: Place, batch: int) -> list[float]:
        """P(j of the next `batch` samples succeed), j from 0."""
        key = (at.successes, at.failures, batch)
        if key not in self._steps:
            a, b = self.a + at.successes, self.b + at.failures
            self._steps[key] = [
                math.comb(batch, j) * math.exp(log_beta(a + j, b + batch - j) - log_beta(a, b))
                for j in range(batch + 1)
            ]
        return self._steps[key]

    def outlook(self, at: Place, left: int, price: float, memo: dict[tuple[Place, int], Outlook]) -> Outlook:
        """The outlook of the best decisions from `at`, with at most `left` samples at a price per sample; ties stop."""
        if (at, left) in memo:
            return memo[at, left]
        best = Outlook(self.stop(at), 0.0)
        if left > 0:
            going_on = self.drawing(at, left, price, memo)
            if going_on.worth - price * going_on.num_samples > best.worth:
                best = going_on
        memo[at, left] = best
        return best

    def full(self, at: Place, left: int) -> float:
        """The worth of drawing all that is left, without looking at results in between."""
        return sum(chance * self.stop(moved(at, j, left - j)) for j, chance in enumerate(self.chances(at, left)))

    def drawing(self, at: Place, left: int, price: float, memo: dict[tuple[Place, int], Outlook]) -> Outlook:
        """The outlook if a batch is drawn first."""
        batch = min(self.batch_samples, left)
        worth = samples = 0.0
        for j, chance in enumerate(self.chances(at, batch)):
            then = self.outlook(moved(at, j, batch - j), left - batch, price, memo)
            worth += chance * then.worth
            samples += chance * then.num_samples
        return Outlook(worth, samples + batch)


def moved(at: Place, successes: int, failures: int) -> Place:
    """The place after more samples."""
    low, high = at.low, at.high
    if successes:
        low, high = min(low, 1.0), 1.0
    if failures:
        low, high = 0.0, max(high, 0.0)
    return Place(at.successes + successes, at.failures + failures, low, high)
