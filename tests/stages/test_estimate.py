"""The cost before: token counts against the tree by hand, and a pilot whose samples stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from trajectories import order_trajectory, write_jsonl

from pivotmine import rundir
from pivotmine.errors import UserError
from pivotmine.states import demonstrated_turns, state_messages
from pivotmine_stages.commands import extract, rollout
from pivotmine_stages.rendering import load_renderer


@pytest.fixture
def run(tmp_path: Path) -> Path:
    records = [order_trajectory(f"B{i}", task_id=i) for i in range(5)]
    extract({}, sources=[write_jsonl(tmp_path / "orders.jsonl", records)], run=tmp_path / "run")
    return tmp_path / "run"


def test_a_dry_run_counts_and_samples_nothing(run: Path, tiny_policy: Path) -> None:
    summary = rollout(
        {}, run=run, model=str(tiny_policy), engine="transformers", num_samples=8, dry_run=True, verifier="tool_call"
    )
    renderer = load_renderer(str(tiny_policy), {})
    turns = demonstrated_turns(run)
    calls = turns.filter(turns["kind"] == "tool_call")
    prompts = [renderer.render(state.messages, state.tools).token_ids for state in state_messages(run, calls)]
    assert (summary["states"], summary["samples"]) == (10, 80)
    assert summary["prompt_tokens"] == sum(map(len, prompts))
    assert summary["distinct_prefix_tokens"] == len({tuple(p[: i + 1]) for p in prompts for i in range(len(p))})
    assert summary["generated_tokens"] is summary["gpu_hours"] is summary["adaptive_share"] is None
    assert not list(run.glob("rollouts/**/*"))


def test_a_pilot_is_kept_and_tells_the_rest(run: Path, tiny_policy: Path) -> None:
    options: dict[str, Any] = {
        "model": str(tiny_policy),
        "engine": "transformers",
        "num_samples": 8,
        "max_new_tokens": 6,
        "verifier": "tool_call",
    }
    summary = rollout({}, run=run, dry_run=True, pilot=4, tokens_per_second=100.0, **options)
    stored = rundir.scan(run, "rollouts").collect()
    assert stored["state_id"].n_unique() == 4
    assert len(stored) == 4 * 2
    assert summary["samples"] == 80 - 8
    tokens = stored["num_tokens"].sum() / len(stored)
    assert summary["tokens_per_sample"] == pytest.approx(tokens)
    assert summary["generated_tokens"] == pytest.approx(72 * tokens)
    assert summary["gpu_hours"] == pytest.approx(summary["generated_tokens"] / 100 / 3600)
    assert 0 < summary["adaptive_share"] <= 1
    assert rollout({}, run=run, **options)["sampled"]["samples"] == 72


def test_its_flags_go_with_it(run: Path, tiny_policy: Path) -> None:
    with pytest.raises(UserError, match="--pilot goes with --dry-run"):
        rollout({}, run=run, model=str(tiny_policy), pilot=3)
