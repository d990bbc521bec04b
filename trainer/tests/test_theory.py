"""What PivotRL's propositions say, on small softmax policies (arXiv 2603.21383, section 3), in float64.

Notation: pi_0 the reference, r a reward of 0 or 1 per action, M the actions with reward 1, rho = pi_0(M);
pi_b(a) ~ pi_0(a) exp(r(a) / b), the path of optima of E[r] - b KL(pi || pi_0).
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pivotmine_trainer.train.advantages import group_advantages

Array = NDArray[np.float64]


@st.composite
def problems(draw: st.DrawFn) -> tuple[Array, Array, float]:
    """(pi_0, r, b): at least one action with each reward."""
    count = draw(st.integers(2, 7))
    logits = np.array(draw(st.lists(st.floats(-2, 2), min_size=count, max_size=count)))
    rewards = np.array(
        draw(
            st.permutations(
                [1.0, 0.0, *draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=count - 2, max_size=count - 2))]
            )
        )
    )
    return softmax(logits), rewards, draw(st.floats(0.3, 3))


def softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def tilted(reference: Array, rewards: Array, b: float) -> Array:
    return softmax(np.log(reference) + rewards / b)


def kl(p: Array, q: Array) -> float:
    return float((p * np.log(p / q)).sum())


@given(reward=st.floats(0, 1), size=st.integers(2, 16))
@settings(max_examples=40)
def test_equal_rewards_give_no_advantage(reward: float, size: int) -> None:
    """Proposition 3.1."""
    assert group_advantages(torch.full((1, size), reward), "grpo")[0].tolist() == pytest.approx([0.0] * size, abs=1e-9)


@given(problems())
@settings(max_examples=40)
def test_fisher_norm_of_the_natural_gradient_is_the_reward_s_standard_deviation(
    problem: tuple[Array, Array, float],
) -> None:
    """Theorem 3.2, first half: for a softmax over logits F = diag(p) - p p^T, and F v = grad J."""
    p, rewards, _ = problem
    fisher = np.diag(p) - np.outer(p, p)
    gradient = p * (rewards - p @ rewards)
    natural = np.linalg.lstsq(fisher, gradient, rcond=None)[0]
    assert np.sqrt(natural @ fisher @ natural) == pytest.approx(np.sqrt(variance(p, rewards)), abs=1e-7)


@given(problems())
@settings(max_examples=40)
def test_speed_of_the_path_is_the_standard_deviation_over_b_squared(problem: tuple[Array, Array, float]) -> None:
    """Theorem 3.2, second half: the Fisher length of d pi_b / d b, by central differences; and dJ/db = -Var / b^2."""
    reference, rewards, b = problem
    step = 1e-5
    p = tilted(reference, rewards, b)
    velocity = (tilted(reference, rewards, b + step) - tilted(reference, rewards, b - step)) / (2 * step)
    speed = np.sqrt((velocity**2 / p).sum())
    assert speed == pytest.approx(np.sqrt(variance(p, rewards)) / b**2, rel=1e-4, abs=1e-7)
    assert velocity @ rewards == pytest.approx(-variance(p, rewards) / b**2, rel=1e-4, abs=1e-7)


@given(problems(), st.integers(0, 2**31))
@settings(max_examples=40)
def test_the_optimum_raises_the_acceptable_mass_and_keeps_the_ratios(
    problem: tuple[Array, Array, float], seed: int
) -> None:
    """Theorem 3.3: more mass on M, the reference's ratios inside M and outside, and no policy does better."""
    reference, rewards, b = problem
    best = tilted(reference, rewards, b)
    rho, mass = reference @ rewards, best @ rewards
    assert mass == pytest.approx(rho * np.exp(1 / b) / (rho * np.exp(1 / b) + 1 - rho))
    assert mass > rho
    for inside in (0.0, 1.0):
        ratios = best[rewards == inside] / reference[rewards == inside]
        assert ratios == pytest.approx(ratios[0])
    value = best @ rewards - b * kl(best, reference)
    assert value == pytest.approx(b * np.log(reference @ np.exp(rewards / b)))
    rng = np.random.default_rng(seed)
    for other in (softmax(rng.normal(size=len(reference))) for _ in range(5)):
        assert other @ rewards - b * kl(other, reference) <= value + 1e-9
        moved = other * np.where(rewards == 1, mass / (other @ rewards), (1 - mass) / (1 - other @ rewards))
        assert kl(moved, reference) >= kl(best, reference) - 1e-9  # the smallest change that gives this much mass


def test_a_strict_reward_moves_mass_between_actions_that_do_the_same() -> None:
    """Why the reward is functional: with r = 1 for one of two equal actions, the other one loses."""
    reference, b = np.array([0.3, 0.3, 0.4]), 0.5
    functional, strict = tilted(reference, np.array([1.0, 1, 0]), b), tilted(reference, np.array([1.0, 0, 0]), b)
    assert functional[0] == pytest.approx(functional[1])
    assert strict[1] < reference[1] < functional[1]


def variance(p: Array, rewards: Array) -> float:
    return float(p @ (rewards - p @ rewards) ** 2)
