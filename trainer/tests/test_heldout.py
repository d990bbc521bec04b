"""Statistics over held-out states, and what is said when they are used up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from refusing import refusal

from pivotmine_trainer.train import heldout
from pivotmine_trainer.train.heldout import HeldOut


def test_rewards_by_state_and_the_share_that_is_used_up() -> None:
    samples = [("a", 1.0), ("a", 0.0), ("b", 1.0), ("b", 1.0), ("c", None), ("c", None), ("d", 0.5), ("d", None)]
    assert heldout.summarise(7, samples, 2) == HeldOut(7, {"a": 0.5, "b": 1.0, "d": 0.5}, 2 / 3)


def test_states_that_came_twice_count_once() -> None:
    assert heldout.summarise(0, [("a", 1.0), ("a", 0.0), ("a", 0.0), ("a", 0.0)], 2) == HeldOut(0, {"a": 0.5}, 0.0)


def test_nothing_scored_ends_the_training(
    policy: Path,
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "cannot_tell.py").write_text("def reward(state, demonstration, action):\n    return None\n")
    monkeypatch.syspath_prepend(tmp_path)
    args = tiny.command(policy, dataset, tmp_path / "out", verifier="cannot_tell:reward")
    assert refusal(args, capsys) == (
        "held-out pivots at step 0: the verifiers gave no reward for any of 16 samples; see that they work here, or "
        "name another --verifier"
    )


def test_nothing_scored_is_no_evaluation() -> None:
    assert heldout.summarise(0, [("a", None)], 1) is None
    assert heldout.as_samples(["a", "b"], [float("nan"), 0.5]) == [("a", None), ("b", 0.5)]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
@settings(max_examples=25)
def test_the_interval_holds_the_mean(values: list[float]) -> None:
    mean, low, high = heldout.interval(values)
    assert mean == pytest.approx(np.mean(values))
    assert min(values) - 1e-9 <= low <= mean + 1e-9
    assert mean - 1e-9 <= high <= max(values) + 1e-9


def test_the_interval_is_that_of_the_mean_s_standard_error() -> None:
    values = np.random.default_rng(0).random(400)
    mean, low, high = heldout.interval(values)
    half = 1.96 * values.std() / 20
    assert (mean - low, high - mean) == (pytest.approx(half, rel=0.1), pytest.approx(half, rel=0.1))


def test_the_gain_is_state_by_state() -> None:
    before = HeldOut(0, {"a": 0.0, "b": 0.5, "gone": 1.0}, 0.0)
    assert heldout.gain(before, HeldOut(9, {"a": 0.25, "b": 0.75}, 0.0)) == pytest.approx((0.25, 0.25, 0.25))


def test_evaluations_are_read_back_and_a_torn_line_is_passed_over(tmp_path: Path) -> None:
    first, again, last = (HeldOut(step, {"a": reward}, 0.0) for step, reward in ((0, 0.1), (0, 0.2), (20, 0.9)))
    for found in (first, last, again):
        heldout.append(tmp_path, found)
    with (tmp_path / "heldout.jsonl").open("a") as file:
        file.write('{"step": 40, "rew')
    assert heldout.read(tmp_path) == [again, last]
    assert "change +0.700 [+0.700, +0.700]" in heldout.compared([again, last])
    for _ in range(2):
        heldout.start_anew(tmp_path)
        assert heldout.read(tmp_path) == []


def test_the_command_that_mines_again() -> None:
    sampling = {"top_p": 0.9, "max_new_tokens": 64}
    assert heldout.mine_again_command("runs/desk/pivots/default", "runs/round-1", None, sampling) == (
        "  pivotmine rollout runs/desk --model runs/round-1 --policy-name round-1 --top-p 0.9 --max-new-tokens 64\n"
        "  pivotmine score runs/desk --policy round-1\n"
        "  pivotmine select runs/desk --policy round-1 --name round-1"
    )
    lora = heldout.mine_again_command("owner/pivots", "out", "Qwen/Qwen3-0.6B", {})
    assert lora.startswith("  pivotmine rollout RUN --model Qwen/Qwen3-0.6B --adapter out --policy-name out\n")


def test_the_command_that_mines_again_is_as_a_shell_reads_it() -> None:
    """The policy's name is what the miner makes of the folder's."""
    assert heldout.mine_again_command("my runs/d$k/pivots/default", "it's mine", "a base", {}) == (
        "  pivotmine rollout 'my runs/d$k' --model 'a base' --adapter 'it'\"'\"'s mine' --policy-name it-s-mine\n"
        "  pivotmine score 'my runs/d$k' --policy it-s-mine\n"
        "  pivotmine select 'my runs/d$k' --policy it-s-mine --name it-s-mine"
    )
