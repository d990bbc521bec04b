"""Which states and samples rollout requests: whole tables, without a model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from runs import policy_record
from trajectories import order_trajectory, write_jsonl

from pivotmine.errors import UserError
from pivotmine.run import rundir
from pivotmine.run.states import demonstrated_turns
from pivotmine.verifiers import make_spec
from pivotmine_stages.cli.options import extract
from pivotmine_stages.profiles.budgets import PENDING, REPLACED, TOLD, samples_under
from pivotmine_stages.rollout import missing
from pivotmine_stages.rollout.missing import eligible_states, missing_samples, wanted_samples

VERIFIER = make_spec("tool_call", {})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two trajectories of the same three states, which end in other words, and one of its own."""
    again = order_trajectory("A")
    again["messages"][-1]["content"] = "Done."
    source = write_jsonl(tmp_path / "s.jsonl", [order_trajectory("A"), again, order_trajectory("B")])
    extract({}, sources=[source], run=tmp_path / "run")
    return tmp_path / "run"


def wanted(eligible: pl.DataFrame, **options: Any) -> pl.DataFrame:
    asked: dict[str, Any] = {"num_samples": 3, "plan": None, "limit": None, "shard": (0, 1)}
    return wanted_samples(eligible, **{**asked, **options})


def test_a_state_is_named_by_its_first_turn_and_rejected_with_all_its_turns(run: Path) -> None:
    turns = demonstrated_turns(run)
    eligible, rejects = eligible_states(run, VERIFIER, (0, 1))
    calls = turns.filter(turns["kind"] == "tool_call")
    first = [calls["turn_id"][place] for place in (0, 1, 4, 5)]
    assert (eligible["turn_id"].to_list(), eligible["num_turns"].to_list()) == (first, [2, 2, 1, 1])
    said = turns.filter(turns["kind"] == "message")
    assert [(reject["turn_id"], reject["reason"], reject["num_turns"]) for reject in rejects] == [
        (said["turn_id"][0], "no_verifier", 2),
        (said["turn_id"][2], "no_verifier", 1),
    ]
    of_shares = [reject for i in range(2) for reject in eligible_states(run, VERIFIER, (i, 2))[1]]
    assert sorted(reject["turn_id"] for reject in of_shares) == sorted(reject["turn_id"] for reject in rejects)


def test_the_limit_comes_before_the_shares(run: Path) -> None:
    eligible, _ = eligible_states(run, VERIFIER, (0, 1))
    shares = [wanted(eligible, limit=3, shard=(i, 7)) for i in range(7)]
    assert sorted(state for share in shares for state in share["state_id"]) == sorted(eligible["state_id"][:3])


def test_a_limit_beyond_all_counting_is_none(run: Path) -> None:
    eligible, _ = eligible_states(run, VERIFIER, (0, 1))
    assert wanted(eligible, limit=10**20)["state_id"].to_list() == eligible["state_id"].to_list()


def test_what_no_part_holds_is_missing(run: Path) -> None:
    eligible, _ = eligible_states(run, VERIFIER, (0, 1))
    a, b, c, d = eligible["state_id"]
    stored = [(a, 2), (a, 0), (b, 0), (b, 1), (b, 2), (c, 7)]
    for part, keys in enumerate((stored[:3], stored[3:])):
        rows = [{"policy_id": "p", "state_id": state, "sample_index": index} for state, index in keys]
        rundir.write_rows(run / "rollouts" / "p" / f"part-0of1-{part:06d}.parquet", "rollouts", rows)
    samples = samples_under(run, policy_record(policy_id="p", budget=64, first_budget=64), 64)
    left = missing_samples(samples, wanted(eligible, num_samples=4))
    assert dict(left.select("state_id", "missing").iter_rows()) == {
        a: [1, 3],
        b: [3],
        c: [0, 1, 2, 3],
        d: [0, 1, 2, 3],
    }
    assert missing_samples(samples, wanted(eligible, num_samples=3))["state_id"].to_list() == [a, c, d]
    assert missing_samples(samples.clear(), wanted(eligible))["missing"].to_list() == [[0, 1, 2]] * 4


def test_replaced_samples_give_their_indices_to_none_and_pending_ones_are_all_continued(run: Path) -> None:
    eligible, _ = eligible_states(run, VERIFIER, (0, 1))
    a, b, c, d = eligible["state_id"]
    stored = [(a, 0, REPLACED), (a, 1, REPLACED), (a, 3, TOLD), (b, 0, TOLD), (b, 1, PENDING), (b, 6, PENDING)]
    stored += [(c, index, TOLD) for index in range(3)]
    types = {"state_id": pl.String, "sample_index": pl.Int32, "status": pl.String}
    left = missing_samples(pl.DataFrame(stored, types, orient="row"), wanted(eligible))
    assert {state: (missing, pending) for state, missing, pending in left["state_id", "missing", "pending"].rows()} == {
        a: ([2, 4], []),
        b: ([2], [1, 6]),
        d: ([0, 1, 2], []),
    }


@pytest.mark.parametrize("counts", ["{a},1\n{a},2\n", "{a},-1\n", "{a},\n", "{a},2.9\n", "{a},16385\n"])
def test_a_plan_has_one_row_a_state_with_a_number(run: Path, tmp_path: Path, counts: str) -> None:
    eligible, _ = eligible_states(run, VERIFIER, (0, 1))
    plan = tmp_path / "plan.csv"
    plan.write_text("state_id,num_samples\n" + counts.format(a=eligible["state_id"][0]))
    with pytest.raises(UserError, match="needs one row per state, with a whole number of samples from 0 to 16384"):
        wanted(eligible, plan=plan)


def test_a_plan_is_a_table_of_a_known_kind(run: Path, tmp_path: Path) -> None:
    eligible, _ = eligible_states(run, VERIFIER, (0, 1))
    with pytest.raises(UserError, match=r"plan\.txt: not a \.parquet, \.csv or \.jsonl file"):
        wanted(eligible, plan=tmp_path / "plan.txt")


def test_a_limit_judges_no_more_than_it_needs(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = eligible_states(run, VERIFIER, (0, 1))
    shutil.rmtree(run / "gates")
    monkeypatch.setattr(missing, "MIN_JUDGED", 1)
    first = eligible_states(run, VERIFIER, (0, 1), limit=1)
    assert rundir.scan(run, "gates").collect()["state_id"].to_list() == first.states["state_id"].to_list()
    for limit in range(6):
        monkeypatch.setattr(missing, "MIN_JUDGED", 1 + limit)
        few = eligible_states(run, VERIFIER, (0, 1), limit=limit)
        assert few.states.equals(everything.states.head(limit))
        assert few.rejects == everything.rejects[: len(few.rejects)]


def test_a_plan_judges_its_own_states(run: Path, tmp_path: Path) -> None:
    states = eligible_states(run, VERIFIER, (0, 1)).states["state_id"][1:3].to_list()
    shutil.rmtree(run / "gates")
    plan = tmp_path / "plan.csv"
    plan.write_text("state_id,num_samples\n" + "".join(f"{state},1\n" for state in states))
    found = eligible_states(run, VERIFIER, (0, 1), plan=plan)
    assert (found.states["state_id"].to_list(), found.rejects) == (states, [])
    assert sorted(rundir.scan(run, "gates").collect()["state_id"]) == sorted(states)
