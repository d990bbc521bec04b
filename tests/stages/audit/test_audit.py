"""audit: rates of labelled mutations, agreement of stored scores, and the printed report."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from auditing import audit
from reading import real_file
from runs import (  # fmt: skip
    add_rollouts,
    answered,
    call_text,
    called,
    make_run,
    policy_record,
    remember,
    said,
    sample,
    states_of,
    trajectory,
)

from pivotmine import open_run
from pivotmine.errors import UserError
from pivotmine.verifiers import make_spec
from pivotmine.verifiers.composed.third_party import TRUSTED
from pivotmine_stages.audit.options import AuditConfig
from pivotmine_stages.audit.stage import AuditSummary
from pivotmine_stages.cli.audit_printing import audit_report
from pivotmine_stages.cli.config_file import read_config, verifier
from pivotmine_stages.extract.stage import ExtractConfig, extract
from pivotmine_stages.record.stage import RecordConfig, record
from pivotmine_stages.score.stage import ScoreConfig, score

TOOL_CALL, EXACT = make_spec("tool_call", {}), make_spec("exact", {})
SHORT = trajectory(said("Stop"), called("stop"), answered(""))
MESSAGE = {"role": "assistant", "content": "Stopped 2."}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = make_run(
        tmp_path,
        trajectory(said("A7, please"), called("find", id="A7"), answered("found"), domain="shop"),
        trajectory(
            said("Stop"), called("stop"), answered(""), said("well?"), {"role": "assistant", "content": "Stopped 2."}
        ),
        trajectory(said("nonsense"), called("dance"), answered("?")),
    )
    remember(run, policy_record())
    return run


def rates(summary: AuditSummary) -> dict[tuple[str, str, str | None], tuple[int, int, int, int]]:
    return {
        (row["verifier"], row["tool"], row["domain"]): (
            row["must_fail"], row["false_accept"], row["must_pass"], row["false_reject"],
        )
        for row in summary.rates
    }  # fmt: skip


def test_the_default_accepts_nothing_that_must_fail(run: Path) -> None:
    summary = audit(AuditConfig(verifier=TOOL_CALL), run)
    assert (summary.states, summary.gates) == (4, {"correct": 2, "no_verifier": 1, "wrong_tool": 1})
    assert rates(summary) == {("tool_call", "find", "shop"): (13, 0, 5, 0), ("tool_call", "stop", None): (8, 0, 3, 0)}
    assert summary.errors == []
    assert (summary.policy_id, summary.outcomes, summary.agreements) == (None, [], [])
    by_mutation = {row["trial"]: row for row in summary.mutations}
    assert by_mutation["number_changed"] == {
        **{"verifier": "tool_call", "trial": "number_changed"},
        **{"must_fail": 1, "false_accept": 0, "false_accept_rate": 0.0},
        **{"must_pass": 0, "false_reject": 0, "false_reject_rate": None, "null": 0},
    }


def test_errors_of_both_kinds_are_counted_and_shown(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`exact` refuses what does the same; `asked_for` takes any action that holds what was said last."""
    strict = audit(AuditConfig(verifier=EXACT), run)
    assert rates(strict)["exact", "find", "shop"] == (13, 0, 5, 2)
    assert {(e["trial"], e["error"]) for e in strict.errors} == {
        ("white_space", "false_reject"),
        ("default_made_explicit", "false_reject"),
    }
    monkeypatch.setenv(TRUSTED, "own_verifiers:nothing_but_calls")
    leaky = verifier({"choose": [{"tool": "stop", "verifier": "own_verifiers:nothing_but_calls"}]}, "auto")
    summary = audit(AuditConfig(verifier=leaky, num_examples=1), run)
    found = rates(summary)
    assert found["own_verifiers:nothing_but_calls", "stop", None] == (8, 3, 3, 0)
    assert found["tool_call", "find", "shop"] == (13, 0, 5, 0)
    assert [(e["trial"], e["error"]) for e in summary.errors] == [
        ("same_call_twice", "false_accept"),
        ("other_call_added", "false_accept"),
        ("unknown_argument", "false_accept"),
    ]


def test_a_similarity_verifier_is_unfit_and_text_is_fit(run: Path) -> None:
    unfit = audit(AuditConfig(verifier=make_spec("own_verifiers:similar", {})), run)
    assert unfit.verdict.startswith("unfit: own_verifiers:similar accepts 100.0% of ")
    fit = audit(AuditConfig(verifier=make_spec("text", {})), run)
    assert fit.verdict == "fit: no mutation that must fail is accepted in more than 1% of its cases"
    assert fit.verdict in audit_report(fit)


def test_verdicts_of_null_are_no_errors(run: Path) -> None:
    summary = audit(AuditConfig(verifier=make_spec("recorded", {})), run)
    (row,) = [row for row in summary.rates if row["tool"] == "find"]
    assert (row["must_fail"], row["must_pass"], row["null"]) == (0, 1, 17)
    assert row["false_accept_rate"] is None


def test_messages_of_the_state_are_seen_where_they_are_asked_for(run: Path) -> None:
    summary = audit(AuditConfig(verifier=make_spec("own_verifiers:any_with_messages", {})), run)
    assert sum(row["null"] for row in summary.rates) == 0


def test_two_verifiers_on_the_runs_own_samples(run: Path) -> None:
    state = states_of(run)["user: A7, please"]
    same, other = call_text("find", id=" A7 "), call_text("find", id="\x1b[2J")
    add_rollouts(run, {state: [sample(same), sample(same), sample(call_text("find", id="A7")), sample(other)]})
    for spec in (TOOL_CALL, EXACT):
        score(ScoreConfig(verifier=spec), run)
    summary = audit(AuditConfig(verifier=TOOL_CALL), run)
    (pair,) = summary.agreements
    assert (pair.one, pair.other) == (EXACT.verifier_id, TOOL_CALL.verifier_id)
    assert (pair.samples, pair.agree, pair.null) == (4, 2, 0)
    assert (pair.only_one_higher, pair.only_other_higher) == (0, 2)
    (example,) = pair.examples
    assert (example["reward"], example["reward_other"], example["outcome"]) == (0.0, 1.0, "wrong_arguments")
    assert summary.outcomes == [
        {"verifier_id": EXACT.verifier_id, "outcome": "wrong_arguments", "samples": 3, "share": 0.75},
        {"verifier_id": EXACT.verifier_id, "outcome": "correct", "samples": 1, "share": 0.25},
        {"verifier_id": TOOL_CALL.verifier_id, "outcome": "correct", "samples": 3, "share": 0.75},
        {"verifier_id": TOOL_CALL.verifier_id, "outcome": "wrong_arguments", "samples": 1, "share": 0.25},
    ]
    text = audit_report(summary)
    assert f"{EXACT.verifier_id} and {TOOL_CALL.verifier_id} agree on 50.0% of 4 samples" in text
    assert "  second        1.00 correct" in text
    assert text.isascii()
    assert "\x1b" not in audit_report(audit(AuditConfig(verifier=EXACT), run))


def test_limit_is_in_states_and_a_policy_that_is_not_there_is_an_error(run: Path) -> None:
    assert audit(AuditConfig(verifier=TOOL_CALL, limit=1), run).states == 1
    everything = audit(AuditConfig(verifier=TOOL_CALL), run).states
    assert audit(AuditConfig(verifier=TOOL_CALL, limit=10**20), run).states == everything
    # Checked before any demonstration is judged.
    with pytest.raises(UserError, match="no policy matches 'x'"):
        audit(AuditConfig(verifier=TOOL_CALL, policy="x"), run)


def test_a_run_that_can_say_little_says_so(tmp_path: Path) -> None:
    no_samples = "no samples of this run are scored: only demonstrations and mutations were judged"
    text = audit_report(audit(AuditConfig(verifier=TOOL_CALL), make_run(tmp_path / "some", SHORT)))
    assert no_samples in text
    assert "8 mutations that must fail: 0 false accepts; 3 that must pass: 0 false rejects; 0 null" in text
    assert "worth imitating" not in text
    failed = {**SHORT, "reward": 0.0}
    text = audit_report(audit(AuditConfig(verifier=TOOL_CALL), make_run(tmp_path / "none", failed)))
    assert "nothing in this run is worth imitating, so nothing can be tried: extract's rejects say why" in text


WRONG = ("false_accept", "false_reject", "null")


def wrong_ones(summary: AuditSummary) -> list[dict[str, Any]]:
    return [row for row in summary.mutations if any(row[name] for name in WRONG)]


def tried(summary: AuditSummary) -> dict[str, tuple[int, int]]:
    """By verifier: mutations that must fail, that must pass."""
    found: dict[str, tuple[int, int]] = {}
    for row in summary.rates:
        fail, passing = found.get(row["verifier"], (0, 0))
        found[row["verifier"]] = (fail + row["must_fail"], passing + row["must_pass"])
    return found


def test_the_defaults_stand_trial_on_the_desk(tmp_path: Path) -> None:
    desk, run = Path(__file__).parents[3] / "data" / "desk", tmp_path / "run"
    extract(ExtractConfig(sources=(desk / "trajectories.jsonl",), limit=40), run)
    summary = audit(AuditConfig(verifier=verifier(read_config(desk / "run.toml"), "auto")), run)
    assert set(summary.gates) == {"correct"}
    assert wrong_ones(summary) == []
    assert set(tried(summary)) == {"text", "tool_call"}
    assert all(fail > 150 and passing > 50 for fail, passing in tried(summary).values())


@pytest.mark.skipif("PIVOTMINE_REAL_DATA" not in os.environ, reason="real trajectories are not there")
def test_the_defaults_stand_trial_on_tau_bench(tmp_path: Path) -> None:
    folder = Path(os.environ["PIVOTMINE_REAL_DATA"]) / "tau-bench"
    run = tmp_path / "run"
    extract(ExtractConfig(sources=(next(folder.glob("*.json")),)), run)
    summary = audit(AuditConfig(verifier=verifier({}, "auto"), limit=200, num_pairs=500), run)
    assert (summary.gates, summary.verdict.split(":")[0]) == ({"correct": 200}, "fit")
    assert wrong_ones(summary) == []
    similar = audit(AuditConfig(verifier=make_spec("own_verifiers:similar", {}), limit=100, num_pairs=500), run)
    assert similar.verdict.startswith("unfit: own_verifiers:similar accepts ")
    assert all(fail > 200 and passing > 50 for fail, passing in tried(summary).values())


def test_a_run_of_an_older_version_stands_trial(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    run = Path(shutil.copytree(root / "tests" / "fixtures" / "old_run" / "run", tmp_path / "run"))
    spec = verifier(read_config(root / "data" / "desk" / "run.toml"), "auto")
    summary = audit(AuditConfig(verifier=spec, policy="policy-2438"), run)
    assert (summary.states, summary.verdict[:4], wrong_ones(summary)) == (73, "fit:", [])
    assert summary.constants
    assert open_run(run).audit_trials.collect().height > 0


NEMO_GYM = {
    "single_step_tool_use_with_argument_comparison/example.jsonl": {"tool_call", "text"},
    "single_step_tool_use_with_argument_comparison/example_rollouts.jsonl": {"tool_call", "text"},
    "single_step_tool_use_with_argument_comparison/parallel_example.jsonl": {"tool_call", "text"},
    "swe_pivot/example.jsonl": {"tool_call", "shell", "edit"},
    "terminus_judge/example.jsonl": {"terminal"},
    "terminus_judge/example_rollouts.jsonl": {"terminal"},
}


@pytest.mark.skipif("PIVOTMINE_REAL_DATA" not in os.environ, reason="real trajectories are not there")
@pytest.mark.parametrize("name", NEMO_GYM)
def test_the_defaults_stand_trial_on_nvidias_rows(name: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    extract(ExtractConfig(sources=(real_file(f"nemo-gym/{name}"),)), run)
    summary = audit(AuditConfig(verifier=verifier({}, "auto")), run)
    assert (summary.gates, set(tried(summary))) == ({"correct": 5}, NEMO_GYM[name])
    assert wrong_ones(summary) == []


@pytest.mark.skipif("PIVOTMINE_REAL_DATA" not in os.environ, reason="real trajectories are not there")
def test_nvidias_rollouts_are_recorded_beside_the_rows_they_were_sampled_for(tmp_path: Path) -> None:
    run, folder = tmp_path / "run", real_file("nemo-gym/terminus_judge")
    extract(ExtractConfig(sources=(folder / "example.jsonl",)), run)
    record(RecordConfig(sources=(folder / "example_rollouts.jsonl",), policy_name="nvidia"), run)
    auto = verifier({}, "auto")
    score(ScoreConfig(verifier=auto), run)
    (pair,) = audit(AuditConfig(verifier=auto), run).agreements
    assert (pair.samples, pair.agree, pair.null) == (5, 5, 0)
