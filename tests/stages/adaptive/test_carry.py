"""Mining again from an earlier policy: real policies on six orders, with success rates that training changed."""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from policies import Lesson, call_text, tool
from trajectories import call, write_jsonl
from transformers import AutoModelForCausalLM

from pivotmine import open_run
from pivotmine.errors import UserError
from pivotmine.run import rundir
from pivotmine.run.parts import PartsManifest
from pivotmine_stages.adaptive.summary import CarriedRollout
from pivotmine_stages.cli.options import extract, rollout, score, select
from pivotmine_stages.profiles import carry_decay
from pivotmine_stages.profiles.carry_decay import carried_states

TOOLS = [tool("cancel_order", "order_id"), tool("find_order", "order_id")]
OLD = {"A11": 0, "B22": 0, "C33": 5, "D44": 10, "E55": 10, "F66": 0}
"""Right answers in ten, by order."""
NEW = {"A11": 4, "B22": 0, "C33": 10, "D44": 5, "E55": 10, "F66": 0}
"""After training, which opened A11; it also opened F66, by a right answer that nobody has stored."""
OTHERWISE = '<tool_call>\n{"arguments": {"order_id": "F66"}, "name": "cancel_order"}\n</tool_call>'
K = 8


def asked(order: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": f"Please cancel my order {order}."}]


def answers(order: str, right: int) -> tuple[tuple[str, int], ...]:
    texts = ((call_text("cancel_order", order_id=order), right), (call_text("find_order", order_id=order), 10 - right))
    return tuple(pair for pair in texts if pair[1])


def train(policies: ModuleType, path: Path, rates: dict[str, int], **other: tuple[tuple[str, int], ...]) -> Path:
    lessons = [
        Lesson(messages=asked(order), tools=TOOLS, answers=other.get(order) or answers(order, right))
        for order, right in rates.items()
    ]
    return policies.train_policy(path, lessons, steps=160)


@pytest.fixture(scope="module")
def old(policies: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(policies, tmp_path_factory.mktemp("policy") / "old", OLD)


@pytest.fixture(scope="module")
def new(policies: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    wrong = call_text("find_order", order_id="F66")
    return train(policies, tmp_path_factory.mktemp("policy") / "new", NEW, F66=((OTHERWISE, 5), (wrong, 5)))


@pytest.fixture(scope="module")
def mined(old: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with all samples of the old policy."""
    records: list[dict[str, Any]] = []
    for order in OLD:
        reply = {"role": "assistant", "content": None, "tool_calls": [call("cancel_order", {"order_id": order})]}
        records.append({"messages": [*asked(order), reply], "tools": TOOLS, "task_id": order})
    folder = tmp_path_factory.mktemp("mined")
    extract({}, sources=[write_jsonl(folder / "orders.jsonl", records)], run=folder / "run")
    sample(folder / "run", old)
    score({}, run=folder / "run")
    return folder / "run"


@pytest.fixture
def run(mined: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it; no state is sampled for the sake of the decay."""
    monkeypatch.setattr(carry_decay, "RANDOM_STATES", 0)
    return Path(shutil.copytree(mined, tmp_path / "run"))


def sample(run: Path, policy: Path, **options: Any) -> Any:
    settings = {"engine": "transformers", "num_samples": K, "max_new_tokens": 40, "policy_name": policy.name}
    return rollout({}, run=run, model=str(policy), **{**settings, **options})


def carry(run: Path, policy: Path, **options: Any) -> CarriedRollout:
    return sample(run, policy, **{"earlier": ("old",), **options})


def order_of(run: Path) -> dict[str, str]:
    """Orders by state_id."""
    turns = rundir.scan(run, "turns").join(rundir.scan(run, "trajectories"), on="trajectory_id").collect()
    return dict(turns.select("state_id", "task_id").iter_rows())


def by_order(run: Path, table: str) -> dict[str, dict[str, Any]]:
    """The new policy's rows of a table."""
    rows = rundir.scan(run, table).filter(pl.col("policy_id").str.starts_with("new")).collect()
    orders = order_of(run)
    return {orders[row["state_id"]]: row for row in rows.iter_rows(named=True)}


def mass(policies: ModuleType, policy: Path, order: str, text: str) -> float:
    """The probability of an answer, from one pass over it alone and none of our code."""
    prompt = policies.render(policy, Lesson(messages=asked(order), tools=TOOLS, answers=()))
    reply = policies.token_ids(policy, f"{text}<|im_end|>")
    model: Any = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32)
    with torch.inference_mode():
        logprobs = model(torch.tensor([prompt + reply])).logits[0].log_softmax(-1)
    return math.exp(sum(float(logprobs[len(prompt) - 1 + i, token]) for i, token in enumerate(reply)))


def test_bounds_are_the_probabilities_of_what_is_stored_and_of_the_demonstration(
    run: Path, new: Path, policies: ModuleType
) -> None:
    summary = carry(run, new)
    rows, drawn = by_order(run, "carried"), rundir.scan(run, "rollouts").collect()
    orders = order_of(run)
    for order, row in rows.items():
        state = next(state for state, name in orders.items() if name == order)
        stored = drawn.filter((pl.col("state_id") == state) & pl.col("policy_id").str.starts_with("old"))
        texts = {*stored["text"].to_list(), call_text("cancel_order", order_id=order)}
        right = mass(policies, new, order, call_text("cancel_order", order_id=order))
        wrong = sum(mass(policies, new, order, text) for text in texts) - right
        assert row["num_actions"] == len(texts)
        assert row["carried_low"] == pytest.approx(right, abs=1e-3)
        assert row["carried_high"] == pytest.approx(1 - wrong, abs=1e-3)
        assert row["unseen_mass"] == pytest.approx(1 - right - wrong, abs=1e-3)
        assert row["refusal"] is None
    assert summary.carried.prefill_tokens == sum(row["num_prefill_tokens"] for row in rows.values())


def test_a_never_state_that_training_opened_is_not_called_never(run: Path, new: Path) -> None:
    """A11 by its demonstration, without a sample; F66 by samples, for its right answer was not stored."""
    classes = {orders: row["reward_class"] for orders, row in old_profiles(run).items()}
    assert {order for order, name in classes.items() if name == "never"} == {"A11", "B22", "F66"}
    carry(run, new, max_mean=1.0)
    profiles = by_order(run, "profiles")
    assert profiles["A11"]["carried_low"] > 0.25
    assert profiles["F66"]["unseen_mass"] > 0.3
    assert profiles["F66"]["num_samples"] > 0
    assert "never" not in (profiles["A11"]["reward_class"], profiles["F66"]["reward_class"])
    for order in ("B22", "E55"):  # what is stored says it all
        assert (profiles[order]["num_samples"], profiles[order]["mean"]) == (0, None)
    select({}, run=run, policy="new", name="mixed", strategy="mixed", min_scored=2)
    chosen = pl.concat([pl.read_parquet(path) for path in (run / "pivots/mixed").glob("[tv]*.parquet")])
    orders = order_of(run)
    assert {orders[state] for state in chosen["state_id"]} == {"A11", "D44", "F66"}


def old_profiles(run: Path) -> dict[str, dict[str, Any]]:
    orders = order_of(run)
    rows = rundir.scan(run, "profiles").filter(pl.col("policy_id").str.starts_with("old")).collect()
    return {orders[row["state_id"]]: row for row in rows.iter_rows(named=True)}


def test_few_samples_that_all_fail_do_not_make_a_never_state_against_the_bounds(run: Path, new: Path) -> None:
    carry(run, new)
    folder = next((run / "rollouts").glob("new*"))
    assert by_order(run, "profiles")["A11"]["reward_class"] != "never"
    rows = rundir.scan(run, "rollouts", sorted(folder.glob("*.parquet"))).collect()
    failed = call_text("find_order", order_id="A11")
    state = next(state for state, order in order_of(run).items() if order == "A11")
    template = (rows if len(rows) else rundir.scan(run, "rollouts").collect()).head(1)
    index = int(rows.filter(pl.col("state_id") == state)["sample_index"].max() or -1) + 1  # pyright: ignore[reportArgumentType]
    bad = template.with_columns(
        state_id=pl.lit(state), text=pl.lit(failed), policy_id=pl.lit(folder.name), finish_reason=pl.lit("stop"),
        sample_index=pl.lit(index, pl.Int32), budget=pl.lit(40, pl.Int32),
    )  # fmt: skip
    PartsManifest(run, folder, "by hand").write(folder / "part-7of8-000000.parquet", bad.to_arrow())
    score({}, run=run, policy="new")
    row = by_order(run, "profiles")["A11"]
    assert row["num_wrong_tool"] >= 1
    assert row["reward_class"] in (None, "sometimes")


def test_random_states_are_sampled_and_the_decay_is_checked_on_others(
    run: Path, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carry_decay, "RANDOM_STATES", 2)
    monkeypatch.setattr(carry_decay, "RANDOM_SHARE", 0.5)
    summary = carry(run, new)
    assert summary.carried.calibration is not None
    assert summary.carried.calibration.states == 2
    profiles = by_order(run, "profiles")
    assert sum(row["num_samples"] > 0 for row in profiles.values()) >= 4
    assert summary.carried.unsampled == sum(row["num_samples"] == 0 for row in profiles.values())


def test_started_again_it_reads_nothing_and_other_sources_are_read(
    run: Path, new: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = carry(run, new)
    rows = by_order(run, "carried")
    again = carry(run, new)
    assert again.carried.states is None
    assert not again.sampled
    assert by_order(run, "carried") == rows
    assert again.carried.decay == first.carried.decay
    assert len(open_run(run).carried.collect()) == len(OLD)
    counted = open_run(run).sql("select count(*) as n, sum(unseen_mass) as u from carried")
    assert counted["n"][0] == len(OLD)
    assert not caplog.records or all("posterior" not in record.message for record in caplog.records)


def test_the_trainers_completions_are_stored_actions_and_only_their_tokens_are_believed(
    run: Path, new: Path, policies: ModuleType, tmp_path: Path
) -> None:
    state = next(state for state, order in order_of(run).items() if order == "F66")
    ids = policies.token_ids(new, f"{OTHERWISE}<|im_end|>")
    folder = tmp_path / "completions"
    folder.mkdir()
    rows = {
        "state_id": [state, state, state, "another run's", state, state],
        "completion_ids": [ids, [-5, 10**12, 2], [], ids, None, [1, None, 2]],
        "pivot_reward": [0.0, 1.0, 1.0, 1.0, 1.0, 1.0],  # nonsense: what is right is found out here
    }
    pq.write_table(pa.table(rows), folder / "train_00001.parquet")
    carry(run, new, completions=(folder,), sample_budget=1)
    row = by_order(run, "carried")["F66"]
    assert row["carried_low"] > 0.3
    assert row["unseen_mass"] < 0.2
    assert row["source"].split("+")[1].startswith("completions-")


@pytest.mark.parametrize("made", ["nothing", "text", "other columns"])
def test_completions_that_are_none_are_one_line(run: Path, new: Path, tmp_path: Path, made: str) -> None:
    folder = tmp_path / "completions"
    folder.mkdir()
    if made == "text":
        (folder / "a.parquet").write_text("no Parquet")
    if made == "other columns":
        pq.write_table(pa.table({"state_id": ["x"], "completion_ids": [{"a": 1}]}), folder / "a.parquet")
    with pytest.raises(UserError, match="--completions") as found:
        carry(run, new, completions=(folder,))
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"temperature": 0.7}, "--from carries only the posteriors: bounds need samples of the model's own"),
        ({"parser": "mistral"}, "carries only its posteriors: its actions were parsed as hermes, not mistral"),
    ],
)
def test_where_no_probability_is_to_be_had_the_posterior_alone_is_carried(
    run: Path, new: Path, caplog: pytest.LogCaptureFixture, options: dict[str, Any], line: str
) -> None:
    with caplog.at_level(logging.WARNING, "pivotmine"):
        carry(run, new, num_samples=4, **options)
    assert sum(line in record.message for record in caplog.records) == 1
    rows = by_order(run, "carried")
    assert {(row["carried_low"], row["carried_high"], row["unseen_mass"]) for row in rows.values()} == {(0, 1, 1)}
    assert all(row["old_alpha"] > 0 for row in rows.values())
    assert sum(row["num_samples"] for row in by_order(run, "profiles").values()) > 0


def test_wrong_uses_are_one_line(run: Path, old: Path, new: Path) -> None:
    for options, words in [
        ({"earlier": ("nobody",)}, "no policy matches 'nobody'"),
        ({"earlier": (), "completions": (run,)}, "--completions goes with --from"),
        ({"plan": run / "x.parquet"}, "--from makes plans"),
        ({"dry_run": True}, "leave --from out"),
        ({"verifier": "exact"}, "has no profiles by exact"),
    ]:
        with pytest.raises(UserError, match=words):
            carry(run, new, **options)
    # A second one too: without rewards its actions would say nothing, and be taken as read.
    unscored = {**json.loads(next(run.glob("rollouts/old-*/policy.json")).read_text()), "policy_id": "unscored"}
    rundir.write_text(run / "rollouts" / "unscored" / "policy.json", json.dumps(unscored))
    with pytest.raises(UserError, match=r"--from unscored has no profiles by auto-.*: score it first"):
        carry(run, new, earlier=("old-", "unscored"))
    with pytest.raises(UserError, match="is the policy that --model names"):
        sample(run, old, earlier=("old",))


@pytest.mark.parametrize(
    "change", [{"carried_low": 2.0}, {"unseen_mass": None}, {"old_alpha": -1.0}, {"carried_high": math.nan}]
)
def test_a_carried_file_that_says_nonsense_is_one_line(run: Path, new: Path, change: dict[str, Any]) -> None:
    carry(run, new)
    (part,) = run.glob("carried/*/*/part-*.parquet")
    rows = pl.read_parquet(part).with_columns(pl.lit(value, pl.Float64).alias(name) for name, value in change.items())
    policy_id, verifier_id = part.parent.parent.name, part.parent.name
    PartsManifest(run, part.parent).write(part, rows.to_arrow())
    with pytest.raises(UserError, match="invalid bounds in state"):
        carried_states(run, policy_id, verifier_id, 40)
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(UserError) as found:
        score({}, run=run, policy="new")
    assert "\n" not in str(found.value)
    assert "carried" in str(found.value)


def test_killed_at_any_time_and_started_again_it_equals_an_undisturbed_run(
    run: Path, mined: Path, new: Path, tmp_path: Path
) -> None:
    calm = Path(shutil.copytree(mined, tmp_path / "calm"))
    carry(calm, new)
    # A state a part, so that some are written before the kill and some are not.
    command = (
        "import time; from pivotmine_stages.adaptive import carry; from pivotmine_stages.profiles import carry_decay; "
        "carry_decay.RANDOM_STATES = 0; carry.STATES_PER_PART = carry.TREES_PER_BATCH = 1; "
        "prefill = carry._Work.prefill; carry._Work.prefill = lambda self: (time.sleep(0.3), prefill(self)); "
        "from pivotmine_stages.cli.app import main; main()"
    )
    flags = f"--model {new} --engine transformers --num-samples {K} --max-new-tokens 40 --policy-name new --from old"
    process = subprocess.Popen([sys.executable, "-c", command, "rollout", str(run), *flags.split()], env={**os.environ})
    deadline = time.monotonic() + 120
    while not list(run.glob("carried/*/*/part-*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 0 < len(rundir.scan(run, "carried").collect()) < len(OLD)
    carry(run, new)
    columns = ["state_id", "carried_low", "unseen_mass", "old_alpha"]
    ours, theirs = (rundir.scan(one, "carried").select(columns).sort("state_id").collect() for one in (run, calm))
    assert ours["state_id"].to_list() == theirs["state_id"].to_list()
    for name in columns[1:]:
        assert ours[name].to_list() == pytest.approx(theirs[name].to_list(), abs=1e-5)
    drawn = [
        sorted(rundir.scan(one, "rollouts").select("policy_id", "state_id", "sample_index", "text").collect().rows())
        for one in (run, calm)
    ]
    assert drawn[0] == drawn[1]
