"""`show`, `status` and `compare` over a run of two policies."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from mined_runs import mined_run
from runs import policy_record, remember, states_of

from pivotmine.errors import UserError
from pivotmine.run import rundir
from pivotmine.run.parts import PartsManifest, write_rejects
from pivotmine_stages.compare.options import CompareConfig
from pivotmine_stages.compare.stage import ProfileComparison, SelectionComparison, compare, compare_report
from pivotmine_stages.extract.options import ExtractConfig
from pivotmine_stages.extract.stage import extract
from pivotmine_stages.report.transitions import wilson
from pivotmine_stages.select.strategies import rule_words
from pivotmine_stages.show.options import ShowConfig
from pivotmine_stages.show.stage import show, show_report
from pivotmine_stages.status.stage import status, status_report


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mined_run(tmp_path_factory.mktemp("show"))


def test_states_of_a_class_are_shown_with_their_samples(run: Path) -> None:
    (state,) = show(ShowConfig(policy="policy-1", reward_class="never", num_states=3), run)
    text = show_report([state])
    assert text.splitlines()[0].startswith(
        f"state     {state['state']['state_id']}: never, 4 samples, mean reward 0.00"
    )
    assert 'demonstrated                  find(id="A")' in text
    assert "4 x 0.00 wrong_arguments" in text
    assert all(line.isprintable() for line in text.split("\n"))


def test_a_narrow_terminal_cuts_what_is_shown(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = show(ShowConfig(policy="policy-1", num_states=6), run)
    monkeypatch.setenv("COLUMNS", "80")
    assert max(map(len, show_report(shown).splitlines()[1:])) > 100
    monkeypatch.setattr("sys.stdout", Terminal())
    lines = [line for line in show_report(shown).splitlines() if not line.startswith("state")]
    assert max(map(len, lines)) == 80


def test_a_mean_of_some_samples_says_of_how_many(run: Path) -> None:
    (state,) = show(ShowConfig(policy="policy-1", reward_class="never"), run)
    assert ", mean reward 0.00, " in show_report([state])
    state["state"]["num_scored"] = 3
    assert ", mean reward 0.00 of the 3 decided, " in show_report([state])


def test_a_state_is_found_by_the_beginning_of_its_id(run: Path) -> None:
    (state,) = show(ShowConfig(policy="policy-1", reward_class="never"), run)
    (again,) = show(ShowConfig(policy="policy-1", state=state["state"]["state_id"][:9]), run)
    assert again == state


def test_no_state_that_fits_is_a_user_error(run: Path) -> None:
    with pytest.raises(UserError, match=r"no profiled state of policy-1/tool_call-.* has domain nowhere"):
        show(ShowConfig(policy="policy-1", domain="nowhere"), run)


def test_status_tells_policies_apart_in_words(run: Path) -> None:
    found = status(run)
    assert found.counts == {"trajectories": 6, "turns": 6, "demonstrated_states": 6}
    assert [(one["words"], one["samples"]) for one in found.policies] == [
        ("policy policy-1", 24),
        ("policy policy-2", 24),
    ]
    assert found.missing == []
    assert found.next_command == f"pivotmine select {run} --policy policy-1"
    assert "policy policy-1: policy policy-1\n" in status_report(found)


def test_a_rule_is_told_with_the_bounds_that_it_has() -> None:
    config = {"strategy": "pivots", "max_mean": 0.6, "min_mean": None, "limit": None}
    assert rule_words(config) == "pivots, mean below 0.6"
    assert rule_words({**config, "strategy": "mixed", "limit": 90}) == "mixed, max rows 90"


def test_status_counts_states_that_are_carried_over_apart(run: Path, tmp_path: Path) -> None:
    """Three states are carried to the second policy: one that is sampled, one of another budget, one that counts."""
    run = shutil.copytree(run, tmp_path / "run")
    (sampled, other, estimated, left), path = sorted(states_of(run).values())[:4], "carried/policy-2/v"
    remember(run, policy_record(policy_id="policy-2", budget=8))
    (part,) = run.glob("rollouts/policy-2/*.parquet")
    rows = pl.read_parquet(part).filter(~pl.col("state_id").is_in([other, estimated, left]))
    PartsManifest(run, part.parent, "0of1").write(part, rows.with_columns(budget=pl.lit(8, pl.Int32)).to_arrow())
    ids = {"policy_id": "policy-2", "verifier_id": "v", "source": "old"}
    bounds = {"carried_low": 0.0, "carried_high": 1.0, "unseen_mass": 1.0}
    budgets = {sampled: 8, other: 4, estimated: 8}
    carried = [{**ids, **bounds, "state_id": one, "budget": budget} for one, budget in budgets.items()]
    PartsManifest(run, run / path).write(run / path / "part-000000.parquet", rundir.table_of_rows("carried", carried))
    found = status(run)
    assert [(one["policy_id"], one["states"], one["estimated"]) for one in found.policies] == [
        ("policy-1", 6, 0),
        ("policy-2", 3, 1),
    ]
    assert "policy-2: 2 demonstrated states have no sample" in found.missing
    assert "1 more state is estimated from earlier policies, without a sample" in status_report(found)


def test_status_tells_states_that_rollout_rejected_from_missing_ones(run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(run, tmp_path / "run")
    refused, failed, *others = sorted(states_of(run).values())
    (part,) = run.glob("rollouts/policy-2/*.parquet")
    rows = pl.read_parquet(part).filter(pl.col("state_id").is_in(others))
    PartsManifest(run, part.parent, "0of1").write(part, rows.to_arrow())
    ids = {"policy_id": "policy-2", "verifier_id": "v"}
    rundir.write_manifest(run, "rollout", ids, {"summary": {}})
    reasons = {refused: "prompt_too_long", failed: "engine_error", others[0]: "engine_error"}
    rejects = [{"stage": "rollout", "reason": reason, "state_id": one} for one, reason in reasons.items()]
    folder = rundir.rejects_dir(run, "rollout", ids)
    write_rejects(run, folder, rundir.table_of_rows("rejects", rejects), "0of1")
    found = status(run)
    assert [one["refused"] for one in found.policies] == [{}, {"prompt_too_long": 1}]
    assert "policy-2: 1 demonstrated state has no sample" in found.missing
    assert "  1 more state is rejected by rollout: prompt_too_long 1" in status_report(found)


def test_before_anything_is_scored_demonstrated_states_are_shown(tmp_path: Path) -> None:
    source = tmp_path / "my.jsonl"
    asked = {"role": "user", "content": "Which one?"}
    record = {"messages": [asked, {"role": "assistant", "content": "The first."}]}
    source.write_text(json.dumps(record))
    extract(ExtractConfig(sources=(source,)), tmp_path / "run")
    (state,) = show(ShowConfig(num_states=3), tmp_path / "run")
    first, *rest = show_report([state]).splitlines()
    assert first.startswith(f"state     {state['state']['state_id']}: not scored, domain none, turn 0 of ")
    assert [line.split(maxsplit=1) for line in rest] == [
        ["tools", "none offered"],
        ["user", "Which one?"],
        ["demonstrated", "The first."],
    ]
    with pytest.raises(UserError, match=r"no demonstrated state has tool find"):
        show(ShowConfig(tool="find"), tmp_path / "run")
    with pytest.raises(UserError, match=r"has no profiles: run `pivotmine score` first"):
        show(ShowConfig(reward_class="never"), tmp_path / "run")


def test_a_text_harness_is_not_said_to_lack_tools(tmp_path: Path) -> None:
    source = tmp_path / "my.jsonl"
    turns = [
        ("user", "Begin."),
        ("assistant", "I look.\n```bash\nls\n```"),
        ("user", "a.py"),
        ("assistant", "```bash\ncat a.py\n```"),
    ]
    source.write_text(json.dumps({"messages": [{"role": role, "content": text} for role, text in turns]}))
    extract(ExtractConfig(sources=(source,), action_format="fenced_command"), tmp_path / "run")
    lines = show_report(show(ShowConfig(), tmp_path / "run")).splitlines()
    assert lines[1].split(maxsplit=1) == ["tools", "none: the harness reads text"]


def test_profiles_are_compared_by_transitions(run: Path) -> None:
    found = compare(CompareConfig(one="policy-1", other="policy-2"), run)
    assert isinstance(found, ProfileComparison)
    assert (found.shared, round(found.mean or 0, 4), round(found.other_mean or 0, 4)) == (6, 0.5833, 0.6667)
    rows = {(row["from"], row["to"]): row["states"] for row in found.transitions}
    assert rows == {("never", "always"): 1, ("sometimes", "always"): 3, ("always", "never"): 2}
    assert "sometimes -> always" in compare_report(found)


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ("policy-1", "policy-1", r"are the same profile"),
        ("policy-1", "nobody", r"no profile matches: .* has policy-1/tool_call-"),
        ("policy-1", "pivots/default", r"compare two profiles or two selections"),
        ("pivots/a", "pivots/../b", r"no selection pivots/a: .* has none"),
    ],
)
def test_what_cannot_be_compared(run: Path, one: str, other: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        compare(CompareConfig(one=one, other=other), run)


def test_two_selections_are_told_by_where_their_states_are() -> None:
    rows = [("both", 2, ["a" * 32]), ("only pivots/a", 1, []), ("only pivots/b", 0, [])]
    groups: list[dict[str, Any]] = [dict(zip(("rows", "states", "examples"), row, strict=True)) for row in rows]
    found = SelectionComparison(one="pivots/a", other="pivots/b", groups=groups)
    assert [line[10:].strip() for line in compare_report(found).splitlines()] == [
        "pivots/a  against  pivots/b",
        "2 in both  aaaaaaaaaaaa",
        "1 only in pivots/a",
        "0 only in pivots/b",
    ]


def test_wilson_s_interval() -> None:
    # Values from Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    assert [round(bound, 4) for bound in wilson(81, 263)] == [0.2553, 0.3662]
    assert [round(bound, 4) for bound in wilson(0, 20)] == [0.0, 0.1611]
