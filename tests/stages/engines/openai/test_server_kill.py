"""A real server killed in mid-run: its trajectories go to the other one, and no state is lost or sampled twice.

`python -m benchmarks.chaos` does the same many times over, with workers, nodes and drivers too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import psutil
import pytest
from trajectories import order_trajectory, write_jsonl

from pivotmine.run import rundir
from pivotmine_stages.cli.options import extract, rollout
from pivotmine_stages.rollout import stage as stage

NUM_ORDERS, NUM_SAMPLES = 24, 4


def kill(address: str) -> None:
    """SIGKILL for the server at the address, one of our children, and for what it has started."""
    port = address.removesuffix("/v1").rpartition(":")[2]
    (server,) = [process for process in psutil.Process().children() if port in process.cmdline()]
    for process in [*server.children(recursive=True), server]:
        process.kill()


def test_a_server_that_is_killed_in_mid_run_costs_no_state(
    vllm_server: str,
    serve: Callable[..., AbstractContextManager[str]],
    coin_policy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = tmp_path / "run"
    source = write_jsonl(tmp_path / "s.jsonl", [order_trajectory(f"B{i}", task_id=i) for i in range(NUM_ORDERS)])
    extract({}, sources=[source], run=run)
    monkeypatch.setattr(stage, "SAMPLES_PER_PART", NUM_SAMPLES)
    written: list[int] = []

    def kill_after_the_first_part(address: str) -> None:
        while not list(run.glob("rollouts/*/part-*.parquet")):
            time.sleep(0.01)
        kill(address)
        written.append(len(rundir.scan(run, "rollouts").collect()))

    with serve(coin_policy, "--served-model-name", "coin") as doomed:
        killer = threading.Thread(target=kill_after_the_first_part, args=(doomed,), daemon=True)
        killer.start()
        summary = rollout(
            {},
            run=run,
            engine="openai",
            model="coin",
            policy_name="coin",
            tokenizer=str(coin_policy),
            base_url=[vllm_server, doomed],
            concurrency=1,
            num_samples=NUM_SAMPLES,
            max_new_tokens=32,
            verifier="tool_call",
        )
        killer.join(60)
    turns = rundir.scan(run, "turns").collect()
    states = sorted({turn["state_id"] for turn in turns.iter_rows(named=True) if turn["kind"] == "tool_call"})
    rows = rundir.scan(run, "rollouts").select("state_id", "sample_index").collect()
    assert 0 < written[0] < len(rows)
    assert sorted(rows.iter_rows()) == [(state, index) for state in states for index in range(NUM_SAMPLES)]
    assert (summary.missing_samples, len(states)) == (0, 2 * NUM_ORDERS)
