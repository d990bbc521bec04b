"""score: rollouts -> verdicts -> profiles. A pure function of stored rows: it never samples.

Each part of `rollouts` gives one part of `scores`; a part that is there is not scored again. Profiles are made anew
from all parts.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from pivotmine import rundir, sql
from pivotmine.actions import Action, action_from_message, action_to_json, parse_action
from pivotmine.errors import UserError
from pivotmine.profiles import profile
from pivotmine.progress import track
from pivotmine.states import demonstrated_turns
from pivotmine.verifiers import Outcome, State, VerifierSpec, prepare
from pivotmine_stages.gate import Gate, as_reject, gate_states
from pivotmine_stages.policies import PolicyRecord, choose_policy

STATES_PER_TASK = 256
# Starting a process costs more than scoring this many samples.
SAMPLES_WORTH_PROCESSES = 20_000
_SAMPLE = ("sample_index", "text", "message", "finish_reason", "opened_reasoning")
_Task = list[tuple[str, Gate, list[dict[str, Any]]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreConfig:
    verifier: VerifierSpec
    """The verifier with its options."""
    policy: str | None = None
    """Policy id, or a part of it; None: the only one."""
    parser: str | None = None
    """Action parser; None: the one that rollout chose."""
    num_processes: int | None = None
    """None: one a core."""


def score(config: ScoreConfig, run: Path) -> dict[str, Any]:
    """Run the stage; returns the summary that the command prints. Again, it scores only new parts."""
    rundir.require_run(run)
    record = choose_policy(run, config.policy)
    parser = config.parser or record.parser
    identity = {"policy_id": record.policy_id, "verifier_id": config.verifier.verifier_id}
    with rundir.stage_lock(run, f"score-{record.policy_id}-{config.verifier.verifier_id}"):
        folder = run / "scores" / record.policy_id / config.verifier.verifier_id
        _remember(folder, config, parser)
        return _score(config, run, record, parser, folder, identity)


def _remember(folder: Path, config: ScoreConfig, parser: str) -> None:
    """Scores under one verifier id are of one parser: it is written beside them, and another one is an error."""
    path, ours = folder / "verifier.json", {
        "verifier": config.verifier.name,
        "options": json.loads(config.verifier.options_json),
        "parser": parser,
    }  # fmt: skip
    if path.exists():
        theirs = json.loads(path.read_text(encoding="utf-8"))
        if theirs != ours:
            raise UserError(
                f"{folder} was scored with other settings ({rundir.difference(ours, theirs)}): remove it first"
            )
        return
    rundir.write_text(path, json.dumps(ours, indent=2, ensure_ascii=False) + "\n")


def _score(
    config: ScoreConfig, run: Path, record: PolicyRecord, parser: str, folder: Path, identity: dict[str, str]
) -> dict[str, Any]:
    started = time.monotonic()
    turns = demonstrated_turns(run)
    gates = gate_states(run, turns, config.verifier)
    parts = sorted((run / "rollouts" / record.policy_id).glob("part-*.parquet"))
    new = [path for path in parts if not (folder / path.name).exists()]
    with _workers(config, parser, pl.scan_parquet(new).select(pl.len()).collect().item() if new else 0) as verdicts:
        for path in track(new, "score", "parts", len(new)):
            rundir.write_rows(folder / path.name, "scores", [{**identity, **row} for row in verdicts(path, gates)])
    scores = rundir.scan(run, "scores", sorted(folder.glob("part-*.parquet"))).collect()
    sampled = rundir.scan(run, "rollouts", parts).group_by("state_id").agg(pl.len().cast(pl.Int32).alias("num_samples"))
    gate = pl.DataFrame([(k, g.gate) for k, g in gates.items()], schema=["state_id", "gate"], orient="row")
    profiles = profile(scores, sampled.collect().join(gate, on="state_id", how="left"), **identity)
    rundir.write_table(folder / "profiles.parquet", profiles)
    return _finish(run, identity, gates, turns, scores, profiles, time.monotonic() - started)


@contextmanager
def _workers(
    config: ScoreConfig, parser: str, num_samples: int
) -> Generator[Callable[[Path, dict[str, Gate]], Iterator[dict[str, Any]]]]:
    """A function from a part of rollouts to its rows of scores, over all cores where that pays."""
    work = partial(_score_states, config.verifier, parser)
    num_processes = config.num_processes or os.cpu_count() or 1
    if num_processes == 1 or num_samples < SAMPLES_WORTH_PROCESSES:
        yield lambda path, gates: _chain(map(work, _tasks(path, gates)))
        return
    with ProcessPoolExecutor(num_processes, multiprocessing.get_context("spawn")) as pool:
        yield lambda path, gates: _chain(pool.map(work, _tasks(path, gates)))


def _chain(batches: Iterable[list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    return (row for batch in batches for row in batch)


def _tasks(path: Path, gates: dict[str, Gate]) -> Iterator[_Task]:
    """The samples of one part, some states at a time; states that fail the gate have no verdicts."""
    task: _Task = []
    for (state_id,), samples in pl.read_parquet(path).group_by("state_id", maintain_order=True):
        gate = gates.get(str(state_id))
        if gate is not None and gate.usable:
            task.append((str(state_id), gate, samples.select(_SAMPLE).to_dicts()))
        if len(task) == STATES_PER_TASK:
            yield task
            task = []
    yield task


def _score_states(spec: VerifierSpec, parser: str, task: _Task) -> list[dict[str, Any]]:
    """The rows of `scores` for some states, policy and verifier aside."""
    rows: list[dict[str, Any]] = []
    for state_id, gate, samples in task:
        judge = prepare(spec, gate.state, gate.usable)
        for sample in samples:
            action = _action(sample, parser, gate.state)
            verdict = judge(action)
            rows.append(
                {
                    "state_id": state_id,
                    "sample_index": sample["sample_index"],
                    "outcome": str(verdict.outcome),
                    "reward": verdict.reward,
                    "detail": verdict.detail or None,
                    "action": action_to_json(action),
                }
            )
    return rows


def _action(sample: dict[str, Any], parser: str, state: State) -> Action:
    """The action of a stored sample: from its raw text, or from the message that a chat server parsed."""
    truncated = sample["finish_reason"] == "length"
    if sample["message"] is None:
        opened = sample["opened_reasoning"]
        return parse_action(
            sample["text"], parser=parser, opened_reasoning=opened, truncated=truncated, tools=state.tools
        )
    action = action_from_message(json.loads(sample["message"]))
    # A server leaves a call that it could not parse in the text: there it is still no message.
    left = parse_action(action.message, parser=parser, tools=state.tools)
    return replace(
        action,
        message=left.message,
        tool_calls=action.tool_calls + left.tool_calls,
        unparsed=action.unparsed + left.unparsed,
        truncated=truncated,
    )


def _finish(
    run: Path,
    identity: dict[str, str],
    gates: dict[str, Gate],
    turns: pl.DataFrame,
    scores: pl.DataFrame,
    profiles: pa.Table,
    seconds: float,
) -> dict[str, Any]:
    counts = turns.group_by("state_id").agg(pl.len().cast(pl.Int32).alias("num_turns"))
    failed = pl.DataFrame(profiles).filter(pl.col("gate").ne_missing(str(Outcome.CORRECT))).select("state_id")
    lost = turns.unique("state_id", keep="first", maintain_order=True).join(failed, on="state_id", how="semi")
    rejects = [
        as_reject("score", gates[turn["state_id"]].reject_reason, turn, gates[turn["state_id"]].detail)
        for turn in lost.join(counts, on="state_id", maintain_order="left").iter_rows(named=True)
    ]
    rundir.write_rows(rundir.rejects_dir(run, "score", identity) / "rejects.parquet", "rejects", rejects)
    table = pl.DataFrame(profiles)
    classes = dict(table.drop_nulls("reward_class").group_by("reward_class").len().sort("reward_class").iter_rows())
    summary = {
        **identity,
        "states": len(table),
        "samples": int(table["num_samples"].sum()),
        "scored": int(table["num_scored"].sum()),
        "classes": classes,
        "outcomes": dict(scores.group_by("outcome").len().sort("len", "outcome", descending=[True, False]).iter_rows()),
        "mean": table["mean"].mean(),
        "rejects": dict(Counter(row["reason"] for row in rejects)),
        "seconds": round(seconds, 2),
    }
    rundir.write_manifest(run, "score", identity, {"summary": summary})
    sql.write_views(run)
    return summary
