"""The data card beside a pivot dataset: what was mined from what, by which rule, and everything that was dropped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from pivotmine import rundir
from pivotmine.verifiers import VerifierSpec
from pivotmine_stages.policies import PolicyRecord
from pivotmine_stages.selection import SelectConfig


def data_card(
    run: Path,
    config: SelectConfig,
    record: PolicyRecord,
    verifier: VerifierSpec | None,
    summary: Mapping[str, Any],
) -> str:
    """The card as Markdown, with the header that dataset hubs read. All foreign text is escaped."""
    return "\n".join(
        [
            *_header(),
            f"# Pivots: {_cell(config.name)}",
            "",
            f"{summary['train']} training and {summary['validation']} validation rows",
            f"of {summary['candidates']} candidates.",
            "A row is one state of a recorded trajectory; columns as in the project's `data/README.md`.",
            "",
            "## Mined from",
            "",
            *_table(("source", "format", "trajectories", "turns"), _sources(run)),
            "",
            "## Policy",
            "",
            *_table(
                ("what", "value"),
                [(k, json.dumps(v) if isinstance(v, dict) else v) for k, v in asdict(record).items()],
            ),
            "",
            "## Verifier",
            "",
            *_verifier(verifier),
            "",
            "## Rule",
            "",
            *_table(("setting", "value"), list(asdict(config).items())),
            "",
            "Rows are split by task (by first state where a trajectory names no task), never one by one.",
            "",
            "## Rejected, by stage and reason",
            "",
            *_table(("stage", "reason", "rows", "turns"), _rejects(run, config, record, verifier, summary)),
            "",
        ]
    )


def _header() -> list[str]:
    files = [f"  - split: {split}\n    path: {split}.parquet" for split in ("train", "validation")]
    return ["---", "configs:", "- config_name: default", "  data_files:", *files, "---", ""]


def _sources(run: Path) -> list[tuple[Any, ...]]:
    grouped = rundir.scan(run, "trajectories").group_by("source", "format", maintain_order=True)
    return grouped.agg(pl.len().alias("trajectories"), pl.col("num_turns").sum()).collect().rows()


def _verifier(verifier: VerifierSpec | None) -> list[str]:
    if verifier is None:
        return ["None: no row was scored."]
    return _table(
        ("what", "value"),
        [("name", verifier.name), ("id", verifier.verifier_id), ("options", verifier.options_json)],
    )


def _rejects(
    run: Path,
    config: SelectConfig,
    record: PolicyRecord,
    verifier: VerifierSpec | None,
    summary: Mapping[str, Any],
) -> list[tuple[Any, ...]]:
    """Counts of every reject of the stages that led here: of extract, and of this policy and verifier."""
    identity = {"policy_id": record.policy_id, "verifier_id": verifier.verifier_id if verifier else None}
    select = {**asdict(config), "policy": identity["policy_id"], "verifier": identity["verifier_id"]}
    folders = [
        *(run / "rejects").glob("extract-*"),
        rundir.rejects_dir(run, "rollout", identity),
        rundir.rejects_dir(run, "score", identity),
        rundir.rejects_dir(run, "select", select),
    ]
    files = sorted(path for folder in folders for path in folder.glob("*.parquet"))
    counted = (
        rundir.scan(run, "rejects", files)
        .group_by("stage", "reason")
        .agg(pl.len().alias("rows"), pl.col("num_turns").sum())
    )
    order = pl.col("stage").replace_strict({"extract": 0, "rollout": 1, "score": 2, "select": 3}, return_dtype=pl.Int8)
    return counted.sort(order, "reason").collect().rows()


def _table(head: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> list[str]:
    lines = [f"| {' | '.join(_cell(value) for value in row)} |" for row in rows]
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *lines]


def _cell(value: Any) -> str:
    """Foreign text as inert Markdown on one line."""
    text = "" if value is None else str(value)
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    for character in "\\`*_[]<>|#!":
        text = text.replace(
            character, f"\\{character}" if character not in "<>" else {"<": "&lt;", ">": "&gt;"}[character]
        )
    return text[:300]
