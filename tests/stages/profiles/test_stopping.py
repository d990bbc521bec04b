"""Exact stopping never changes what all samples would have selected."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from pivotmine_stages.adaptive.planning import LEAST_BATCH, StateSoFar, exact_plan
from pivotmine_stages.profiles.stopping import Rewards, StoppingRule, is_decided, least_samples

BINARY = st.sampled_from([0.0, 1.0])
REWARDS = BINARY | st.none() | st.sampled_from([0.25, 0.5, 1 / 3, 0.6, 5e-7])
BOUNDS = st.sampled_from([0.6, 0.5, 0.25, 1.0, 0.1, 2 / 3])


def rule(num_samples: int = 16, max_mean: float = 0.6, min_scored: int = 2, name: str = "exact") -> StoppingRule:
    return StoppingRule(rule=name, num_samples=num_samples, max_mean=max_mean, min_scored=min_scored)


def seen(rewards: Sequence[float | None]) -> Rewards:
    scored = [reward for reward in rewards if reward is not None]
    if not scored:
        return Rewards(len(rewards))
    # As a profile's mean times its number gives it.
    total = round(sum(sorted(scored)) / len(scored) * len(scored), 9)
    return Rewards(len(rewards), len(scored), total, min(scored), max(scored))


def is_pivot(rewards: Sequence[float | None], max_mean: float, min_scored: int = 2) -> bool:
    """The paper's rule on all samples, as select has it."""
    scored = sorted(reward for reward in rewards if reward is not None)
    if len(scored) < min_scored:
        return False
    return scored[-1] - scored[0] > 1e-6 and sum(scored) / len(scored) < max_mean


@given(st.lists(REWARDS, min_size=1, max_size=16), BOUNDS, st.integers(1, 4))
def test_a_decided_state_is_what_all_its_samples_make_it(
    stream: list[float | None], max_mean: float, min_scored: int
) -> None:
    """Whatever the first samples decide, the last one confirms: at every length of every stream."""
    decided_by = rule(len(stream), max_mean, min_scored)
    for n in range(len(stream) + 1):
        if is_decided(seen(stream[:n]), decided_by):
            assert is_pivot(stream[:n], max_mean, min_scored) == is_pivot(stream, max_mean, min_scored)


@given(st.lists(st.lists(REWARDS, min_size=12, max_size=12), max_size=8), BOUNDS)
def test_the_rounds_select_what_fixed_samples_select(streams: list[list[float | None]], max_mean: float) -> None:
    asked, counts = rule(12, max_mean), [0] * len(streams)
    while True:
        states = [StateSoFar(rewards=seen(s[:n])) for s, n in zip(streams, counts, strict=True)]
        plan = exact_plan(states, asked).counts
        if plan == counts:
            break
        assert all(before <= after <= 12 for before, after in zip(counts, plan, strict=True))
        counts = plan
    stopped = [is_pivot(s[:n], max_mean) for s, n in zip(streams, counts, strict=True)]
    assert stopped == [is_pivot(s, max_mean) for s in streams]


@given(st.lists(BINARY, max_size=10), BOUNDS, st.integers(1, 4))
def test_the_least_samples_can_decide_and_fewer_cannot(rewards: list[float], max_mean: float, min_scored: int) -> None:
    asked, state = rule(12, max_mean, min_scored), seen(list(rewards))
    least = least_samples(state, asked)
    for more in range(least + 1):
        ways = [[1.0] * i + [0.0] * (more - i) for i in range(more + 1)]
        can = any(is_decided(seen([*rewards, *way]), asked) for way in ways)
        assert can == (more == least)


def test_stops_as_soon_as_the_sum_reaches_the_bound_and_not_before() -> None:
    """0.6 x 16 = 9.6: ten successes are enough, seven failures and a success decide the other way."""
    assert is_decided(seen([1.0] * 10), rule())
    assert not is_decided(seen([1.0] * 9 + [0.0]), rule())
    assert is_decided(seen([1.0] + [0.0] * 7), rule())
    assert not is_decided(seen([1.0] + [0.0] * 6), rule())
    assert not is_decided(seen([0.0] * 15), rule())
    assert is_decided(seen([0.0] * 16), rule())
    # A mean of exactly the bound is no pivot: 3 of 5.
    assert is_decided(seen([1.0] * 3), rule(5))


def test_no_round_asks_for_a_single_sample_but_the_last() -> None:
    first = exact_plan([StateSoFar()], rule()).counts[0]
    assert first == 8
    assert exact_plan([StateSoFar(rewards=seen([0.0] * 8))], rule()).counts == [8 + LEAST_BATCH]
    assert exact_plan([StateSoFar(rewards=seen([0.0] * 15))], rule()).counts == [16]
    assert exact_plan([StateSoFar(rewards=seen([0.0] * 20))], rule()).counts == [20]
    assert exact_plan([StateSoFar(least_mean=0.6)], rule()).counts == [0]


def test_a_rule_survives_its_column() -> None:
    assert StoppingRule.from_json(rule().to_json()) == rule()
