"""Runs for tests: trajectories through the real extract, rollouts written row by row.

The tests of score and select must know every sample, also malformed and truncated ones. Their rollouts are therefore
written as `rollout` would store them; no engine is imitated.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pivotmine.errors import UserError
from pivotmine.run import rundir
from pivotmine.run.parts import PartsManifest, file_digest
from pivotmine_stages.extract.stage import ExtractConfig, extract
from pivotmine_stages.policy.record import PolicyRecord


def tool(name: str, **properties: Any) -> dict[str, Any]:
    """A tool definition in OpenAI form; all arguments but those with a default are required."""
    required = [key for key, schema in properties.items() if "default" not in schema]
    parameters = {"type": "object", "properties": properties, "required": required}
    return {"type": "function", "function": {"name": name, "description": f"To {name}.", "parameters": parameters}}


TOOLS = [tool("find", id={"type": "string"}, deep={"type": "boolean", "default": False}), tool("stop")]


def said(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def called(name: str, **arguments: Any) -> dict[str, Any]:
    """An assistant message with one call."""
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": function}]}


def answered(text: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": "c", "content": text}


def trajectory(*messages: dict[str, Any], **labels: Any) -> dict[str, Any]:
    return {"messages": list(messages), "tools": TOOLS, **labels}


def make_run(folder: Path, *records: dict[str, Any], name: str = "source.jsonl") -> Path:
    """A run of these trajectories, from one source with a record per line."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / name
    source.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    with suppress(UserError):  # raised for a run without a demonstration, which is complete nevertheless
        extract(ExtractConfig(sources=(source,), min_outcome=1.0), folder / "run")
    rundir.require_run(folder / "run")
    return folder / "run"


def states_of(run: Path) -> dict[str, str]:
    """State ids by the last message before the turn: `user: hello`."""
    messages = {row["message_id"]: json.loads(row["message"]) for row in rows(run, "messages")}
    segments = {row["segment_id"]: row["message_ids"] for row in rows(run, "segments")}
    last = {turn["state_id"]: segments[turn["segment_id"]][turn["position"] - 1] for turn in rows(run, "turns")}
    return {f"{messages[m]['role']}: {messages[m]['content']}": state_id for state_id, m in last.items()}


def rows(run: Path, table: str) -> list[dict[str, Any]]:
    """A table of the run."""
    return rundir.scan(run, table).collect().to_dicts()


def policy_record(**fields: Any) -> PolicyRecord:
    known: dict[str, Any] = {
        "policy_id": "policy-1",
        "name": "policy",
        "engine": "transformers",
        "model": "/models/policy",
        "adapter": None,
        "tokenizer": None,
        "template_options": {},
        "sampling": {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_new_tokens": 64},
        "weights_hash": "w",
        "tokenizer_hash": None,
        "template_hash": None,
        "parser": "hermes",
        "seed": 0,
    }
    return PolicyRecord(**{**known, **fields})


def remember(run: Path, record: PolicyRecord) -> None:
    """Write the policy's record where rollout would."""
    rundir.write_text(run / "rollouts" / record.policy_id / "policy.json", json.dumps(asdict(record)))


def sample(text: str, **columns: Any) -> dict[str, Any]:
    """A policy's text, with the columns of `rollouts` that scoring needs."""
    return {"text": text, "message": None, "finish_reason": "stop", "opened_reasoning": False, **columns}


def call_text(name: str, **arguments: Any) -> str:
    """A call in the Hermes convention."""
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def add_rollouts(
    run: Path, samples: dict[str, list[dict[str, Any]]], *, policy_id: str = "policy-1", part: int = 0, first: int = 0
) -> None:
    """Write a part of rollouts. samples: by state id; their indices start at `first`."""
    stored = [
        {"policy_id": policy_id, "state_id": state_id, "sample_index": index, "num_tokens": 1, **row}
        for state_id, found in samples.items()
        for index, row in enumerate(found, first)
    ]
    folder = run / "rollouts" / policy_id
    manifest = PartsManifest(run, folder, "0of1")
    manifest.write(folder / f"part-0of1-{part:06d}.parquet", rundir.table_of_rows("rollouts", stored))


def take_as_written(run: Path, path: Path) -> None:
    """Put the digest of a part that a test has changed into the manifests."""
    for manifest in (run / "manifests").glob("*.json"):
        body = json.loads(manifest.read_text(encoding="utf-8"))
        if path.relative_to(run).as_posix() in body.get("parts", {}):
            body["parts"][path.relative_to(run).as_posix()] = file_digest(path)
            rundir.write_text(manifest, json.dumps(body))


def reject_counts(run: Path, stage: str) -> dict[str, int]:
    """Rejects of a stage by reason."""
    reasons = [row["reason"] for row in rows(run, "rejects") if row["stage"] == stage]
    return {reason: reasons.count(reason) for reason in sorted(set(reasons))}
