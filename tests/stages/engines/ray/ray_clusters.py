"""Tests of the ray engine on real Ray clusters on this machine, run by `test_ray_engine.py`.

But for one the workers hold the transformers engine, which starts quickest.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trajectories import order_trajectory, write_jsonl

from pivotmine.errors import UserError
from pivotmine.run.rundir import scan
from pivotmine_stages.cli.options import extract, rollout
from pivotmine_stages.engines import open_engine
from pivotmine_stages.engines.options import EngineOptions
from pivotmine_stages.engines.protocol import Request
from pivotmine_stages.rollout.stage import RolloutSummary

pytestmark = pytest.mark.filterwarnings(
    # Ray's own, of its internals.
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore::UserWarning",
)

NUM_ORDERS = 24
COLUMNS = ["policy_id", "state_id", "sample_index", "token_ids", "text", "finish_reason", "prompt_hash"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    return write_jsonl(folder / "orders.jsonl", [order_trajectory(f"B{i}", task_id=i) for i in range(NUM_ORDERS)])


@pytest.fixture
def run(source: Path, tmp_path: Path) -> Path:
    extract({}, sources=[source], run=tmp_path / "run")
    return tmp_path / "run"


def sample(run: Path, model: Path, **options: Any) -> RolloutSummary:
    settings: dict[str, Any] = {"engine": "ray", "num_samples": 3, "max_new_tokens": 24, "verifier": "tool_call"}
    settings |= {"replica_engine": "transformers", "cpus_per_replica": 0.5, "states_per_block": 4}
    return rollout({}, run=run, model=str(model), **{**settings, **options})


def rows(run: Path) -> pl.DataFrame:
    return scan(run, "rollouts").collect().sort("state_id", "sample_index")


def keys(run: Path) -> list[tuple[str, int]]:
    return list(rows(run).select("state_id", "sample_index").iter_rows())


@pytest.fixture(scope="module")
def calm(source: Path, tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    """What an undisturbed run without Ray holds."""
    folder = tmp_path_factory.mktemp("calm") / "run"
    extract({}, sources=[source], run=folder)
    sample(folder, tiny_policy, engine="transformers")
    return rows(folder).select(COLUMNS)


@given(
    lengths=st.lists(st.integers(1, 7), max_size=12),
    num_states=st.integers(1, 10),
)
@settings(max_examples=30)
def test_a_block_holds_whole_trajectories_in_order(lengths: list[int], num_states: int) -> None:
    from pivotmine_stages.engines.ray.engine import whole_trajectories

    requests = [
        Request(state_id=f"{t}/{turn}", prompt_ids=[1], sample_indices=(0,), trajectory_id=str(t))
        for t, length in enumerate(lengths)
        for turn in range(length)
    ]
    blocks = list(whole_trajectories(iter(requests), num_states))
    assert [request for block in blocks for request in block] == requests
    owners = [{request.trajectory_id for request in block} for block in blocks]
    assert sum(map(len, owners)) == len(set().union(*owners)) == len(lengths)
    assert all(len(block) >= num_states for block in blocks[:-1])


def test_two_replicas_sample_what_one_process_samples_and_a_second_start_nothing(
    run: Path, tiny_policy: Path, calm: pl.DataFrame
) -> None:
    """The policy is the inner engine's: the same id, and with seeds by sample the same tokens."""
    half = sample(run, tiny_policy, engine="transformers", limit=NUM_ORDERS)
    summary = sample(run, tiny_policy, num_replicas=2)
    assert summary.policy_id == half.policy_id
    assert summary.sampled.states == 2 * NUM_ORDERS - NUM_ORDERS
    assert rows(run).select(COLUMNS).equals(calm)
    assert not sample(run, tiny_policy).sampled
    too_many = pytest.raises(UserError, match=r"999 replicas of 1 CPUs are more than the .* of this machine")
    with too_many:
        sample(run, tiny_policy, num_samples=4, num_replicas=999, cpus_per_replica=1)
    with pytest.raises(UserError, match=r"Ray at 127\.0\.0\.1:9: no answer"):
        sample(run, tiny_policy, num_samples=4, ray_address="127.0.0.1:9")


def test_a_replica_holds_vllm_and_is_the_policy_that_vllm_is(run: Path, tiny_policy: Path) -> None:
    summary = sample(run, tiny_policy, replica_engine="vllm", cpus_per_replica=1, num_samples=2)
    assert summary.sampled.samples == 2 * 2 * NUM_ORDERS
    assert len(set(keys(run))) == 2 * 2 * NUM_ORDERS
    assert rows(run)["token_ids"].list.len().is_between(1, 24).all()
    assert not sample(run, tiny_policy, engine="vllm", num_samples=2).sampled


def test_given_tokens_have_the_inner_engines_log_probabilities_in_order(tiny_policy: Path) -> None:
    options = EngineOptions(model=str(tiny_policy), replica_engine="transformers", cpus_per_replica=0.5)
    sequences = [[1 + (number * place) % 50 for place in range(2 + number)] for number in range(7)]
    alone, through_ray = open_engine("transformers", options), open_engine("ray", options)
    expected, found = alone.prefill(sequences), through_ray.prefill(sequences)
    assert through_ray.prefill([]) == []
    through_ray.close()
    assert [one.likeliest for one in found] == [one.likeliest for one in expected]
    for a, b in zip(found, expected, strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-5)


def test_an_engine_that_cannot_start_is_one_line(tiny_policy: Path, tmp_path: Path) -> None:
    for file in tiny_policy.iterdir():
        if file.name != "model.safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    options = EngineOptions(model=str(tmp_path), replica_engine="transformers", cpus_per_replica=0.5)
    with pytest.raises(UserError, match=f"^model {tmp_path}: ") as raised:
        open_engine("ray", options)
    assert "\n" not in str(raised.value)
    # A thread that is left behind would ask the next cluster for the blocks of this one, or start one of its own.
    assert "ray-engine" not in {thread.name for thread in threading.enumerate()}
    import ray
    from ray.exceptions import RaySystemError

    with pytest.raises(RaySystemError, match="not been started"):
        ray.put(1)


def test_a_ledger_that_is_lost_is_one_line(tiny_policy: Path) -> None:
    """Ray ends it where the machine runs out of memory, whoever takes that."""
    import ray

    engine: Any = open_engine(
        "ray", EngineOptions(model=str(tiny_policy), replica_engine="transformers", cpus_per_replica=0.5)
    )
    ray.kill(engine._ledger)
    with pytest.raises(UserError, match=r"^Ray has stopped: .*; start again: stored samples are kept$"):
        engine.prefill([[1, 2]])
    engine.close()


@pytest.fixture
def cluster() -> Generator[Any]:
    """Three nodes on this machine: a head without room for a replica, and two with room for one each."""
    from ray.cluster_utils import Cluster

    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    yield started
    started.shutdown()


_SLOW = """
import sys
import pivotmine_stages.rollout.stage as stage
stage.SAMPLES_PER_PART = 6
from pivotmine_stages.engines.ray import engine as ray_engine
ray_engine.PATIENCE_S = 5.0
from pivotmine_stages.cli.app import main
main()
"""


def start(run: Path, model: Path, address: str, *flags: str) -> subprocess.Popen[bytes]:
    """The command in a process of its own, with parts so small that some are there when something is killed."""
    command = [sys.executable, "-c", _SLOW, "rollout", str(run), "--model", str(model), "--engine", "ray"]
    command += ["--ray-address", address, "--replica-engine", "transformers", "--states-per-block", "2"]
    command += ["--num-samples", "3", "--max-new-tokens", "24", "--verifier", "tool_call", *flags]
    return subprocess.Popen(command)


def wait_for_parts(run: Path, process: subprocess.Popen[bytes], num_parts: int) -> None:
    deadline = time.monotonic() + 300
    while len(list(run.glob("rollouts/*/part-*.parquet"))) < num_parts:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_node_that_is_lost_for_good_and_a_driver_that_is_killed_lose_and_repeat_nothing(
    run: Path, tiny_policy: Path, calm: pl.DataFrame, cluster: Any
) -> None:
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    driver = start(run, tiny_policy, cluster.address, "--num-replicas", "2")
    wait_for_parts(run, driver, 1)
    # No node has room for the replica that this one held: its blocks must go to the other.
    cluster.remove_node(nodes[0], allow_graceful=False)
    wait_for_parts(run, driver, len(list(run.glob("rollouts/*/part-*.parquet"))) + 1)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    written = keys(run)
    assert 0 < len(written) < len(calm)
    assert start(run, tiny_policy, cluster.address, "--num-replicas", "1").wait(300) == 0
    assert rows(run).select(COLUMNS).equals(calm)
    assert [key for key in keys(run) if key in set(written)] == sorted(written)
