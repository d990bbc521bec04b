"""The beta distribution against numerical integrals and its own identities."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pivotmine.stats.beta import cdf, expected_signal, log_beta, quantile

PARAMETERS = st.floats(0.02, 300)


def binomial_tail(n: int, least: int, p: float) -> float:
    return sum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(least, n + 1))


@given(st.integers(1, 40), st.data(), st.floats(0.001, 0.999))
def test_whole_parameters_are_binomial_tails(n: int, data: st.DataObject, x: float) -> None:
    """DLMF 8.17.5: P(p <= x) for Beta(m, n - m + 1) is P(at least m of n succeed)."""
    m = data.draw(st.integers(1, n))
    assert cdf(x, m, n - m + 1) == pytest.approx(binomial_tail(n, m, x), rel=1e-9, abs=1e-14)


@given(st.floats(0, 0.999))  # nearer to 1 the sine itself has no digits left
def test_the_arcsine_law(x: float) -> None:
    assert cdf(x, 0.5, 0.5) == pytest.approx(2 / math.pi * math.asin(math.sqrt(x)), abs=1e-12)


@given(PARAMETERS, PARAMETERS, st.floats(0.01, 0.99))
def test_the_quantile_inverts_the_distribution(a: float, b: float, share: float) -> None:
    x = quantile(share, a, b)
    assert cdf(max(x - 1e-8, 0), a, b) <= share + 1e-6
    assert cdf(min(x + 1e-8, 1), a, b) >= share - 1e-6


@given(PARAMETERS, PARAMETERS)
def test_it_is_a_mirror_of_itself(a: float, b: float) -> None:
    assert cdf(0.3, a, b) == pytest.approx(1 - cdf(0.7, b, a), abs=1e-9)
    assert log_beta(a, b) == pytest.approx(log_beta(b, a))


@pytest.mark.parametrize(("a", "b", "bound"), [(1, 1, 0.6), (2, 5, 0.6), (9, 3, 0.6), (1, 1, 1.0), (3.5, 0.7, 0.9)])
def test_expected_signal_is_the_integral(a: float, b: float, bound: float) -> None:
    steps = 200_000
    middles = ((i + 0.5) / steps for i in range(int(steps * bound)))
    density = (math.sqrt(p * (1 - p)) * math.exp((a - 1) * math.log(p) + (b - 1) * math.log1p(-p)) for p in middles)
    assert expected_signal(a, b, bound) == pytest.approx(
        math.fsum(density) / steps / math.exp(log_beta(a, b)), rel=1e-4
    )
