"""Actions of a run in its other states, the best constant action, and both as tables of the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from auditing import audit
from runs import add_rollouts, answered, call_text, called, make_run, policy_record, remember, said, sample, states_of
from runs import trajectory as made

from pivotmine import open_run
from pivotmine.verifiers import make_spec
from pivotmine_stages.audit.options import AuditConfig
from pivotmine_stages.audit.stage import OtherStates
from pivotmine_stages.score.stage import ScoreConfig, score

TOOL_CALL = make_spec("tool_call", {})
NAMES = ("A", "A", "A", "B", "C")
"""What is to be found in five states, in two domains."""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = make_run(
        tmp_path,
        *(
            made(said(f"{i}: {name}"), called("find", id=name), answered(name), domain=f"d{i % 2}")
            for i, name in enumerate(NAMES)
        ),
        made(said("Stop"), called("stop"), answered(""), said("well?"), {"role": "assistant", "content": "Stopped."}),
    )
    remember(run, policy_record())
    return run


def constants(found: list[dict[str, Any]]) -> dict[tuple[str, str | None], tuple[str, float, int, int, bool]]:
    names = ("mean_reward", "num_states", "num_actions", "is_exact")
    return {(row["grouped_by"], row["name"]): (_called(row["action"]), *(row[name] for name in names)) for row in found}


def _called(stored: str) -> str:
    action = json.loads(stored)
    return " ".join(
        [*(str(call["arguments"].get("id")) for call in action.get("tool_calls", ())), action.get("message", "")]
    )


def test_the_best_constant_action_of_each_tool_and_domain(run: Path) -> None:
    found = audit(AuditConfig(verifier=make_spec("auto", {})), run).constants
    assert constants(found) == {
        ("tool", "stop"): ("None ", 1.0, 1, 1, True),
        ("tool", "message"): ("Stopped.", 1.0, 1, 1, True),
        ("tool", "find"): ("A ", 0.6, 5, 3, True),
        ("domain", "d0"): ("A ", 2 / 3, 3, 2, True),
        ("domain", "d1"): ("A ", 0.5, 2, 2, True),
        ("domain", None): ("None ", 0.5, 2, 2, True),
    }
    assert [row["mean_reward"] for row in found] == sorted((row["mean_reward"] for row in found), reverse=True)


def test_samples_are_candidates_too(run: Path) -> None:
    state = states_of(run)["user: 4: C"]
    reasoned = f"<think>\nso\n</think>\n\n{call_text('find', id='A')}"
    add_rollouts(
        run, {state: [sample(reasoned), sample(call_text("find", id="Z")), sample("cut", finish_reason="length")]}
    )
    score(ScoreConfig(verifier=TOOL_CALL), run)
    summary = audit(AuditConfig(verifier=TOOL_CALL), run)
    # A, B, C and the sample Z: reasoning makes no other action, and what is cut off is none.
    assert constants(summary.constants)["tool", "find"] == ("A ", 0.6, 5, 4, True)
    assert summary.policy_id == "policy-1"


def test_of_many_pairs_a_sample_is_screened(run: Path) -> None:
    found = constants(audit(AuditConfig(verifier=TOOL_CALL, num_pairs=6), run).constants)
    # 5 of 6 judged states: 5 verdicts for 3 actions, each in one state; then two of them in all five.
    assert found["tool", "find"] == ("A ", 0.6, 5, 3, False)
    assert audit(AuditConfig(verifier=TOOL_CALL, num_pairs=0), run).constants == []


def test_an_action_that_is_paid_elsewhere_though_it_is_written_otherwise_is_shown(run: Path) -> None:
    strict = audit(AuditConfig(verifier=TOOL_CALL), run)
    # Of 20 pairs 6 are A in another state that wants A; in the states of B and C it is given once.
    assert strict.other_states == OtherStates(pairs=20, is_sample=False, tried=10, paid=0)
    assert (strict.verdict[:3], strict.errors) == ("fit", [])
    leaky = make_spec("own_verifiers:nothing_but_calls", {})
    summary = audit(AuditConfig(verifier=leaky, num_examples=1), run)
    assert summary.other_states.paid == summary.other_states.tried == 10
    (shown,) = [error for error in summary.errors if error["error"] == "paid_elsewhere"]
    assert (shown["trial"], shown["tool"], shown["reward"]) == ("other_states_action", "find", 1.0)
    assert audit(AuditConfig(verifier=leaky, num_pairs=4), run).other_states.tried <= 4


def test_the_result_is_a_table_of_the_run(run: Path) -> None:
    leaky = make_spec("own_verifiers:nothing_but_calls", {})
    audit(AuditConfig(verifier=leaky, limit=1), run)
    summary = audit(AuditConfig(verifier=leaky), run)
    opened = open_run(run)
    trials = opened.audit_trials.filter(pl.col("must_pass") == False, pl.col("tool") == "find")  # noqa: E712
    (row,) = [row for row in summary.rates if row["tool"] == "find" and row["domain"] == "d0"]
    counted = trials.filter(pl.col("domain") == "d0").select(pl.sum("num_tried", "num_accepted")).collect().row(0)
    assert counted == (row["must_fail"], row["false_accept"])
    errors = opened.sql("select error, count(*) as n from audit_errors group by all order by all").rows()
    assert dict(errors)["paid_elsewhere"] == 10
    names = opened.sql("select name from audit_constants where grouped_by = 'tool' order by all")["name"].to_list()
    assert names == ["find", "message", "stop"]
    assert opened.audit_trials.select("verifier_id").unique().collect()["verifier_id"].to_list() == [leaky.verifier_id]
    audit(AuditConfig(verifier=TOOL_CALL), run)
    assert opened.audit_trials.select("verifier_id").unique().collect().height == 2
