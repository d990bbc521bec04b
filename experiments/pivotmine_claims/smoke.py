"""Tiny cells whose answer is known: `python -m pivotmine_claims smoke`.

- SFT is 20 points above base in greedy episodes.
- The ledger's turns are the rows of the tables, and as many as the settings ask for.
- A cell that was killed goes on, and ends with the numbers of one that was not.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import torch

from pivotmine_claims.cells import Cell, make, read
from pivotmine_claims.mining import World
from pivotmine_claims.scale import SMOKE

SFT_SCALE = replace(SMOKE, trajectories=240)
RL_SCALE = replace(SMOKE, final_tasks=8)
SFT = Cell(arm="sft", seed=0, settings={"learning_rate": 2e-3})
PIVOTS = Cell(arm="pivots", seed=0, settings={"learning_rate": 5e-4})
GAIN = 0.2


def check(world: World) -> None:
    """SystemExit with a sentence where one of the three does not hold."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        check_ledger_and_kill(world, Path(folder) / "rl")
        check_sft(world, Path(folder) / "sft")


def check_sft(world: World, folder: Path) -> None:
    """The first."""
    base, sft = (
        _made(cell, world, SFT_SCALE, folder)["points"][-1]["measured"]["greedy"]
        for cell in (Cell(arm="base", seed=0, settings={}), SFT)
    )
    _require(sft - base >= GAIN, f"SFT solves {sft:.1%} of the episodes, and base {base:.1%}")


def check_ledger_and_kill(world: World, folder: Path) -> None:
    """The other two."""
    _kill(folder)
    cell = _made(PIVOTS, world, RL_SCALE, folder)
    _check_ledger(cell, folder)
    whole = _made(PIVOTS, world, RL_SCALE, folder / "again")
    same = _without_seconds(cell) == _without_seconds(whole)
    _require(same, f"a cell that was killed gave other numbers:\n{cell}\n{whole}")


def _made(cell: Cell, world: World, scale: Any, work: Path) -> dict[str, Any]:
    found = read(make(cell, world, scale, work, work / "results"))
    assert found is not None
    return found


def _check_ledger(cell: dict[str, Any], work: Path) -> None:
    mining, training = cell["points"][-1]["ledger"]
    scale = RL_SCALE
    rollouts = f"read_parquet('{work}/*/shared/mine-base-0-*/run/rollouts/*/part-*.parquet')"
    samples = f"read_parquet('{work}/*/trained/grpo-0-*/out/completions/train_*.parquet')"
    turns, generated, states = _row(f"select count(*), sum(len(token_ids)), count(distinct state_id) from {rollouts}")
    _require((mining["turns"], mining["generated"]) == (turns, generated), f"mining: {mining} for {turns} rows")
    _require(turns == states * scale.mining_samples, f"mining: {turns} samples of {states} states")
    turns, generated = _row(f"select count(*), sum(len(completion_ids)) from {samples}")
    _require((training["turns"], training["generated"]) == (turns, generated), f"training: {training} for {turns} rows")
    _require(turns == scale.rl_steps * scale.prompts * scale.group, f"training: {turns} samples")


def _row(query: str) -> tuple[Any, ...]:
    found = duckdb.execute(query).fetchone()
    assert found is not None
    return found


def _without_seconds(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_seconds(one) for key, one in value.items() if not key.endswith("cpu_s")}  # pyright: ignore
    return [_without_seconds(one) for one in value] if isinstance(value, list) else value  # pyright: ignore


def _kill(work: Path) -> None:
    """Start the pivots' cell in a process of its own, and kill it when it has written its first checkpoint."""
    command = [sys.executable, "-m", "pivotmine_claims", "smoke", "--killed", str(work)]
    process = subprocess.Popen(command, start_new_session=True)
    pattern = f"*/trained/grpo-0-*/out/checkpoint-{RL_SCALE.save_steps}/trainer_state.json"
    while process.poll() is None and not any(work.glob(pattern)):
        time.sleep(0.05)
    _require(process.poll() is None, "the cell that was to be killed ended before its first checkpoint")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    _require(not any(work.glob("results/*/*/*.json")), "the cell that was to be killed was finished first")


def make_killed(world: World, work: Path) -> None:
    """What the process does that is killed."""
    torch.set_num_threads(1)
    make(PIVOTS, world, RL_SCALE, work, work / "results")


def _require(holds: bool, words: str) -> None:  # noqa: FBT001
    if not holds:
        raise SystemExit(f"claims-smoke: {words}")
