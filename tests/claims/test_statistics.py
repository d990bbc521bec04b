"""Intervals need three seeds, pairs need both arms."""

import pytest

from pivotmine_claims.statistics import Estimate, paired, sign


def test_no_interval_below_three_seeds() -> None:
    assert (Estimate(values=[]).mean, Estimate(values=[]).interval) == (None, None)
    two = Estimate(values=[0.1, 0.3])
    assert (two.mean, two.interval, sign(two)) == (pytest.approx(0.2), None, None)


def test_the_interval_is_students() -> None:
    low, high = Estimate(values=[1.0, 2.0, 3.0]).interval or (0, 0)
    assert (low, high) == (pytest.approx(2 - 4.303 / 3**0.5), pytest.approx(2 + 4.303 / 3**0.5))
    five = Estimate(values=[0.10, 0.12, 0.11, 0.13, 0.09])
    assert five.interval == (pytest.approx(0.0903707), pytest.approx(0.1296293))
    assert sign(five) == 1
    assert sign(Estimate(values=[-value for value in five.values])) == -1
    assert sign(Estimate(values=[-0.1, 0.1, 0.0])) == 0


def test_seeds_that_one_arm_lacks_are_left_out() -> None:
    assert paired({0: 0.5, 1: 0.6, 3: 0.7}, {0: 0.4, 3: 0.9, 4: 0.1}).values == [
        pytest.approx(0.1),
        pytest.approx(-0.2),
    ]
    assert paired({0: 0.5}, {}).mean is None
