"""Timing in turns, so that a machine whose speed drifts does not favour either side."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence


def paired_ratio(
    ours: Callable[[], object], theirs: Callable[[], object], *, repeats: int = 5
) -> tuple[float, float, float]:
    """Medians of seconds for both, in turns after one warm-up each, and the median of the pairwise ratios."""
    ours()
    theirs()
    pairs = [(_seconds(ours), _seconds(theirs)) for _ in range(repeats)]
    ratio = statistics.median(a / b for a, b in pairs)
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs), ratio


def median_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Two of the values between which the median lies with at least this confidence, for any distribution.

    The number of values below the median is binomial with p = 1/2 (Conover, Practical Nonparametric Statistics, 3.2).
    Of too few values for that it is the whole range.
    """
    ordered, outside = sorted(values), 0.0
    for place in range((len(ordered) + 1) // 2):
        outside += 2 * math.comb(len(ordered), place) / 2 ** len(ordered)
        if outside > 1 - confidence:
            last = max(place - 1, 0)
            return ordered[last], ordered[-1 - last]
    return ordered[0], ordered[-1]


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
