"""The report without a browser: its content, and that no foreign text becomes markup."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest
from auditing import audit
from mined_runs import HOSTILE, mined_run
from runs import (
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

from pivotmine.errors import UserError
from pivotmine.run import rundir
from pivotmine.run.tables import REJECTS
from pivotmine.verifiers import make_spec
from pivotmine_stages.audit.options import AuditConfig
from pivotmine_stages.report.findings import Finding, findings
from pivotmine_stages.report.options import ReportConfig
from pivotmine_stages.report.page import json_in_html
from pivotmine_stages.report.stage import report
from pivotmine_stages.report.subject import OPTIONS, choose_subject, differing
from pivotmine_stages.score.options import ScoreConfig
from pivotmine_stages.score.stage import score


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mined_run(tmp_path_factory.mktemp("report"))


def data_of(path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8")
    return json.loads(
        text[text.index('id="data">') + len('id="data">') : text.index("</script>", text.index('id="data">'))]
    )


def test_the_page_holds_all_states_and_exact_figures(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    summary = report(ReportConfig(output=str(path), policy="policy-1"), run)
    assert (summary.states, summary.embedded_states, summary.verdict) == (6, 6, "amber")
    assert summary.num_bytes == len(path.read_bytes())
    data = data_of(path)
    assert data["figures"]["classes"] == {
        **{"never": 1, "sometimes": 3, "always": 2, "undecided": 0, "constant": 0, "unscored": 0}
    }
    assert [step["count"] for step in data["funnel"]] == [6, 6, 6, 6, 6, 6, 3]
    bounds = {row["max_mean"]: row["train"] + row["validation"] for row in data["bounds"]}
    assert (bounds[0.25], bounds[0.3], bounds[0.6], bounds[1.0]) == (0, 1, 2, 3)


def test_a_cap_on_states_leaves_the_figures_whole(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    summary = report(ReportConfig(output=str(path), policy="policy-1", max_states=2), run)
    assert (summary.states, summary.embedded_states) == (6, 2)
    assert "This page holds 2 of 6 states: a random sample. All figures cover all." in path.read_text(encoding="utf-8")


def test_foreign_text_is_in_the_page_as_data_only(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    report(ReportConfig(output=str(path), policy="policy-1"), run)
    text = path.read_text(encoding="utf-8")
    assert HOSTILE not in text
    assert re.findall(r"<(?:img|a|iframe)\b", text) == []
    assert len(re.findall(r"<script\b", text)) == 2
    assert json.dumps(data_of(path)).count("window.hacked = 1") > 3


def test_names_of_a_run_its_policies_and_its_models_are_data_too(tmp_path: Path) -> None:
    """Who made a run named its folder, its policies and what is in `policy.json`."""
    made = mined_run(tmp_path / "made")
    for record in made.glob("rollouts/*/policy.json"):
        named = {**json.loads(record.read_text()), "model": HOSTILE, "name": HOSTILE, "tokenizer": HOSTILE}
        record.write_text(json.dumps(named))
    run = made.rename(tmp_path / "<script>window.hacked=1<&\u2028")
    path = tmp_path / "page.html"
    report(ReportConfig(output=str(path), policy="policy-1"), run)
    text = path.read_text(encoding="utf-8")
    assert HOSTILE not in text
    assert "<script>window" not in text
    assert len(re.findall(r"<script\b", text)) == 2
    assert re.findall(r"<(?:img|a|iframe)\b", text) == []
    title = re.findall(r"<title>(.*?)</title>", text, re.DOTALL)
    assert [html.unescape(words).count("<script>window.hacked=1<&") for words in title] == [1]


def test_samples_that_make_the_same_calls_are_one_group(tmp_path: Path) -> None:
    """What is thought and said next to a call, and the order of its arguments, is no other action."""
    steps = [said("Find it"), called("find", id="a", deep=True), answered("ok")]
    run = make_run(tmp_path, trajectory(*steps, task_id="t"))
    (state_id,) = states_of(run).values()
    remember(run, policy_record(policy_id="p", name="p"))
    ways = [{"id": "c", "deep": True}, {"deep": True, "id": "c"}]
    texts = [f"<think>{i}</think>Well, {i}.{call_text('find', **ways[i % 2])}" for i in range(4)]
    add_rollouts(run, {state_id: [sample(text) for text in texts]}, policy_id="p")
    score(ScoreConfig(policy="p", verifier=make_spec("tool_call", {})), run)
    path = tmp_path / "page.html"
    report(ReportConfig(output=str(path)), run)
    data = data_of(path)
    (group,) = data["details"][state_id]["samples"]
    assert (group["count"], group["outcome"], group["indices"]) == (4, "wrong_arguments", [0, 1, 2, 3])
    assert data["suspects"] == [
        {
            **{"state_id": state_id, "why": "never solved, and all samples do the same"},
            "detail": "4 samples, one action",
        }
    ]


def test_a_funnel_has_the_losses_of_its_own_policy_and_they_add_up(tmp_path: Path) -> None:
    run = mined_run(tmp_path)
    states = states_of(run)
    for policy_id, count in {"policy-1": 1, "policy-2": 3}.items():
        place = {"policy_id": policy_id, "verifier_id": make_spec("tool_call", {}).verifier_id}
        rundir.write_manifest(run, "rollout", {**place, "num_samples": 4}, {"summary": {}})
        dropped = [
            {"stage": "rollout", "reason": "prompt_too_long", "state_id": one} for one in sorted(states.values())
        ]
        path = rundir.rejects_dir(run, "rollout", place) / "rejects-0of1.parquet"
        rundir.write_rows(path, "rejects", [dict.fromkeys(REJECTS.names) | row for row in dropped[:count]])
    path = tmp_path / "page.html"
    report(ReportConfig(output=str(path), policy="policy-1"), run)
    data = data_of(path)
    lost = {step["step"]: [(one["count"], one["reason"]) for one in step["lost"]] for step in data["funnel"]}
    assert lost["sampled states"] == [(1, "prompt_too_long")]
    assert lost["states whose rewards differ"] == [(1, "never"), (2, "always")]
    assert data["figures"]["totals"]["prompts_too_long"] == 1


def test_a_comparison_counts_transitions(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    report(ReportConfig(output=str(path), policy="policy-1"), run)
    (other,) = data_of(path)["others"]
    found = {(row["from"], row["to"]): row["states"] for row in other["transitions"]}
    assert found == {("never", "always"): 1, ("sometimes", "always"): 3, ("always", "never"): 2}
    assert other["words"] == "policy policy-2"


def test_several_profiles_are_told_apart_in_words(run: Path) -> None:
    with pytest.raises(
        UserError, match=r"^2 profiles match, .*policy-1.* \(policy policy-1\); .* \(policy policy-2\)$"
    ):
        choose_subject(run, None, None)


def test_options_are_told_of_those_with_the_same_verifier_alone() -> None:
    judge = {"policy": "p", "verifier": "judge", OPTIONS: {"model": "m", "max_tokens": 64}}
    other = {**judge, OPTIONS: {"model": "n", "max_tokens": 64}}
    auto = {"policy": "p", "verifier": "auto", OPTIONS: {"rules": []}}
    assert differing([judge, auto]) == ["verifier judge", "verifier auto"]
    assert differing([judge, other]) == ["model m", "model n"]
    assert differing([judge, other, auto]) == ["verifier judge, model m", "verifier judge, model n", "verifier auto"]
    assert differing([judge, judge]) == ["the same settings"] * 2


def test_a_run_without_profiles_is_a_user_error(tmp_path: Path) -> None:
    run = make_run(tmp_path, trajectory(said("a"), {"role": "assistant", "content": "b"}))
    with pytest.raises(UserError, match=r"has no profiles: run `pivotmine score` first"):
        report(ReportConfig(), run)


@pytest.mark.parametrize("text", ["</script>", "<!--", "\u2028", "&lt;", "<\x00>", "\ud800"])
def test_no_text_leaves_the_data(text: str) -> None:
    written = json_in_html({"a": text})
    assert not set("<>&") & set(written)
    assert written.isascii()
    assert json.loads(written) == {"a": text}


def test_findings_name_what_speaks_against_training() -> None:
    figures = {
        "totals": {
            **{"states": 100, "samples": 1000, "scored": 900},
            **{"calls_without_tools": 30, "call_states": 100, "prompts_too_long": 25},
        },
        "classes": {"never": 100, "sometimes": 0, "always": 0, "undecided": 0, "constant": 0, "unscored": 0},
        "outcomes": [{"outcome": "truncated", "samples": 250}],
        "by": {"domain": [{"group": "bank", "states": 40, "classes": {"never": 40}}]},
    }
    assert findings(figures, {"name": "a", "train": 3, "validation": 2}, "fit") == [
        Finding("red", "30% of calls offered no tools: 30 of 100"),
        Finding("red", "25% of samples truncated: 250 of 1,000"),
        Finding("red", "no state has rewards that differ: GRPO has nothing to learn from here"),
        Finding("amber", "20% of states with a prompt too long to sample: 25 of 125"),
        Finding("amber", "10% of samples undecided: 100 of 1,000"),
        Finding("amber", "domain bank: every state is never"),
        Finding("amber", "2 held-out rows: below 20 their mean says little"),
        Finding("green", "audit: fit"),
    ]


def test_the_audit_speaks_on_top_and_among_the_suspects(tmp_path: Path) -> None:
    run = mined_run(tmp_path / "mined")
    loose = make_spec("own_verifiers:nothing_but_calls", {})
    score(ScoreConfig(policy="policy-1", verifier=loose), run)
    verdict = audit(AuditConfig(verifier=loose, policy="policy-1"), run).verdict
    assert verdict.startswith("unfit: own_verifiers:nothing_but_calls accepts 100.0% of ")
    path = tmp_path / "page.html"
    asked = ReportConfig(output=str(path), policy="policy-1", verifier=loose.verifier_id)
    assert report(asked, run).verdict == "red"
    assert f"audit: {verdict}" in html.unescape(path.read_text(encoding="utf-8"))
    found = [one for one in data_of(path)["suspects"] if one["why"] == "audit: what must fail is paid"]
    assert len({one["state_id"] for one in found}) == 6
    assert all(one["detail"].startswith("argument_dropped, blank_value, ") for one in found)
    assert all(one["detail"].endswith(", value_changed, judged by own_verifiers:nothing_but_calls") for one in found)
    # An audit of another verifier says nothing about this one.
    report(ReportConfig(output=str(path), policy="policy-1", verifier=make_spec("tool_call", {}).verifier_id), run)
    assert not [one for one in data_of(path)["suspects"] if one["why"].startswith("audit")]
