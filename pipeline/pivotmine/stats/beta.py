"""The beta distribution in plain Python: the belief about a success rate after successes and failures.

The incomplete beta function by its continued fraction (DLMF 8.17.22, Lentz's method), quantiles by bisection.
"""

from __future__ import annotations

import math

_TINY = 1e-300


def log_beta(a: float, b: float) -> float:
    """Logarithm of the beta function; a, b > 0."""
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def cdf(x: float, a: float, b: float) -> float:
    """P(p <= x) for p ~ Beta(a, b)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    front = math.exp(a * math.log(x) + b * math.log1p(-x) - log_beta(a, b))
    # The fraction converges fast on one side of the mean only; the other side is its mirror.
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(x, a, b) / a
    return 1 - front * _fraction(1 - x, b, a) / b


def _fraction(x: float, a: float, b: float) -> float:
    c, d = 1.0, 1 / _away(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 10_000):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _away(1 + step * d)
            c = _away(1 + step / c)
            value *= c * d
        if abs(c * d - 1) < 1e-14:
            return value
    raise AssertionError(f"no convergence at x={x}, a={a}, b={b}")


def _away(value: float) -> float:
    """The value; a tiny number instead of zero, because it is a divisor."""
    return value if abs(value) > _TINY else _TINY


def quantile(share: float, a: float, b: float) -> float:
    """The x with P(p <= x) = share, to 1e-9."""
    low, high = 0.0, 1.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if cdf(middle, a, b) < share else (low, middle)
    return (low + high) / 2


def expected_signal(a: float, b: float, max_mean: float) -> float:
    """E[sqrt(p (1 - p)); p < max_mean] for p ~ Beta(a, b): the reward's standard deviation, below the bound.

    Multiplying by sqrt(p (1 - p)) gives another beta density, so the result is a ratio of two beta functions times a
    probability.
    """
    return math.exp(log_beta(a + 0.5, b + 0.5) - log_beta(a, b)) * cdf(max_mean, a + 0.5, b + 0.5)
