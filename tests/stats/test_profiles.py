"""Profiles against plain Python."""

from __future__ import annotations

import random
import statistics
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pivotmine.run.tables import PROFILES
from pivotmine.stats.profiles import POSTERIOR_COLUMNS, profile, with_bounds
from pivotmine.verifiers import Outcome

REWARDS = st.none() | st.sampled_from([0.0, 1.0, 5e-7, 1 - 5e-7, 0.3]) | st.floats(0, 1, allow_subnormal=False)
SAMPLES = st.dictionaries(
    st.sampled_from("abcdef"), st.lists(st.tuples(REWARDS, st.sampled_from(Outcome)), max_size=9), max_size=6
)


def profiles(rewards: dict[str, list[tuple[float | None, Outcome]]], shuffle: int | None = None) -> list[Any]:
    """The rows of `profile`, for samples by state."""
    rows = [(state, reward, str(outcome)) for state, samples in rewards.items() for reward, outcome in samples]
    if shuffle is not None:
        random.Random(shuffle).shuffle(rows)
    scores = pl.DataFrame(rows, {"state_id": pl.String, "reward": pl.Float64, "outcome": pl.String}, orient="row")
    states = pl.DataFrame(
        [(state, len(samples), "correct") for state, samples in rewards.items()],
        {"state_id": pl.String, "num_samples": pl.Int32, "gate": pl.String},
        orient="row",
    )
    table = profile(scores, states, policy_id="p", verifier_id="v", budget=64)
    assert table.schema == PROFILES
    return table.to_pylist()


def expected(state: str, samples: list[tuple[float | None, Outcome]]) -> dict[str, Any]:
    scored = [reward for reward, _ in samples if reward is not None]
    return {
        "policy_id": "p",
        "verifier_id": "v",
        "state_id": state,
        "gate": "correct",
        "budget": 64,
        "num_samples": len(samples),
        "num_pending": 0,
        "num_scored": len(scored),
        "mean": pytest.approx(statistics.fmean(scored), abs=1e-12) if scored else None,
        "variance": pytest.approx(statistics.pvariance(scored), abs=1e-12) if scored else None,
        "min_reward": min(scored, default=None),
        "max_reward": max(scored, default=None),
        **expected_bounds(samples),
        "reward_class": expected_class(samples),
        **{f"num_{outcome}": sum(o is outcome for _, o in samples) for outcome in Outcome},
        **dict.fromkeys(POSTERIOR_COLUMNS),
    }


def expected_bounds(samples: list[tuple[float | None, Outcome]]) -> dict[str, Any]:
    judged = [(reward, o) for reward, o in samples if reward is not None or o is Outcome.UNPROVEN]
    low, high = ([worth if o is Outcome.UNPROVEN else reward or 0.0 for reward, o in judged] for worth in (0.0, 1.0))
    return {
        "mean_low": pytest.approx(statistics.fmean(low), abs=1e-12) if low else None,
        "mean_high": pytest.approx(statistics.fmean(high), abs=1e-12) if high else None,
    }


def expected_class(samples: list[tuple[float | None, Outcome]]) -> str | None:
    scored = [reward for reward, _ in samples if reward is not None]
    if any(abs(a - b) > 1e-6 for a in scored for b in scored):
        return "sometimes"
    if any(reward is None and outcome is Outcome.UNPROVEN for reward, outcome in samples):
        return "undecided"
    if not scored:
        return None
    if all(reward <= 1e-6 for reward in scored):
        return "never"
    return "always" if all(reward >= 1 - 1e-6 for reward in scored) else "constant"


@given(SAMPLES)
def test_statistics_are_those_of_plain_python(rewards: dict[str, list[tuple[float | None, Outcome]]]) -> None:
    assert profiles(rewards) == [expected(state, rewards[state]) for state in sorted(rewards)]


@given(SAMPLES, st.integers())
def test_not_a_bit_depends_on_the_order_of_the_samples(
    rewards: dict[str, list[tuple[float | None, Outcome]]], seed: int
) -> None:
    assert profiles(rewards, seed) == profiles(rewards)


@pytest.mark.parametrize(
    ("rewards", "mean", "variance", "reward_class"),
    [
        ([0.0, 0.0, 1.0, 0.0], 0.25, 0.1875, "sometimes"),  # ddof=0: 3/16, not 1/4
        ([0.0, None, 1.0], 0.5, 0.25, "sometimes"),
        ([1.0], 1.0, 0.0, "always"),
        ([0.0, 0.0], 0.0, 0.0, "never"),
        ([0.5, 0.5], 0.5, 0.0, "constant"),
        ([0.5, 0.5 + 0.9e-6], pytest.approx(0.50000045), pytest.approx(0), "constant"),
        ([0.5, 0.5 + 1.1e-6], pytest.approx(0.50000055), pytest.approx(0), "sometimes"),
        ([None, None], None, None, None),
        ([], None, None, None),
    ],
)
def test_classes(rewards: list[float | None], mean: Any, variance: Any, reward_class: str | None) -> None:
    (row,) = profiles({"s": [(reward, Outcome.ERROR if reward is None else Outcome.CORRECT) for reward in rewards]})
    assert (row["mean"], row["variance"], row["reward_class"]) == (mean, variance, reward_class)
    assert row["num_scored"] == len(rewards) - rewards.count(None)


def test_a_state_without_scores_has_a_profile_of_nulls() -> None:
    states = pl.DataFrame(
        {"state_id": ["s"], "num_samples": [4], "gate": ["no_verifier"]}, schema_overrides={"num_samples": pl.Int32}
    )
    scores = pl.DataFrame(schema={"state_id": pl.String, "reward": pl.Float64, "outcome": pl.String})
    (row,) = profile(scores, states, policy_id="p", verifier_id="v").to_pylist()
    assert (row["num_samples"], row["num_scored"], row["gate"]) == (4, 0, "no_verifier")
    assert row["mean"] is row["variance"] is row["min_reward"] is row["max_reward"] is row["reward_class"] is None
    assert all(row[f"num_{outcome}"] == 0 for outcome in Outcome)


@given(SAMPLES)
def test_the_unproven_samples_without_a_reward_are_told_from_the_bounds(
    rewards: dict[str, list[tuple[float | None, Outcome]]],
) -> None:
    # A verifier's worth is one for all its samples.
    null = {s: [(None if o is Outcome.UNPROVEN else r, o) for r, o in samples] for s, samples in rewards.items()}
    zero = {s: [(0.0 if o is Outcome.UNPROVEN else r, o) for r, o in samples] for s, samples in rewards.items()}
    for given_rewards, counts in [(null, True), (zero, False)]:
        found = with_bounds(pl.DataFrame(profiles(given_rewards), pl.DataFrame(PROFILES.empty_table()).schema))
        expected = {s: counts * sum(o is Outcome.UNPROVEN for _, o in samples) for s, samples in rewards.items()}
        assert dict(found.select("state_id", "num_undecided").iter_rows()) == expected


def test_profiles_of_an_older_run_counted_what_was_unproven_as_zero() -> None:
    old = pl.DataFrame(
        {"state_id": ["a", "b"], "num_scored": [4, 0], "num_unproven": [2, 0], "mean": [0.25, None]},
        {"state_id": pl.String, "num_scored": pl.Int32, "num_unproven": pl.Int32, "mean": pl.Float64},
    )
    found = with_bounds(old).select("num_undecided", "mean_low", "mean_high").rows()
    assert found == [(0, 0.25, 0.75), (0, None, None)]


def test_a_made_state_of_three_same_and_thirteen_unproven_is_not_always_right() -> None:
    judged: list[tuple[float | None, Outcome]] = [(1.0, Outcome.CORRECT)] * 3
    judged += [(None, Outcome.UNPROVEN)] * 13
    (row,) = profiles({"a": judged})
    assert (row["mean"], row["mean_low"], row["mean_high"]) == (1.0, 3 / 16, 1.0)
    assert (row["num_scored"], row["num_unproven"], row["reward_class"]) == (3, 13, "undecided")
