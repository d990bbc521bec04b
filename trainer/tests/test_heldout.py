"""Statistics over held-out states, and the messages when they are used up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from refusing import refusal

from pivotmine_trainer.train import heldout, samples
from pivotmine_trainer.train.heldout import HeldOut


def rows(*samples: tuple[str, float | None]) -> list[dict[str, Any]]:
    return [
        {
            "state_id": state,
            "pivot_reward": reward,
            "cluster": f"task {state}",
            "outcome": "unproven" if reward is None else "correct",
        }
        for state, reward in samples
    ]


def test_rewards_by_state_and_the_share_that_is_used_up() -> None:
    given = rows(("a", 1.0), ("a", 0.0), ("b", 1.0), ("b", 1.0), ("c", None), ("c", None), ("d", 0.5), ("d", None))
    assert heldout.summarise(7, given) == HeldOut(
        7,
        {"a": 0.5, "b": 1.0, "d": 0.5},
        2 / 3,
        {"a": "task a", "b": "task b", "d": "task d"},
        [[2, 1], [2, 2], [1, 1]],
        3 / 8,
        3.5 / 8,
        6.5 / 8,
    )


def test_both_means_are_logged_without_failures() -> None:
    given = [*rows(("a", 1.0), ("a", None)), {**rows(("a", None))[0], "outcome": "error"}]
    found = heldout.summarise(0, given)
    assert found is not None
    logged = heldout.metrics(found)
    assert (logged["eval_mean_low"], logged["eval_mean_high"]) == (0.5, 1.0)
    older = found._replace(mean_low=None, mean_high=None)
    assert logged.keys() - heldout.metrics(older).keys() == {"eval_mean_low", "eval_mean_high"}


def test_states_that_came_twice_count_once() -> None:
    given = rows(("a", 1.0), ("a", 0.0), ("a", 0.0), ("a", 0.0))
    assert samples.first_of_each(given, 2) == given[:2]


@pytest.mark.parametrize("p", [0.1, 0.3])
@pytest.mark.parametrize("drawn", [8, 16])
def test_the_share_of_equal_groups_is_that_of_the_mined_number(p: float, drawn: int) -> None:
    """At p = 0.1, 43 % of groups of 8 and 19 % of groups of 16 are all equal, from evaluations of either size."""
    hits = np.random.default_rng(0).binomial(drawn, p, 2000)
    counts = [[drawn, int(k)] for k in hits]
    for group in (8, 16):
        truth = p**group + (1 - p) ** group
        assert heldout.all_equal_share(counts, group) == pytest.approx(truth, abs=0.05)


def test_the_interval_is_over_tasks() -> None:
    """Ten equal states of one task give as wide an interval as one."""
    rng = np.random.default_rng(0)
    tasks = rng.random(40)
    values = np.repeat(tasks, 10).tolist()
    alone = heldout.interval(tasks.tolist())
    together = heldout.interval(values, clusters=[str(i // 10) for i in range(400)])
    apart = heldout.interval(values)
    assert together.high - together.low == pytest.approx(alone.high - alone.low, rel=0.1)
    assert apart.high - apart.low < 0.5 * (together.high - together.low)


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
        "held-out pivots at step 0: the verifiers gave no reward (16 samples); check that they work here, or name "
        "another --verifier"
    )


def test_nothing_scored_is_no_evaluation() -> None:
    assert heldout.summarise(0, rows(("a", None))) is None


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
    said = heldout.compared([again, last])
    assert said.startswith("held out  1 state of 1 task, 95 % intervals over tasks\n")
    assert "change +0.700 [+0.700, +0.700]" in said
    folder = tmp_path / "completions"
    folder.mkdir()
    for name in ("train_00003.parquet", "validation_00000_1.parquet", "notes.txt"):
        (folder / name).touch()
    for _ in range(2):
        heldout.start_anew(tmp_path)
        assert heldout.read(tmp_path) == []
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


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
    """The policy's name is what the miner derives from the folder's."""
    assert heldout.mine_again_command("my runs/d$k/pivots/default", "it's mine", "a base", {}) == (
        "  pivotmine rollout 'my runs/d$k' --model 'a base' --adapter 'it'\"'\"'s mine' --policy-name it-s-mine\n"
        "  pivotmine score 'my runs/d$k' --policy it-s-mine\n"
        "  pivotmine select 'my runs/d$k' --policy it-s-mine --name it-s-mine"
    )
