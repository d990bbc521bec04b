"""Means over seeds and paired differences between arms, with an interval from three seeds on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

T_975 = {2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
"""97.5 % quantiles of Student's t by degrees of freedom."""
MIN_SEEDS = 3
"""Seeds below which no interval is given: with two it says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over seeds."""

    values: Sequence[float]
    """One a seed."""

    @property
    def mean(self) -> float | None:
        """Null without seeds."""
        return sum(self.values) / len(self.values) if self.values else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 %, by Student's t; null below three seeds."""
        count, mean = len(self.values), self.mean
        if count < MIN_SEEDS or mean is None:
            return None
        spread = math.sqrt(sum((value - mean) ** 2 for value in self.values) / (count - 1))
        half = T_975[min(count - 1, max(T_975))] * spread / math.sqrt(count)
        return mean - half, mean + half


def paired(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Estimate:
    """Differences of the seeds that both arms have."""
    return Estimate(values=[ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())])


def sign(estimate: Estimate) -> int | None:
    """1 or -1 where the interval leaves 0 out, 0 where it does not; null where there is no interval."""
    if estimate.interval is None:
        return None
    low, high = estimate.interval
    return 1 if low > 0 else -1 if high < 0 else 0
