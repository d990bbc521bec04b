"""The three advantages, the fixed one of invalid actions, and their use in a training step."""

from __future__ import annotations

import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

from pivotmine_trainer.cli.app import main
from pivotmine_trainer.train.advantages import group_advantages, with_invalid

ONE_IN_16 = torch.tensor([[1.0] + [0.0] * 15])


@pytest.mark.parametrize(
    ("choice", "success", "failure"),
    [("grpo", 3.75, -0.25), ("leave_one_out", 1.0, -0.2673), ("rloo", 1.0, -1 / 15)],
)
def test_one_success_among_16(choice: str, success: float, failure: float) -> None:
    found = group_advantages(ONE_IN_16, choice)[0].tolist()
    assert found == pytest.approx([success] + [failure] * 15, abs=2e-3)


@given(st.lists(st.one_of(st.just(math.nan), st.floats(0, 1, width=32)), min_size=2, max_size=8))
def test_leave_one_out_is_the_formula_sample_by_sample(rewards: list[float]) -> None:
    found = group_advantages(torch.tensor([rewards]), "leave_one_out")[0].tolist()
    for place, reward in enumerate(rewards):
        others = [r for i, r in enumerate(rewards) if i != place and r == r]
        if reward != reward or not others:
            assert found[place] == 0
            continue
        mean = sum(others) / len(others)
        spread = math.sqrt(sum((r - mean) ** 2 for r in others) / len(others))
        expected = (reward - mean) / spread if spread > 1e-6 else reward - mean
        assert found[place] == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_equal_rewards_teach_nothing() -> None:
    for choice in ("grpo", "leave_one_out", "rloo"):
        assert group_advantages(torch.full((1, 7), 0.3), choice).abs().max() < 1e-4


def test_an_invalid_action_s_advantage_is_fixed_and_the_others_keep_theirs() -> None:
    """If -5 were a reward, seven wrong calls in a group with an invalid one would have +0.35, not -0.14."""
    before = group_advantages(torch.tensor([[1.0] + [0.0] * 7]), "leave_one_out")
    is_invalid = torch.tensor([[False] * 7 + [True]])
    after = with_invalid(before, is_invalid, -5.0)
    assert after[0, 7] == -5
    assert torch.equal(after[0, :7], before[0, :7])
    assert torch.equal(with_invalid(before, is_invalid, None), before)


def test_training_uses_them_and_held_out_figures_keep_the_verifier_s_rewards(
    policy: Path, dataset: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = {"advantages": "leave_one_out", "invalid_action_advantage": -5, "temperature": 2.0, "max_steps": 1}
    main(tiny.command(policy, dataset, out, **options))
    rows = pq.read_table(out / "completions/train_00001.parquet").to_pylist()
    groups = torch.tensor([row["pivot_reward"] for row in rows]).view(-1, 8)
    expected = group_advantages(groups, "leave_one_out").flatten().tolist()
    invalid = [row["outcome"] == "invalid_call" for row in rows]
    assert 0 < sum(invalid) < len(rows)
    assert [row["advantage"] for row in rows] == pytest.approx(
        [-5.0 if is_invalid else one for one, is_invalid in zip(expected, invalid, strict=True)], abs=1e-5
    )
    held_out = pq.read_table(out / "completions/validation_00001.parquet").to_pylist()
    assert {row["pivot_reward"] for row in held_out} <= {0.0, 1.0}
