"""select, the stage: choose states, render their prompts, write the dataset and its card.

A row is checked before it is written: its prompt is token for token the one that was sampled, and a trainer that
tokenises the text gets these tokens.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pivotmine import jsonvalues, policy, rundir, sql
from pivotmine.errors import UserError
from pivotmine.progress import track
from pivotmine.states import demonstrated_turns, state_messages
from pivotmine.tables import PIVOTS
from pivotmine.verifiers import VerifierSpec, make_spec
from pivotmine_stages.datacard import data_card
from pivotmine_stages.gate import as_reject, gate_states
from pivotmine_stages.policies import PolicyRecord, choose, choose_policy
from pivotmine_stages.rendering import Renderer, load_renderer
from pivotmine_stages.selection import SelectConfig, check, choose_states, is_validation

ROWS_PER_GROUP = 512
_PROFILE = ("num_samples", "num_scored", "mean", "variance", "reward_class", "gate")


class _Mined(NamedTuple):
    """What the dataset is made from."""

    policy: PolicyRecord
    verifier: VerifierSpec | None
    parser: str
    profiles: pl.DataFrame


def select(config: SelectConfig, run: Path) -> dict[str, Any]:
    """Run the stage; returns the summary that the command prints. Same settings, same input: same files."""
    rundir.require_run(run)
    if problem := check(config):
        raise UserError(problem)
    mined = _mined(config, run)
    verifier_id = mined.verifier.verifier_id if mined.verifier else None
    identity = {**asdict(config), "policy": mined.policy.policy_id, "verifier": verifier_id}
    with rundir.stage_lock(run, f"select-{config.name}"):
        for known in rundir.read_manifests(run, "select"):
            if known["config"]["name"] == config.name and known["config"] != identity:
                difference = rundir.difference(identity, known["config"])
                raise UserError(f"pivots/{config.name} was selected otherwise ({difference}): choose another --name")
        return _select(config, run, mined, identity)


def _mined(config: SelectConfig, run: Path) -> _Mined:
    record = choose_policy(run, config.policy)
    scored = sorted(path.parent.name for path in (run / "scores" / record.policy_id).glob("*/profiles.parquet"))
    if not scored and config.strategy == "all" and config.verifier is None:
        return _Mined(record, None, record.parser, rundir.scan(run, "profiles", []).collect())
    where = f"of {record.policy_id} in {run}: run `pivotmine score {run}` first"
    folder = run / "scores" / record.policy_id / choose("verifier", scored, config.verifier, where)
    settings = json.loads((folder / "verifier.json").read_text(encoding="utf-8"))
    spec = make_spec(settings["verifier"], settings["options"])
    profiles = rundir.scan(run, "profiles", [folder / "profiles.parquet"]).collect()
    return _Mined(record, spec, settings["parser"], profiles)


def _select(config: SelectConfig, run: Path, mined: _Mined, identity: dict[str, Any]) -> dict[str, Any]:
    started = time.monotonic()
    turns = demonstrated_turns(run)
    counts = turns.group_by("state_id").agg(pl.len().cast(pl.Int32).alias("num_turns"))
    rows = turns if config.strategy == "all" else turns.unique("state_id", keep="first", maintain_order=True)
    rows = rows.with_row_index("place").join(mined.profiles.select("state_id", *_PROFILE), on="state_id", how="left")
    chosen = choose_states(rows.join(counts, on="state_id"), config)
    if config.strategy == "all":
        chosen = chosen.with_columns(num_turns=pl.lit(1, pl.Int32))
    lost = chosen.filter(pl.col("reject_reason").is_not_null())
    rejects = [as_reject("select", turn["reject_reason"], turn, None) for turn in lost.iter_rows(named=True)]
    kept = chosen.filter(pl.col("reject_reason").is_null()).sort("place")
    renderer = _renderer(config, mined.policy)
    written = _write(run, config, _rows(run, config, mined, renderer, kept, turns, rejects))
    rundir.write_rows(rundir.rejects_dir(run, "select", identity) / "rejects.parquet", "rejects", rejects)
    summary = {
        "name": config.name,
        "policy_id": mined.policy.policy_id,
        "verifier_id": identity["verifier"],
        "candidates": len(chosen),
        **written,
        "rejects": dict(sorted(Counter(row["reason"] for row in rejects).items())),
        "seconds": round(time.monotonic() - started, 2),
    }
    card = data_card(run, config, mined.policy, mined.verifier, summary)
    rundir.write_text(run / "pivots" / config.name / "README.md", card)
    rundir.write_manifest(run, "select", identity, {"summary": summary})
    sql.write_views(run)
    return summary


def _renderer(config: SelectConfig, record: PolicyRecord) -> Renderer:
    tokenizer = config.tokenizer or record.tokenizer
    if tokenizer is None:
        raise UserError(
            "the rollouts came from a chat server that rendered by itself: give its tokenizer by --tokenizer"
        )
    renderer = load_renderer(tokenizer, record.template_options)
    for what, ours, theirs in (
        ("tokenizer", policy.hash_tokenizer(renderer.tokenizer), record.tokenizer_hash),
        ("chat template", policy.hash_template(renderer.template), record.template_hash),
    ):
        if theirs is not None and ours != theirs:
            raise UserError(
                f"the {what} in {tokenizer} is not the one that was sampled with (it changed since): restore it"
            )
    return renderer


def _rows(
    run: Path,
    config: SelectConfig,
    mined: _Mined,
    renderer: Renderer,
    kept: pl.DataFrame,
    turns: pl.DataFrame,
    rejects: list[dict[str, Any]],
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(split key, row) of each kept state, in the order of the sources; what fails a check is a reject."""
    demonstrations = _demonstrations(run, config, mined, kept, turns)
    first_states = turns_first_states(run)
    hashes = _prompt_hashes(run, mined.policy)
    for state in track(state_messages(run, kept), "select", "states", len(kept)):
        turn = state.turn
        try:
            prompt = renderer.render(state.messages, state.tools)
        except Exception as error:  # a foreign template may raise anything; profiled states passed it already
            rejects.append(as_reject("select", "template_error", turn, f"{type(error).__name__}: {error}"[:300]))
            continue
        text = renderer.plain_text(prompt)
        if reason := _problem(config, text, prompt.token_ids, hashes.get(turn["state_id"])):
            rejects.append(as_reject("select", reason, turn, f"{len(prompt.token_ids)} prompt tokens"))
            continue
        listed = demonstrations.get(turn["turn_id"]) or [_demonstration(turn, state.reply)]
        verified = mined.verifier is not None and mined.verifier.handles(turn["kind"])
        key = (
            f"task/{turn['task_id']}" if turn["task_id"] is not None else f"state/{first_states[turn['trajectory_id']]}"
        )
        yield (
            key,
            {
                **{name: turn[name] for name in PIVOTS.names if name in turn},
                "prompt": text,
                "prompt_ids": prompt.token_ids,
                "prompt_messages": jsonvalues.dumps(state.messages),
                "tools": jsonvalues.dumps(state.tools) if state.tools else None,
                "demonstrations": jsonvalues.dumps(listed),
                "verifier": mined.verifier.name if verified and mined.verifier else None,
                "verifier_options": mined.verifier.options_json if verified and mined.verifier else None,
                "verifier_id": mined.verifier.verifier_id if verified and mined.verifier else None,
                "parser": mined.parser,
                "opened_reasoning": prompt.opened_reasoning,
                **_provenance(mined.policy),
            },
        )


def _problem(config: SelectConfig, text: str | None, token_ids: list[int], sampled_hash: str | None) -> str | None:
    if sampled_hash is not None and policy.hash_token_ids(token_ids) != sampled_hash:
        return "prompt_changed"
    if text is None:
        return "prompt_not_plain_text"
    if config.max_prompt_tokens is not None and len(token_ids) > config.max_prompt_tokens:
        return "prompt_too_long"
    return None


def _provenance(record: PolicyRecord) -> dict[str, Any]:
    return {
        "policy_id": record.policy_id,
        "sampling": jsonvalues.dumps(record.sampling),
        "tokenizer": record.tokenizer,
        "template_options": jsonvalues.dumps(record.template_options),
        "weights_hash": record.weights_hash,
        "tokenizer_hash": record.tokenizer_hash,
        "template_hash": record.template_hash,
    }


def _demonstrations(
    run: Path, config: SelectConfig, mined: _Mined, kept: pl.DataFrame, turns: pl.DataFrame
) -> dict[str, list[dict[str, Any]]]:
    """By the turn_id of the kept row: the usable demonstrations of states that have several turns."""
    if config.strategy == "all":
        return {}
    several = turns.filter(pl.col("state_id").is_in(kept.filter(pl.col("num_turns") > 1)["state_id"].implode()))
    usable = gate_states(run, several, mined.verifier) if mined.verifier else {}
    found: dict[str, list[dict[str, Any]]] = {}
    for state in state_messages(run, several):
        found.setdefault(state.turn["state_id"], []).append(_demonstration(state.turn, state.reply))
    rows = kept.filter(pl.col("num_turns") > 1).select("turn_id", "state_id").iter_rows()
    return {turn_id: [d for d in found[s] if s not in usable or _passes(d, usable[s])] for turn_id, s in rows}


def _passes(demonstration: dict[str, Any], gate: Any) -> bool:
    from pivotmine.actions import action_from_json

    return action_from_json(jsonvalues.dumps(demonstration["action"])) in gate.usable


def _demonstration(turn: dict[str, Any], reply: list[dict[str, Any]]) -> dict[str, Any]:
    return {"action": json.loads(turn["demonstration"]), "reply": reply, "turn_id": turn["turn_id"]}


def turns_first_states(run: Path) -> dict[str, str]:
    """The first state of each trajectory: what a trajectory without a task id is split by."""
    first = rundir.scan(run, "turns").filter(pl.col("turn_index") == 0)
    return dict(first.select("trajectory_id", "state_id").collect().iter_rows())


def _prompt_hashes(run: Path, record: PolicyRecord) -> dict[str, str]:
    parts = sorted((run / "rollouts" / record.policy_id).glob("*.parquet"))
    hashes = rundir.scan(run, "rollouts", parts).select("state_id", "prompt_hash").drop_nulls().unique()
    return dict(hashes.collect().iter_rows())


def _write(run: Path, config: SelectConfig, rows: Iterator[tuple[str, dict[str, Any]]]) -> dict[str, int]:
    """Both splits, some rows at a time, written beside their place and renamed together at the end."""
    folder = run / "pivots" / config.name
    folder.mkdir(parents=True, exist_ok=True)
    pending: dict[str, list[dict[str, Any]]] = {"train": [], "validation": []}
    counts = dict.fromkeys(pending, 0)
    writers = {
        split: pq.ParquetWriter(folder / f"{split}.parquet.tmp", PIVOTS, compression="zstd") for split in pending
    }

    def flush(split: str) -> None:
        writers[split].write_table(pa.Table.from_pylist(pending[split], schema=PIVOTS))
        pending[split].clear()

    for key, row in rows:
        split = "validation" if is_validation(key, config) else "train"
        pending[split].append(row)
        counts[split] += 1
        if len(pending[split]) == ROWS_PER_GROUP:
            flush(split)
    for split, writer in writers.items():
        flush(split)
        writer.close()
    for split in writers:
        (folder / f"{split}.parquet.tmp").replace(folder / f"{split}.parquet")
    return counts
