"""Cost estimates: token counts against a tree by hand, and a pilot whose samples are kept."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from trajectories import order_trajectory, write_jsonl

from pivotmine.errors import UserError
from pivotmine.run import rundir
from pivotmine.run.states import demonstrated_turns, state_messages
from pivotmine_stages.cli.options import extract, rollout
from pivotmine_stages.policy.prompts import load_renderer


@pytest.fixture
def run(tmp_path: Path) -> Path:
    records = [order_trajectory(f"B{i}", task_id=i) for i in range(5)]
    extract({}, sources=[write_jsonl(tmp_path / "orders.jsonl", records)], run=tmp_path / "run")
    return tmp_path / "run"


def test_a_dry_run_counts_what_a_larger_budget_would_continue(run: Path, tiny_policy: Path) -> None:
    settings: dict[str, Any] = {
        "run": run,
        "model": str(tiny_policy),
        "engine": "transformers",
        "verifier": "tool_call",
    }
    rollout({}, **settings, num_samples=2, max_new_tokens=6)
    stored = rundir.scan(run, "rollouts").collect()
    cut = int((stored["finish_reason"] == "length").sum())
    found = rollout({}, **settings, num_samples=3, max_new_tokens=20, dry_run=True)
    assert (found.states, found.samples, found.continued) == (10, 10, cut)
    each = stored.group_by("state_id").agg(pl.col("num_tokens").mean()).select(pl.mean("num_tokens")).item()
    assert found.generated_tokens == pytest.approx(10 * each + cut * 14)
    assert rollout({}, **settings, num_samples=2, max_new_tokens=4, dry_run=True).continued == 0


def test_a_dry_run_counts_and_samples_nothing(run: Path, tiny_policy: Path) -> None:
    summary = rollout(
        {}, run=run, model=str(tiny_policy), engine="transformers", num_samples=8, dry_run=True, verifier="tool_call"
    )
    renderer = load_renderer(str(tiny_policy), {})
    turns = demonstrated_turns(run)
    calls = turns.filter(turns["kind"] == "tool_call")
    prompts = [renderer.render(state.messages, state.tools).token_ids for state in state_messages(run, calls)]
    assert (summary.states, summary.samples) == (10, 80)
    assert summary.prompt_tokens == sum(map(len, prompts))
    assert summary.distinct_prefix_tokens == len({tuple(p[: i + 1]) for p in prompts for i in range(len(p))})
    assert summary.tokens_per_sample is summary.gpu_hours is summary.adaptive_share is None
    assert summary.generated_tokens == 80 * 512  # at most
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
    states = demonstrated_turns(run).filter(pl.col("kind") == "tool_call")["state_id"]
    # Evenly spread over the ten.
    assert set(stored["state_id"]) == {states[place] for place in (0, 2, 5, 7)}
    assert len(stored) == 4 * 2
    assert summary.samples == 80 - 8
    tokens = stored["num_tokens"].sum() / len(stored)
    assert summary.tokens_per_sample == pytest.approx(tokens)
    assert summary.generated_tokens == pytest.approx(72 * tokens)
    # Prompt tokens count at ten times that rate.
    hours = (summary.generated_tokens / 100 + summary.distinct_prefix_tokens / 1000) / 3600
    assert summary.gpu_hours == pytest.approx(hours)
    assert 0 < summary.adaptive_share <= 1
    assert rollout({}, run=run, **options).sampled.samples == 72


def test_a_pilot_of_which_nothing_is_stored_says_no_more_than_a_dry_run(run: Path, tiny_policy: Path) -> None:
    options: dict[str, Any] = {"model": str(tiny_policy), "engine": "transformers", "max_new_tokens": 4}
    summary = rollout({}, run=run, dry_run=True, pilot=3, limit=0, **options)
    assert (summary.states, summary.tokens_per_sample, summary.generated_tokens) == (0, None, 0)


def test_a_dry_run_counts_what_is_missing_and_takes_a_pilot_of_all_for_all(run: Path, tiny_policy: Path) -> None:
    options: dict[str, Any] = {"model": str(tiny_policy), "engine": "transformers", "max_new_tokens": 6}
    options |= {"verifier": "tool_call", "num_samples": 4}
    rollout({}, run=run, limit=4, **options)
    renderer = load_renderer(str(tiny_policy), {})
    calls = demonstrated_turns(run).filter(pl.col("kind") == "tool_call")
    lengths = [len(renderer.render(state.messages, state.tools).token_ids) for state in state_messages(run, calls)]
    before = rollout({}, run=run, dry_run=True, **options)
    assert (before.states, before.samples, before.prompt_tokens) == (6, 24, sum(lengths[4:]))
    after = rollout({}, run=run, dry_run=True, pilot=1000, **options)
    assert (after.states, after.samples, after.prompt_tokens) == (6, 18, sum(lengths[4:]))
    # What is stored but could not be scored says nothing of the others.
    (profiles,) = run.glob("scores/*/*/profiles.parquet")
    unscored = pl.when(pl.int_range(pl.len()) > 0)
    pl.read_parquet(profiles).with_columns(
        num_scored=unscored.then("num_scored").otherwise(0), mean=unscored.then("mean").otherwise(None)
    ).write_parquet(profiles)
    assert 0 < rollout({}, run=run, dry_run=True, **options).adaptive_share <= 1
    done = rollout({}, run=run, dry_run=True, limit=4, **options)
    assert (done.states, done.samples, done.prompt_tokens, done.distinct_prefix_tokens) == (0, 0, 0, 0)


def test_prompts_that_the_template_refuses_are_counted(run: Path, tiny_policy: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_policy, tmp_path / "picky")
    template = tmp_path / "picky" / "chat_template.jinja"
    refusing = "{% if messages | length > 1 %}{{ raise_exception('one message only') }}{% endif %}"
    template.write_text(refusing + template.read_text())
    summary = rollout(
        {},
        run=run,
        model=str(tmp_path / "picky"),
        engine="transformers",
        dry_run=True,
        verifier="tool_call",
        parser="hermes",
    )
    assert (summary.states, summary.unrendered) == (10, 5)
    calls = demonstrated_turns(run).filter((pl.col("kind") == "tool_call") & (pl.col("turn_index") == 0))
    renderer = load_renderer(str(tiny_policy), {})
    prompts = [renderer.render(state.messages, state.tools).token_ids for state in state_messages(run, calls)]
    assert summary.prompt_tokens == sum(map(len, prompts))


def test_a_dry_run_needs_a_tokenizer(run: Path) -> None:
    server: dict[str, Any] = {"engine": "openai", "api": "chat", "base_url": ["http://127.0.0.1:9/v1"]}
    with pytest.raises(UserError, match="name the server's tokenizer with --tokenizer"):
        rollout({}, run=run, model="m", policy_name="p", dry_run=True, verifier="tool_call", **server)


def test_its_flags_go_with_it(run: Path, tiny_policy: Path) -> None:
    with pytest.raises(UserError, match="--pilot goes with --dry-run"):
        rollout({}, run=run, model=str(tiny_policy), pilot=3)


def test_a_dry_run_leaves_out_what_exceeds_the_context_and_prices_the_rest(run: Path, tiny_policy: Path) -> None:
    options: dict[str, Any] = {"model": str(tiny_policy), "engine": "transformers", "max_new_tokens": 6}
    options |= {"verifier": "tool_call", "num_samples": 4}
    renderer = load_renderer(str(tiny_policy), {})
    calls = demonstrated_turns(run).filter(pl.col("kind") == "tool_call")
    lengths = [len(renderer.render(state.messages, state.tools).token_ids) for state in state_messages(run, calls)]
    limit = sorted(lengths)[4] + 6
    fitting = [length for length in lengths if length + 6 <= limit]
    summary = rollout({}, run=run, dry_run=True, max_model_len=limit, **options)
    assert (summary.max_model_len, summary.too_long) == (limit, 10 - len(fitting))
    assert (summary.states, summary.samples) == (len(fitting), 4 * len(fitting))
    assert summary.prompt_tokens == sum(fitting)
    assert summary.longest == max(lengths) + 6
    assert summary.gpu_hours is summary.price is None
    bound = rollout({}, run=run, dry_run=True, max_model_len=limit, tokens_per_second=10.0, **options)
    tokens = (summary.samples * 6 / 10 + summary.distinct_prefix_tokens / 100) / 3600
    assert bound.gpu_hours == pytest.approx(tokens)
    priced = rollout(
        {}, run=run, dry_run=True, pilot=2, tokens_per_second=10.0, prompt_tokens_per_second=50.0, price_per_hour=3.0,
        **options,
    )  # fmt: skip
    hours = (priced.generated_tokens / 10 + priced.distinct_prefix_tokens / 50) / 3600
    assert (priced.gpu_hours, priced.price) == (pytest.approx(hours), pytest.approx(3 * hours))
    with pytest.raises(UserError, match="--price-per-hour prices GPU-hours: add --tokens-per-second"):
        rollout({}, run=run, dry_run=True, price_per_hour=3.0, **options)
