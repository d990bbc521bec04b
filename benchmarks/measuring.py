"""Timing in turns, so that a machine whose speed drifts does not favour either side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def paired_ratio(
    ours: Callable[[], object], theirs: Callable[[], object], *, repeats: int = 5
) -> tuple[float, float, float]:
    """Medians of seconds for both, in turns after one warm-up each, and the median of the pairwise ratios."""
    ours()
    theirs()
    pairs = [(_seconds(ours), _seconds(theirs)) for _ in range(repeats)]
    ratio = statistics.median(a / b for a, b in pairs)
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs), ratio


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
