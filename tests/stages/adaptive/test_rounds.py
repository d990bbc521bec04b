"""Rounds of plan, rollout and score with a real policy, which solves five orders from never to always."""

from __future__ import annotations

import json
import math
import shlex
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest
from policies import Lesson, call_text, tool
from trajectories import call, write_jsonl

from pivotmine.errors import UserError
from pivotmine.run import rundir
from pivotmine_stages.adaptive.summary import Profiled
from pivotmine_stages.cli.app import main
from pivotmine_stages.cli.options import extract, profile, rollout, score, select
from pivotmine_stages.rollout import stage as rollout_stage
from pivotmine_stages.select.dataset import SPLITS

TOOLS = [tool("cancel_order", "order_id"), tool("find_order", "order_id")]
RIGHT = {"A11": 0, "B22": 1, "C33": 5, "D44": 8, "E55": 10}
"""Right answers in ten, by order."""
NUM_SAMPLES = 16


def asked(order: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": f"Please cancel my order {order}."}]


@pytest.fixture(scope="module")
def policy(policies: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    lessons = [
        Lesson(
            messages=asked(order),
            tools=TOOLS,
            answers=tuple(
                (call_text(name, order_id=order), weight)
                for name, weight in (("cancel_order", right), ("find_order", 10 - right))
                if weight
            ),
        )
        for order, right in RIGHT.items()
    ]
    return policies.train_policy(tmp_path_factory.mktemp("policy") / "five", lessons, steps=240)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    records: list[dict[str, Any]] = []
    for order in RIGHT:
        reply = {"role": "assistant", "content": None, "tool_calls": [call("cancel_order", {"order_id": order})]}
        records.append({"messages": [*asked(order), reply], "tools": TOOLS, "task_id": order})
    return write_jsonl(tmp_path_factory.mktemp("source") / "orders.jsonl", records)


@pytest.fixture
def run(source: Path, tmp_path: Path) -> Path:
    extract({}, sources=[source], run=tmp_path / "run")
    return tmp_path / "run"


def adapt(run: Path, policy: Path, adaptive: str = "exact", **goal: Any) -> Profiled:
    sampled = {"model": str(policy), "engine": "transformers", "max_new_tokens": 40}
    options = {"rollout": {**sampled, "num_samples": NUM_SAMPLES}, "score": {}, "select": goal.pop("select", {})}
    return profile({}, options, run=run, adaptive=adaptive, **goal)


@pytest.fixture(scope="module")
def fixed(source: Path, policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All samples of every state: an engine with a seed a sample draws the same ones in rounds."""
    run = tmp_path_factory.mktemp("fixed") / "run"
    extract({}, sources=[source], run=run)
    rollout({}, run=run, model=str(policy), engine="transformers", num_samples=NUM_SAMPLES, max_new_tokens=40)
    score({}, run=run)
    return run


def profiles(run: Path) -> dict[str, dict[str, Any]]:
    """By order."""
    found = rundir.scan(run, "turns").join(rundir.scan(run, "profiles"), on="state_id").collect()
    orders = [json.loads(d)["tool_calls"][0]["arguments"]["order_id"] for d in found["demonstration"]]
    return dict(zip(orders, found.iter_rows(named=True), strict=True))


def pivots(run: Path, name: str = "default", **options: Any) -> set[str]:
    """The states of this selection; those of other tests may lie next to it."""
    select({}, run=run, name=name, **options)
    return {state for path in (run / "pivots" / name).glob("*.parquet") for state in pl.read_parquet(path)["state_id"]}


def samples(run: Path) -> list[tuple[Any, ...]]:
    columns = ("state_id", "sample_index", "text")
    return rundir.scan(run, "rollouts").select(columns).collect().sort(columns).rows()


def test_rounds_begin_by_continuing_what_a_smaller_budget_cut(run: Path, fixed: Path, policy: Path) -> None:
    sampled = {"model": str(policy), "engine": "transformers", "max_new_tokens": 12, "num_samples": 6}
    drawn = rollout({}, run=run, **sampled).sampled.samples
    assert score({}, run=run).outcomes == {"truncated": drawn}
    summary = adapt(run, policy)
    assert summary.rollout.sampled.continued == drawn == 6 * len(RIGHT)
    columns = ("state_id", "sample_index", "text")
    whole = rundir.scan(run, "rollouts").filter(pl.col("budget") == 40).select(columns).collect().rows()
    assert set(whole) < set(samples(fixed))
    assert pivots(run) == pivots(fixed) != set()
    assert not adapt(run, policy).rollout.sampled


def test_exact_rounds_select_what_fixed_samples_select(run: Path, fixed: Path, policy: Path) -> None:
    summary = adapt(run, policy)
    counts = {order: row["num_samples"] for order, row in profiles(run).items()}
    whole = {order: row["num_scored"] * row["mean"] for order, row in profiles(fixed).items()}
    assert set(samples(run)) < set(samples(fixed))
    assert pivots(run) == pivots(fixed) != set()
    assert counts["A11"] == NUM_SAMPLES
    assert 8 <= counts["E55"] <= 12
    assert whole["E55"] == NUM_SAMPLES
    assert summary.adaptive.samples == sum(counts.values()) < 5 * NUM_SAMPLES
    assert summary.rollout.sampled.samples == sum(counts.values())
    stopped = {order for order, row in profiles(run).items() if row["stopping"] is not None}
    assert stopped == {order for order, count in counts.items() if count < NUM_SAMPLES}
    rule = json.loads(profiles(run)["E55"]["stopping"])
    assert rule == {"rule": "exact", "num_samples": 16, "max_mean": 0.6, "min_scored": 2}


def test_other_bounds_are_refused_until_they_are_sampled_for(run: Path, policy: Path, fixed: Path) -> None:
    adapt(run, policy, select={"max_mean": 0.3})
    with pytest.raises(
        UserError, match=r"(?:state is|states are) undecided for this selection: .*--max-mean 0.3; sample the rest"
    ):
        select({}, run=run, name="other", max_mean=0.95)
    adapt(run, policy, select={"max_mean": 0.95})
    assert pivots(run, max_mean=0.95) == pivots(fixed, max_mean=0.95, name="other")
    # What was decided for the first bound stays so.
    select({}, run=run, name="first", max_mean=0.3)
    rollout({}, run=run, model=str(policy), engine="transformers", num_samples=NUM_SAMPLES, max_new_tokens=40)
    score({}, run=run)
    select({}, run=run, name="all", variance_share=0.9)
    assert {row["stopping"] for row in profiles(run).values()} == {None}


@pytest.mark.parametrize("adaptive", ["exact", "probabilistic"])
def test_killed_in_a_round_it_goes_on_as_if_nothing_had_happened(
    adaptive: str, run: Path, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollout_stage, "SAMPLES_PER_PART", 1)
    adapt(run, policy, adaptive)
    plans = sorted(run.glob("plans/*/*/*/round-*.parquet"))
    parts = sorted(run.glob("rollouts/*/part-*.parquet"))
    assert len(plans) >= 3
    for kept_plans, kept_parts in ((1, 2), (2, 7)):
        # What a kill leaves: plans and parts are only ever added, in this order.
        killed = tmp_path / f"killed-{kept_plans}-{kept_parts}"
        shutil.copytree(run, killed)
        for path in (*plans[kept_plans:], *parts[kept_parts:]):
            (killed / path.relative_to(run)).unlink()
        for path in killed.glob("scores/*/*/*.parquet"):
            path.unlink()
        adapt(killed, policy, adaptive)
        assert samples(killed) == samples(run)
        again = [pl.read_parquet(path).rows() for path in sorted(killed.glob("plans/*/*/*/round-*.parquet"))]
        assert again == [pl.read_parquet(path).rows() for path in plans]


def test_started_again_it_samples_nothing(run: Path, policy: Path) -> None:
    adapt(run, policy, "probabilistic")
    before = samples(run)
    summary = adapt(run, policy, "probabilistic")
    assert not summary.rollout.sampled
    assert samples(run) == before


def test_profiles_carry_what_is_believed_of_each_state(run: Path, policy: Path) -> None:
    adapt(run, policy, "probabilistic")
    found = profiles(run)
    for row in found.values():
        assert 0 < row["posterior_low"] < row["posterior_mean"] < row["posterior_high"] < 1
        a, b = row["posterior_alpha"], row["posterior_beta"]
        assert row["posterior_mean"] == pytest.approx(a / (a + b))
        assert json.loads(row["stopping"])["rule"] == "probabilistic" if row["stopping"] else row["num_samples"] == 16
    means = [found[order]["posterior_mean"] for order in RIGHT]
    assert means[0] < means[2] < means[4]
    assert found["C33"]["pivot_probability"] > 0.5 > found["E55"]["pivot_probability"]
    chosen = pivots(run)
    sure = pivots(run, name="sure", min_pivot_probability=0.99)
    assert found["C33"]["state_id"] in chosen
    assert sure <= chosen


@pytest.mark.parametrize("adaptive", ["exact", "probabilistic"])
def test_states_whose_demonstration_is_likely_enough_need_no_sample(
    adaptive: str, run: Path, policy: Path, fixed: Path
) -> None:
    summary = adapt(run, policy, adaptive, triage=True)
    masses = {row["state_id"]: row["logprob"] for row in rundir.scan(run, "triage").collect().iter_rows(named=True)}
    above = {state for state, logprob in masses.items() if math.exp(logprob) >= 0.6}
    sampled = {state for state, *_ in samples(run)}
    assert {profiles(fixed)[order]["state_id"] for order in ("D44", "E55")} == above
    assert not above & sampled
    assert summary.adaptive.triaged == 2
    rejects = [row for row in rundir.scan(run, "rejects").collect().to_dicts() if row["stage"] == "triage"]
    assert {(row["state_id"], row["reason"]) for row in rejects} == {(state, "mean_too_high") for state in above}
    if adaptive == "exact":
        assert pivots(run) == pivots(fixed)


def test_a_budget_is_kept(run: Path, policy: Path) -> None:
    summary = adapt(run, policy, "probabilistic", sample_budget=26)
    assert 20 <= summary.adaptive.samples <= 26


def test_the_half_that_chose_is_not_the_half_that_is_reported(fixed: Path) -> None:
    select({}, run=fixed, name="half", holdout="half", max_mean=0.9)
    rows = pl.concat(
        [pl.read_parquet(path) for path in [fixed / "pivots" / "half" / f"{name}.parquet" for name in SPLITS]]
    )
    scores = rundir.scan(fixed, "scores").collect()
    halves = [scores.filter(pl.col("sample_index") % 2 == parity).group_by("state_id") for parity in (0, 1)]
    chose, reported = (dict(half.agg(pl.col("reward").mean()).iter_rows()) for half in halves)
    assert set(rows["state_id"]) == {state for state, mean in chose.items() if 0 < mean < 0.9}
    assert dict(rows.select("state_id", "mean").iter_rows()) == {
        state: pytest.approx(reported[state]) for state in rows["state_id"]
    }
    assert rows["num_samples"].to_list() == [8] * len(rows) != []


def test_what_cannot_be_sampled_is_waited_for_by_none(run: Path, policy: Path) -> None:
    sampled = {"model": str(policy), "engine": "transformers", "max_new_tokens": 40}
    options = {"rollout": {**sampled, "num_samples": 4, "max_model_len": 50}, "score": {}, "select": {}}
    with pytest.raises(
        UserError, match=r"^nothing was sampled: prompt_too_long 5; the first prompt_too_long: 212 prompt"
    ):
        profile({}, options, run=run, adaptive="exact")


@pytest.mark.parametrize(
    ("adaptive", "goal", "words"),
    [
        ("sometimes", {}, "--adaptive sometimes: choose from exact, probabilistic"),
        ("exact", {"sample_budget": 10}, "go with --adaptive probabilistic"),
        ("probabilistic", {"target_recall": 1.5}, "--target-recall 1.5"),
        ("exact", {"select": {"min_scored": 17}}, "--num-samples of at least 17"),
    ],
)
def test_bad_settings_are_one_line(run: Path, policy: Path, adaptive: str, goal: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        adapt(run, policy, adaptive, **goal)


def test_the_commands_that_sample_the_rest_work_as_they_are_printed(
    source: Path, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, model = tmp_path / "my run's", Path(shutil.copytree(policy, tmp_path / "my model"))
    extract({}, sources=[source], run=run)
    sampled = {"model": str(model), "engine": "transformers", "max_new_tokens": 40, "num_samples": 8}
    sampled |= {"limit": 4, "temperature": 0.9, "seed": 7, "policy_name": "mine", "verifier": "tool_call"}
    profile({}, {"rollout": sampled, "score": {}, "select": {"max_mean": 0.3}}, run=run, adaptive="exact")
    with pytest.raises(UserError, match=r"(?:state is|states are) undecided") as raised:
        select({}, run=run, max_mean=0.95)
    commands = str(raised.value).split("; sample the rest by ")[1].split("`")[1::2]
    assert [command.split()[1] for command in commands] == ["rollout", "score"]
    for command in commands:
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        with pytest.raises(SystemExit, match=r"^0$"):
            main()
    found = rundir.scan(run, "profiles").collect()
    assert found["num_samples"].to_list() == [8] * 4
    assert len(list((run / "rollouts").iterdir())) == len(found["verifier_id"].unique()) == 1
    select({}, run=run, max_mean=0.95)
