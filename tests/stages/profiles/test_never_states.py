"""States that are never solved: their posterior, sampling them again, and which are suspects."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from mined_runs import mined_run
from runs import answered, called, make_run, policy_record, rows, said, states_of, trajectory
from selecting import MIXED, TOOL_CALL, WRONG, card, mine, save_tokenizer
from trajectories import order_trajectory, write_jsonl

from pivotmine.run import rundir, sql
from pivotmine_stages.cli.options import extract, rollout, score
from pivotmine_stages.cli.reports import select_report
from pivotmine_stages.profiles.never_states import MIN_LOGPROB, NeverStates, never_states, solvable_probability
from pivotmine_stages.profiles.stopping import StoppingRule
from pivotmine_stages.report.findings import suspects
from pivotmine_stages.report.options import ReportConfig
from pivotmine_stages.report.stage import report
from pivotmine_stages.report.subject import choose_subject, connect
from pivotmine_stages.select.options import SelectConfig
from pivotmine_stages.select.resume_command import sample_hotter
from pivotmine_stages.select.stage import select
from pivotmine_stages.select.summary import Suspect
from pivotmine_stages.show.options import ShowConfig
from pivotmine_stages.show.stage import show, show_report


@pytest.mark.parametrize(("a", "b"), [(0.5, 16.5), (0.1, 8.0), (1.0, 100.0), (20.0, 3.0)])
def test_the_chance_is_the_posterior_s_mass_above_one_percent(a: float, b: float) -> None:
    """Against the density, integrated over logarithms of the rate."""
    steps = 20_000
    low = math.log(0.01)
    norm = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    total = 0.0
    for step in range(steps):
        x = math.exp(low * (1 - (step + 0.5) / steps))
        total += math.exp(norm + a * math.log(x) + (b - 1) * math.log1p(-x)) * -low / steps
    assert solvable_probability(a, b) == pytest.approx(total, abs=1e-4)


def test_profiles_hold_the_chance_and_never_states_add_up_to_what_is_expected(tmp_path: Path) -> None:
    run = mined_run(tmp_path)
    found = [row for row in rows(run, "profiles") if row["policy_id"] == "policy-2"]
    for row in found:
        assert row["solvable_probability"] == pytest.approx(
            solvable_probability(row["posterior_alpha"], row["posterior_beta"])
        )
    never = [row["solvable_probability"] for row in found if row["reward_class"] == "never"]
    assert never_states(pl.DataFrame(found)) == (2, pytest.approx(sum(never)))
    assert all(0 < chance < 1 for chance in never)
    asked = "select count(*) as n from profiles where reward_class = 'never' and solvable_probability > 0.01"
    assert sql.query(run, asked).to_pylist() == [{"n": 3}]

    shown = show(ShowConfig(policy="policy-1", reward_class="never"), run)
    chance = next(r for r in rows(run, "profiles") if r["policy_id"] == "policy-1" and r["reward_class"] == "never")
    assert f", {chance['solvable_probability']:.0%} chance of a success rate above 1%, domain" in show_report(shown)
    page = tmp_path / "page.html"
    report(ReportConfig(output=str(page), policy="policy-2"), run)
    text = page.read_text(encoding="utf-8")
    assert "2 states were never solved; by the posterior about " in text
    assert "--temperature 1.3" in text
    others = never_states(pl.DataFrame(found).filter(pl.col("reward_class") == "always"))
    assert others is None


def test_the_printed_commands_sample_the_never_states_hotter(tmp_path: Path, tiny_policy: Path) -> None:
    run, binaries = tmp_path / "my run", tmp_path / "bin"
    extract({}, sources=[write_jsonl(tmp_path / "s.jsonl", [order_trajectory("A17")])], run=run)
    settings: dict[str, Any] = {"model": str(tiny_policy), "engine": "transformers", "max_new_tokens": 6}
    first = rollout({}, run=run, num_samples=3, top_p=0.9, **settings)
    score({}, run=run)
    summary = select(SelectConfig(strategy="random"), run)
    assert summary.deferred is not None
    never = {row["state_id"] for row in rows(run, "profiles") if row["reward_class"] == "never"}
    assert summary.deferred.states == len(never) > 0
    text = select_report(summary)
    assert NeverStates(len(never), summary.deferred.expected).words() in text
    assert all(command in text for command in summary.deferred.commands)
    assert f"{len(never)} states were never solved" in card(run)
    binaries.mkdir()
    (binaries / "pivotmine").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pivotmine_stages "$@"\n')
    (binaries / "pivotmine").chmod(0o755)
    for command in summary.deferred.commands:
        environment = {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True)
        # A tiny random policy solves nothing: `score` says so only of what is unusable.
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    drawn = [row for row in rows(run, "rollouts") if row["policy_id"] != first.policy_id]
    assert {row["state_id"] for row in drawn} == never
    assert len(drawn) == 3 * len(never)
    (hotter,) = {row["policy_id"] for row in drawn}
    record = rundir.read_json(run / "rollouts" / hotter / "policy.json", "")
    assert (record["sampling"]["temperature"], record["sampling"]["top_p"], record["budget"]) == (1.3, 0.9, 6)
    assert {row["state_id"] for row in rows(run, "profiles") if row["policy_id"] == hotter} == never


def test_commands_leave_to_the_reader_what_the_run_does_not_hold(tmp_path: Path) -> None:
    profiles = pl.DataFrame({"num_samples": [4, 8], "stopping": pl.Series([None, None], dtype=pl.String)})
    remote = policy_record(engine="openai", name="served", sampling={"temperature": 0.7, "top_p": 1.0, "top_k": 0})
    _, sampling, scoring = sample_hotter(tmp_path, remote, TOOL_CALL, profiles)
    assert sampling.endswith("--verifier tool_call --base-url URL")
    assert "--temperature 1.0 " in sampling
    assert scoring.endswith("score " + str(tmp_path) + " --policy served-t1.0 --verifier tool_call")
    assert sample_hotter(tmp_path, policy_record(engine="recorded"), TOOL_CALL, profiles) == []
    # Where few samples were needed, a hotter policy still gets as many as the rule allows.
    rule = StoppingRule(rule="probabilistic", num_samples=16, max_mean=0.6, min_scored=2).to_json()
    stopped = pl.DataFrame({"num_samples": [0, 1], "stopping": [rule, rule]})
    assert "16 as num_samples" in sample_hotter(tmp_path, remote, TOOL_CALL, stopped)[0]


def test_unlikely_demonstrations_are_the_same_suspects_everywhere(tmp_path: Path) -> None:
    names = ("likely", "unlikely", "worse", "not asked", "solved")
    run = make_run(tmp_path, *[trajectory(said(name), called("find", id="A"), answered("ok")) for name in names])
    mine(
        run,
        save_tokenizer(tmp_path / "policy"),
        {f"user: {name}": [WRONG] * 4 for name in names[:4]} | {"user: solved": MIXED},
    )
    states = states_of(run)
    turns = {row["state_id"]: row["turn_id"] for row in rows(run, "turns")}
    asked = [
        {"policy_id": "policy-1", "state_id": states[f"user: {name}"], "logprob": logprob}
        for name, logprob in (
            *(("likely", -2.0), ("likely", -50.0), ("unlikely", MIN_LOGPROB - 0.1), ("worse", -40.0)),
            *(("not asked", None), ("solved", -50.0)),
        )
    ]
    folder = run / "triage" / "policy-1" / TOOL_CALL.verifier_id
    triaged = [{**row, "turn_id": turns[row["state_id"]], "num_tokens": 9} for row in asked]
    rundir.write_rows(folder / "part-0.parquet", "triage", triaged)
    # Another policy's log-probabilities are not this one's.
    other = [{**triaged[0], "policy_id": "policy-9", "logprob": -99.0}]
    rundir.write_rows(run / "triage" / "policy-9" / "v" / "part-0.parquet", "triage", other)
    summary = select(SelectConfig(strategy="random", validation_share=0.0), run)
    worse, unlikely = states["user: worse"], states["user: unlikely"]
    assert summary.suspects == [
        Suspect(state_id=worse, logprob=-40.0),
        Suspect(state_id=unlikely, logprob=-13.9),
    ]
    line = (
        "suspects: 2 demonstrations are less likely than 1e-06: "
        "a fault of format or verifier is likelier than difficulty"
    )
    assert f"{line}; by log-probability: {worse} (-40.0), {unlikely} (-13.9)" in select_report(summary)
    assert f"| {worse} | -40.0 |\n| {unlikely} | -13.9 |" in card(run)
    subject = choose_subject(run, None, None)
    found = suspects(connect(run, subject), subject)
    assert [(one["state_id"], one["detail"]) for one in found if "less likely" in one["why"]] == [
        *((worse, "log-probability -40.0"), (unlikely, "log-probability -13.9")),
    ]
