"""A larger token budget continues truncated samples; a smaller one cuts without sampling. With the real engine."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from engine_fixtures import OddServer
from trajectories import order_trajectory, write_jsonl

from pivotmine.errors import UserError
from pivotmine.run.rundir import scan
from pivotmine_stages.cli.options import extract, rollout, score, select
from pivotmine_stages.cli.reports import rollout_report
from pivotmine_stages.rollout.stage import RolloutSummary
from pivotmine_stages.status.stage import status

SMALL, MIDDLE, LARGE = 6, 20, 48
DRAWN = ["state_id", "sample_index", "text", "token_ids", "finish_reason", "num_tokens", "prompt_hash", "budget"]
NOT_COMPARED = ["budget", "num_pending"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    return write_jsonl(folder / "orders.jsonl", [order_trajectory(f"B{i}", task_id=i) for i in range(4)])


def new_run(source: Path, folder: Path) -> Path:
    extract({}, sources=[source], run=folder)
    return folder


def sample(run: Path, model: Path, budget: int, **options: Any) -> RolloutSummary:
    settings: dict[str, Any] = {"engine": "transformers", "num_samples": 4, "batch_size": 16, "verifier": "tool_call"}
    return rollout({}, run=run, model=str(model), max_new_tokens=budget, **{**settings, **options})


def rows(run: Path) -> pl.DataFrame:
    return scan(run, "rollouts").collect().sort("state_id", "sample_index", "budget")


def longest(run: Path) -> pl.DataFrame:
    return rows(run).unique(["state_id", "sample_index"], keep="last", maintain_order=True)


def forget_digests(run: Path) -> None:
    """The parts are then those of an earlier version: nobody knows what was in them."""
    for path in run.glob("manifests/parts-*.json"):
        path.unlink()


def profiles(run: Path) -> pl.DataFrame:
    return scan(run, "profiles").collect()


@pytest.fixture(scope="module")
def drawn_large(source: Path, tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn at the largest budget at once, and scored."""
    run = new_run(source, tmp_path_factory.mktemp("large") / "run")
    sample(run, tiny_policy, LARGE)
    score({}, run=run, verifier="tool_call")
    return run


def test_grown_samples_are_those_that_the_larger_budget_draws(
    source: Path, tiny_policy: Path, drawn_large: Path, tmp_path: Path
) -> None:
    run = new_run(source, tmp_path / "run")
    first = sample(run, tiny_policy, SMALL)
    before, parts = rows(run), {path: path.read_bytes() for path in run.glob("rollouts/*/part-*.parquet")}
    cut = before.filter(pl.col("finish_reason") == "length")
    assert 0 < len(cut) <= len(before)
    grown = sample(run, tiny_policy, MIDDLE)
    assert grown.policy_id == first.policy_id
    assert (grown.sampled.continued, grown.sampled.samples) == (len(cut), None)
    assert (grown.missing_samples, grown.stored.samples) == (0, len(before))
    assert f"{len(cut)} truncated ones continued" in rollout_report(grown)
    sample(run, tiny_policy, LARGE)
    assert not sample(run, tiny_policy, LARGE).sampled
    # Parts are only ever added, and a row says what it goes on from.
    assert {path: path.read_bytes() for path in parts} == parts
    after = rows(run)
    assert after.filter(pl.col("budget") == SMALL).equals(before)
    assert set(after.filter(pl.col("budget") == LARGE)["continues"]) == {MIDDLE}
    assert longest(run).drop("budget").select(DRAWN[:-1]).equals(rows(drawn_large).select(DRAWN[:-1]))
    told = score({}, run=run, verifier="tool_call")
    assert (told.max_new_tokens, told.pending, told.samples) == (LARGE, 0, len(before))
    assert profiles(run).drop(NOT_COMPARED).equals(profiles(drawn_large).drop(NOT_COMPARED))
    actions = scan(run, "scores").filter(pl.col("budget") == LARGE).select("state_id", "sample_index", "action")
    wanted = scan(drawn_large, "scores").select("state_id", "sample_index", "action")
    assert actions.join(wanted, on=["state_id", "sample_index", "action"], how="anti").collect().is_empty()


@pytest.mark.parametrize("verifier", ["tool_call", "gym_single_step"])
def test_a_smaller_budget_has_its_own_profile_and_samples_nothing(
    source: Path, tiny_policy: Path, drawn_large: Path, tmp_path: Path, verifier: str
) -> None:
    """Also under a verifier that judges what was cut: it sees the sample as the smaller budget cuts it."""
    run, small = new_run(source, tmp_path / "run"), new_run(source, tmp_path / "small")
    for folder, budget in ((run, LARGE), (small, MIDDLE)):
        sample(folder, tiny_policy, budget, verifier=verifier)
        score({}, run=folder, verifier=verifier)
    assert not sample(run, tiny_policy, MIDDLE, verifier=verifier).sampled
    assert score({}, run=run, verifier=verifier).max_new_tokens == MIDDLE
    columns = ["policy_id", "state_id", *(name for name in profiles(run).columns if name.startswith(("num", "mean")))]
    assert profiles(run).select(columns).equals(profiles(small).select(columns))
    # And back: the larger budget's profile is there as it was.
    score({}, run=run, verifier=verifier, max_new_tokens=LARGE)
    assert profiles(run)["budget"].unique().to_list() == [LARGE]
    if verifier == "tool_call":
        assert profiles(run).equals(profiles(drawn_large))


def test_a_cut_sample_is_pending_until_it_is_continued(source: Path, tiny_policy: Path, tmp_path: Path) -> None:
    run = new_run(source, tmp_path / "run")
    sample(run, tiny_policy, SMALL)
    cut = int((rows(run)["finish_reason"] == "length").sum())
    assert score({}, run=run, verifier="tool_call").outcomes["truncated"] == cut
    told = score({}, run=run, verifier="tool_call", max_new_tokens=LARGE)
    assert (told.pending, told.scored) == (cut, len(rows(run)) - cut)
    assert "truncated" not in told.outcomes
    (policy,) = status(run).policies
    assert (policy["pending"], policy["max_new_tokens"]) == (cut, LARGE)
    assert f"{cut} truncated samples are not continued: rollout with --max-new-tokens {LARGE}" in status(run).missing[0]
    assert select({}, run=run, strategy="mixed").rejects["pending"] == len(profiles(run))
    sample(run, tiny_policy, LARGE)
    with pytest.raises(UserError, match="are of fewer samples than there are"):
        select({}, run=run, strategy="mixed")
    assert score({}, run=run, verifier="tool_call").pending == 0
    assert status(run).policies[0]["pending"] == 0
    score({}, run=run, verifier="tool_call", max_new_tokens=MIDDLE)
    sample(run, tiny_policy, LARGE)
    with pytest.raises(UserError, match=f"of a budget of {MIDDLE} tokens, and the policy's is {LARGE}"):
        select({}, run=run, strategy="mixed")


def test_killed_while_it_grows_it_ends_as_if_it_had_not_been(
    source: Path, tiny_policy: Path, drawn_large: Path, tmp_path: Path
) -> None:
    run = new_run(source, tmp_path / "run")
    sample(run, tiny_policy, SMALL)
    num_rows = len(rows(run))
    command = (
        "import pivotmine_stages.rollout.stage as stage; stage.SAMPLES_PER_PART = 2; "
        "from pivotmine_stages.cli.app import main; main()"
    )
    flags = f"--model {tiny_policy} --engine transformers --num-samples 4 --max-new-tokens {LARGE} --batch-size 2"
    process = subprocess.Popen(
        [sys.executable, "-c", command, "rollout", str(run), *flags.split(), "--verifier", "tool_call"]
    )
    deadline = time.monotonic() + 120
    while len(list(run.glob("rollouts/*/part-*.parquet"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert num_rows < len(rows(run)) < 2 * num_rows
    sample(run, tiny_policy, LARGE)
    assert longest(run).select(DRAWN[:-1]).equals(rows(drawn_large).select(DRAWN[:-1]))
    keys = rows(run).select("state_id", "sample_index", "budget")
    assert keys.equals(keys.unique(maintain_order=True))


def test_a_policy_of_an_older_version_keeps_its_id_and_its_samples(
    source: Path, tiny_policy: Path, tmp_path: Path
) -> None:
    """Its record names the budget among the sampling parameters, and its rows name none."""
    run = new_run(source, tmp_path / "run")
    new = sample(run, tiny_policy, SMALL).policy_id
    (folder,) = (run / "rollouts").iterdir()
    record = json.loads((folder / "policy.json").read_text())
    assert (record["budget"], record["first_budget"], "max_new_tokens" in record["sampling"]) == (SMALL, None, False)
    old = {key: value for key, value in record.items() if key not in ("budget", "first_budget")}
    old["sampling"]["max_new_tokens"] = SMALL
    identity = {key: old[key] for key in ("engine", "weights_hash", "tokenizer_hash", "template_hash", "sampling")}
    identity |= {"name": None, "template_options": old["template_options"]}
    from pivotmine.policy import policy_id

    old["policy_id"] = policy_id(old["name"], identity)
    assert old["policy_id"] != new
    folder.rename(folder.with_name(old["policy_id"]))
    folder = folder.with_name(old["policy_id"])
    (folder / "policy.json").write_text(json.dumps(old))
    forget_digests(run)
    for path in folder.glob("part-*.parquet"):
        named = pl.read_parquet(path).with_columns(policy_id=pl.lit(old["policy_id"])).drop("budget", "continues")
        named.write_parquet(path)
    assert not sample(run, tiny_policy, SMALL).sampled
    grown = sample(run, tiny_policy, MIDDLE)
    cut = int((rows(run).filter(pl.col("budget").is_null())["finish_reason"] == "length").sum())
    assert (grown.policy_id, grown.sampled.continued) == (old["policy_id"], cut)
    assert score({}, run=run, verifier="tool_call").pending == 0
    assert score({}, run=run, verifier="tool_call", max_new_tokens=SMALL).outcomes["truncated"] == cut
    # Found without its record too, by the settings that it had.
    (folder / "policy.json").unlink()
    assert sample(run, tiny_policy, SMALL).policy_id == old["policy_id"]


def test_a_prompt_that_has_changed_is_not_continued(source: Path, tiny_policy: Path, tmp_path: Path) -> None:
    run = new_run(source, tmp_path / "run")
    sample(run, tiny_policy, SMALL, limit=1)
    forget_digests(run)
    (path,) = run.glob("rollouts/*/part-*.parquet")
    pl.read_parquet(path).with_columns(prompt_hash=pl.lit("another")).write_parquet(path)
    done = sample(run, tiny_policy, LARGE, limit=1)
    assert (bool(done.sampled), done.rejects) == (False, {"prompt_changed": 1})
    assert done.missing_samples == int((rows(run)["finish_reason"] == "length").sum())


def test_without_token_ids_a_larger_budget_draws_all_samples_of_the_state_under_new_indices(
    source: Path, tiny_policy: Path, tmp_path: Path, odd_server: OddServer
) -> None:
    """A server that tells neither tokens nor their number; a state that nothing cut keeps its samples."""
    run = new_run(source, tmp_path / "run")
    served: dict[str, Any] = {"engine": "openai", "base_url": [odd_server.address], "policy_name": "far"}
    served |= {"num_samples": 2, "concurrency": 1, "limit": 3}
    odd_server.answers = [choices("stop", "length"), choices("stop", "stop")]
    sample(run, tiny_policy, SMALL, **served)
    (state,) = rows(run).filter(pl.col("finish_reason") == "length")["state_id"]
    odd_server.answers, odd_server.asked = [choices("stop", "length")], []
    grown = sample(run, tiny_policy, LARGE, **served)
    assert [(body["n"], body["max_tokens"]) for body in odd_server.asked] == [(2, LARGE)]
    assert (grown.sampled.samples, grown.missing_samples, grown.stored.samples) == (2, 0, 8)
    told = rows(run).filter(pl.col("state_id") == state).select("sample_index", "budget", "finish_reason", "continues")
    assert told.rows() == [
        (0, SMALL, "stop", None),
        (1, SMALL, "length", None),
        (2, LARGE, "stop", None),
        (3, LARGE, "length", None),
    ]
    assert not sample(run, tiny_policy, LARGE, **served).sampled
    for budget in (LARGE, SMALL):
        done = score({}, run=run, verifier="tool_call", max_new_tokens=budget)
        assert (done.samples, done.pending, done.outcomes["truncated"]) == (6, 0, 1)


def choices(*reasons: str) -> tuple[int, Any]:
    """A server's answer: a sample for each reason why it ended."""
    return 200, {"choices": [{"index": i, "text": "no", "finish_reason": why} for i, why in enumerate(reasons)]}
