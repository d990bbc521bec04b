"""Every reader of samples uses those of one token budget: dataset, export, report, audit, SQL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from runs import (
    add_rollouts,
    call_text,
    called,
    make_run,
    policy_record,
    remember,
    rows,
    said,
    sample,
    states_of,
    trajectory,
)

from pivotmine.errors import UserError
from pivotmine.run import sql
from pivotmine.verifiers import make_spec
from pivotmine_stages.audit.agreement import agreements, outcome_rates
from pivotmine_stages.cli.options import score, select
from pivotmine_stages.cli.pivot_preview import show_pivot
from pivotmine_stages.export.stage import ExportConfig, export
from pivotmine_stages.policy.record import choose_policy
from pivotmine_stages.report.aggregates import cost
from pivotmine_stages.report.subject import Subject, choose_subject, connect
from pivotmine_stages.select.options import SelectConfig
from pivotmine_stages.select.preview import preview
from pivotmine_stages.status.stage import status, status_report

RIGHT, WRONG = call_text("find", id="A"), call_text("find", id="B")
TOOL_CALL = make_spec("tool_call", {}).verifier_id


def drawn(text: str, budget: int, num_tokens: int, **columns: Any) -> dict[str, Any]:
    known = {"budget": budget, "num_tokens": num_tokens, "token_ids": list(range(num_tokens))}
    return sample(text, **{**known, **columns})


def cut(text: str, budget: int, **columns: Any) -> dict[str, Any]:
    return drawn(text, budget, budget, finish_reason="length", **columns)


@pytest.fixture
def grown(tmp_path: Path) -> Path:
    """Drawn at 64 and grown to 128: the first of four samples was continued, and was right."""
    run = make_run(tmp_path, trajectory(said("A, please"), called("find", id="A")))
    record = policy_record(budget=128, sampling={"temperature": 1.0, "top_p": 1.0, "top_k": 0})
    remember(run, record)
    state = states_of(run)["user: A, please"]
    add_rollouts(run, {state: [cut(RIGHT[:9], 64), drawn(WRONG, 64, 20), drawn(RIGHT, 64, 20)]})
    add_rollouts(run, {state: [drawn(RIGHT, 128, 100, continues=64)]}, part=1)
    add_rollouts(run, {state: [drawn(RIGHT, 128, 90)]}, part=2, first=3)
    return run


def outcomes(run: Path) -> list[tuple[int, int, str, float | None]]:
    """What the report's `samples` says: sample, budget of the row, outcome, reward."""
    query = "select sample_index, budget, outcome, reward from samples order by all"
    return connect(run, choose_subject(run, None, None)).execute(query).fetchall()


def test_a_profile_is_of_one_budget_and_each_reader_keeps_to_it(grown: Path, tiny_policy: Path) -> None:
    score({}, run=grown, verifier="tool_call")
    (whole,) = rows(grown, "profiles")
    assert (whole["budget"], whole["num_samples"], whole["mean"], whole["num_truncated"]) == (128, 4, 0.75, 0)
    assert outcomes(grown) == [
        (0, 128, "correct", 1.0),
        (1, 64, "wrong_arguments", 0.0),
        (2, 64, "correct", 1.0),
        (3, 128, "correct", 1.0),
    ]
    chosen = {"strategy": "mixed", "validation_share": 0.0, "tokenizer": str(tiny_policy)}
    select({}, run=grown, name="large", **chosen)
    score({}, run=grown, verifier="tool_call", max_new_tokens=64)
    (small,) = rows(grown, "profiles")
    assert (small["budget"], small["num_samples"], small["mean"], small["num_truncated"]) == (64, 4, 0.25, 2)
    assert outcomes(grown) == [
        (0, 64, "truncated", 0.0),
        (1, 64, "wrong_arguments", 0.0),
        (2, 64, "correct", 1.0),
        (3, 128, "truncated", 0.0),
    ]
    select({}, run=grown, name="small", **chosen)
    pivots = {row["mean"]: json.loads(row["sampling"]) for row in rows(grown, "pivots")}
    plain = {"temperature": 1.0, "top_p": 1.0, "top_k": 0}
    assert pivots == {0.75: {**plain, "max_new_tokens": 128}, 0.25: {**plain, "max_new_tokens": 64}}
    # A dataset keeps its budget if others are scored later.
    for name, rewards in (("large", [1.0, 0.0, 1.0, 1.0]), ("small", [0.0, 0.0, 1.0, 0.0])):
        export(ExportConfig(name=name), grown)
        (row,) = (grown / "pivots" / name / "nemo_gym" / "train.jsonl").read_text().splitlines()
        assert json.loads(row)["source_model_info"]["rewards"] == rewards
        shown = show_pivot(grown, name)
        assert shown is not None
        assert f"{int(sum(rewards))} x 1.00 correct" in shown


def test_halves_previews_and_costs_count_a_sample_once(grown: Path, tiny_policy: Path) -> None:
    score({}, run=grown, verifier="tool_call")
    config = SelectConfig(strategy="mixed", min_scored=1, tokenizer=str(tiny_policy))
    counts = {row["num_samples"]: row["train"] + row["validation"] for row in preview(config, grown)}
    assert counts == {2: 1, 4: 1}  # of the first two, one is right
    select({}, run=grown, holdout="half", strategy="random", validation_share=0.0, tokenizer=str(tiny_policy))
    (row,) = rows(grown, "pivots")
    assert (row["num_samples"], row["mean"]) == (2, 0.5)
    found = cost(grown, Subject("policy-1", TOOL_CALL))
    assert (found["samples"], found["generated_tokens"]) == (4, 100 + 20 + 20 + 90)
    assert sql.query(grown, "select count(*) as n from last_rollouts").to_pylist() == [{"n": 4}]
    assert sql.query(grown, "select sum(reward) as n from last_scores").to_pylist() == [{"n": 3.0}]


def test_two_verifiers_are_compared_on_the_longest_rows(grown: Path) -> None:
    for verifier in ("tool_call", "exact"):
        score({}, run=grown, verifier=verifier)
    (pair,) = agreements(grown, "policy-1", 3)
    assert (pair.samples, pair.agree) == (4, 4)
    assert {(row["outcome"], row["samples"]) for row in outcome_rates(grown, "policy-1")} == {
        ("correct", 3),
        ("wrong_arguments", 1),
    }


def test_status_says_what_is_not_continued_and_of_which_budget_profiles_are(grown: Path) -> None:
    score({}, run=grown, verifier="tool_call")
    assert "4 samples of at most 128 tokens in 1 state" in status_report(status(grown))
    assert status(grown).missing == []
    score({}, run=grown, verifier="tool_call", max_new_tokens=256)
    assert status(grown).missing == []  # none was cut by 128
    state = states_of(grown)["user: A, please"]
    add_rollouts(grown, {state: [cut(RIGHT[:9], 128)]}, part=3, first=4)
    assert status(grown).next_command.startswith("pivotmine score ")
    score({}, run=grown, verifier="tool_call")
    told = "policy-1: 1 truncated sample is not continued: rollout with --max-new-tokens 256"
    assert status(grown).missing == [told]
    score({}, run=grown, verifier="exact", max_new_tokens=64)
    words = f"policy-1: the profiles by {TOOL_CALL} are of a budget of 256 tokens, and the policy's is 64"
    assert status(grown).missing == [words]


def test_policies_of_older_versions_that_differ_in_their_budget_are_told_apart(grown: Path) -> None:
    record = policy_record(policy_id="policy-2", first_budget=512, budget=512)
    remember(grown, record)
    words = [policy["words"] for policy in status(grown).policies]
    assert words == ["max_new_tokens 128", "max_new_tokens 512"]
    with pytest.raises(UserError, match=r"2 policies match: policy-1 \(max_new_tokens 128\), policy-2 \(max_new_tok"):
        choose_policy(grown, None)


def test_recorded_samples_take_no_budget(grown: Path) -> None:
    remember(grown, policy_record(policy_id="recorded-1", engine="recorded", sampling={"state_key": "exact"}))
    with pytest.raises(UserError, match="--max-new-tokens 64: the budgets of recorded-1"):
        score({}, run=grown, policy="recorded-1", max_new_tokens=64)
