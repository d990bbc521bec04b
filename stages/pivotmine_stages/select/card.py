"""The data card next to a pivot dataset: its sources, its rule, its rows, and everything that was dropped."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, astuple
from pathlib import Path, PurePath
from typing import Any

import polars as pl

from pivotmine import strict_json
from pivotmine.counts import counted
from pivotmine.escape import public_address
from pivotmine.run import rundir
from pivotmine.run.tables import TABLES
from pivotmine.verifiers import VerifierSpec
from pivotmine.verifiers.composed.auto import AutoOptions
from pivotmine_stages.policy.record import PolicyRecord
from pivotmine_stages.profiles.never_states import MIN_LOGPROB, NeverStates
from pivotmine_stages.select.dataset import DEMONSTRATIONS, SPLITS
from pivotmine_stages.select.draw import Drawn
from pivotmine_stages.select.options import SelectConfig
from pivotmine_stages.select.samples import SampleCost
from pivotmine_stages.select.summary import SelectSummary

MAX_SUSPECTS = 20
"""Maximum number of suspects in a card."""
MAX_CELL = 1000
"""Maximum number of characters shown of one value."""
_STAGES = pl.Enum(["extract", "rollout", "score", "select"])
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&commat;", "://": "&colon;//", "www.": "www&period;"}


def data_card(
    run: Path, config: SelectConfig, record: PolicyRecord, verifier: VerifierSpec | None, summary: SelectSummary
) -> str:
    """Return the card as Markdown, with the header that dataset hubs read. All foreign text is escaped."""
    weighted = "Rows have weights: a trainer draws them by `weight`, with replacement."
    twin = summary.twin and f"`{summary.twin.name}` is its control: as many rows, drawn at random."
    return "\n".join(
        [
            *_header(summary.train, summary.validation, summary.demonstrations.rows),
            f"# Pivots: {_cell(config.name)}",
            "",
            f"{summary.train} training and {summary.validation} validation rows",
            f"of {summary.candidates} candidates.",
            "A row is one state of a recorded trajectory; columns as in the project's `data/README.md`.",
            f"Choosing them took {_cost(summary.cost)}.",
            *([] if config.target_mean is None else [weighted]),
            *([twin] if twin else []),
            "",
            *_table(("domain", "kind", "train", "validation", "mean reward"), _rows_by_domain(run, config.name)),
            "",
            *_demonstrations(summary.demonstrations),
            *_origin(run, config, record, verifier),
            *_never(summary),
            "## Rejected, by stage and reason",
            "",
            *_table(("stage", "reason", "rows", "turns"), _rejects(run, config, record, verifier)),
            "",
        ]
    )


def twin_card(
    run: Path, config: SelectConfig, record: PolicyRecord, verifier: VerifierSpec | None, summary: SelectSummary
) -> str:
    """Return the card of the control that `--twin` wrote."""
    twin = summary.twin
    assert twin is not None, "a selection without a twin has no such card"
    name = _cell(config.name)
    return "\n".join(
        [
            *_header(twin.train, twin.validation, summary.demonstrations.rows),
            f"# Control of pivots: {name}",
            "",
            f"{twin.train} training and {twin.validation} validation rows, as many of each domain in each split as",
            f"{name} has. They are random demonstrated states that the verifier can judge. No reward was looked at, so",
            f"some of them may be rows of {name} too.",
            f"Drawing them took no samples. Choosing the rows of {name} took {_cost(summary.cost)}.",
            "The demonstrations are the same. The row of a profiled state has its profile, for comparison.",
            *_left_out(twin.left_out),
            "",
            *_table(("domain", "kind", "train", "validation", "mean reward"), _rows_by_domain(run, twin.name)),
            "",
            *_origin(run, config, record, verifier),
        ]
    )


def _never(summary: SelectSummary) -> list[str]:
    lines: list[str] = []
    if (found := summary.deferred) is not None:
        words = NeverStates(found.states, found.expected).words()
        lines += ["## Never solved", "", f"{words}: they are deferred, not rejected.", ""]
    if summary.suspects:
        lines += [
            "## Suspects",
            "",
            f"{counted(len(summary.suspects), 'demonstration is', 'demonstrations are')} less likely than "
            f"{math.exp(MIN_LOGPROB):.0e}.",
            "A fault of format or verifier is likelier than difficulty.",
            "",
            *_table(("state", "log-probability"), map(astuple, summary.suspects[:MAX_SUSPECTS])),
            "",
        ]
    return lines


def _origin(run: Path, config: SelectConfig, record: PolicyRecord, verifier: VerifierSpec | None) -> list[str]:
    return [
        "## Mined from",
        "",
        *_table(("source", "format", "trajectories", "turns"), _sources(run)),
        "",
        "## Policy",
        "",
        *_table(("what", "value"), _named(asdict(record)).items()),
        "",
        "## Verifier",
        "",
        *_verifier(verifier),
        "",
        "## Rule",
        "",
        *_table(("setting", "value"), _named(asdict(config)).items()),
        "",
        "Rows are split by task (by first state where a trajectory names no task), never one by one.",
        "",
    ]


def _header(train: int, validation: int, demonstrations: int) -> list[str]:
    """Return what dataset hubs and `datasets` read. It leaves out empty splits, which `datasets` refuses to load."""
    rows = {"train": train, "validation": validation, DEMONSTRATIONS: demonstrations}
    files = [f"  - split: {split}\n    path: {split}.parquet" for split in rows if rows[split]]
    return ["---", "configs:", "- config_name: default", "  data_files:", *files, "---", ""] if files else []


def _cost(cost: SampleCost) -> str:
    tokens = "" if cost.tokens is None else f" ({cost.tokens} sampled tokens)"
    return f"{counted(cost.samples, 'sample')} in {counted(cost.states, 'state')}{tokens}"


def _demonstrations(found: Drawn) -> list[str]:
    if not found.rows:
        return []
    return [
        "## Demonstrations",
        "",
        f"{counted(found.rows, 'row')} in `{DEMONSTRATIONS}.parquet`, for a loss on demonstrated actions: a uniform",
        f"sample of the {found.states} demonstrated states that no held-out task has met, pivots or not.",
        "`reward_class` is the class of each; null if it was not profiled.",
        *_left_out(found.left_out),
        "",
    ]


def _left_out(counts: Mapping[str, int]) -> list[str]:
    if not counts:
        return []
    listed = ", ".join(f"{_cell(reason)} {count}" for reason, count in counts.items())
    return [f"Drawn, left out and replaced by others: {listed}."]


def _rows_by_domain(run: Path, name: str) -> list[tuple[Any, ...]]:
    folder = run / "pivots" / name
    splits = [
        rundir.scan(run, "pivots", [folder / f"{split}.parquet"]).select("domain", "kind", "mean", split=pl.lit(split))
        for split in SPLITS
    ]
    grouped = pl.concat(splits).group_by("domain", "kind")
    counts = [(pl.col("split") == split).sum().alias(split) for split in SPLITS]
    return grouped.agg(*counts, pl.col("mean").mean().round(4)).sort("domain", "kind").collect().rows()


def _sources(run: Path) -> list[tuple[Any, ...]]:
    grouped = rundir.scan(run, "trajectories").group_by("source", "format", maintain_order=True)
    rows = grouped.agg(pl.len().alias("trajectories"), pl.col("num_turns").sum()).collect().rows()
    return [(_named(source), *counts) for source, *counts in rows]


def _verifier(verifier: VerifierSpec | None) -> list[str]:
    if verifier is None:
        return ["None: no row was scored."]
    what = [("name", verifier.name), ("id", verifier.verifier_id)]
    if not isinstance(verifier.options, AutoOptions):
        return _table(("what", "value"), [*what, ("options", _options(verifier))])
    rules = [
        (
            ", ".join(rule.domains),
            ", ".join(rule.tools),
            rule.kind,
            rule.verifier.verifier_id,
            _options(rule.verifier),
        )
        for rule in verifier.options.rules
    ]
    rules_table = _table(("domain", "tool", "kind", "verifier", "options"), rules)
    return [
        *_table(("what", "value"), what),
        "",
        "The first rule that fits a turn names its verifier:",
        "",
        *rules_table,
    ]


def _options(verifier: VerifierSpec) -> str:
    return strict_json.dumps(_named(strict_json.loads(verifier.options_json)))


def _named(value: Any) -> Any:
    """Return a setting as the card shows it, without places on the maker's machine.

    An absolute path is shortened to its name, an address to its public part. The card has the hashes too.
    """
    if isinstance(value, dict):
        return {key: _named(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_named(inner) for inner in value]
    if isinstance(value, Path):
        return _named(str(value))
    if not isinstance(value, str):
        return value
    return PurePath(value).name or value if value.startswith(("/", "~")) else public_address(value)


def _rejects(
    run: Path, config: SelectConfig, record: PolicyRecord, verifier: VerifierSpec | None
) -> list[tuple[Any, ...]]:
    """Count the rejects of all stages behind this dataset: of extract, and of this policy, verifier and name."""
    own = rundir.rejects_dir(run, "select", {"name": config.name}).glob("*.parquet")
    files = [*rundir.rejects_before(run, record.policy_id, verifier and verifier.verifier_id), *sorted(own)]
    distinct = rundir.scan(run, "rejects", files).unique(TABLES["rejects"].names)
    counted = distinct.group_by("stage", "reason").agg(pl.len().alias("rows"), pl.col("num_turns").sum())
    return counted.sort(pl.col("stage").cast(_STAGES), "reason").collect().rows()


def _table(head: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> list[str]:
    lines = [f"| {' | '.join(_cell(value) for value in row)} |" for row in rows]
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *lines]


def _cell(value: Any) -> str:
    """Return a value as inert Markdown on one line: foreign text cannot make markup, links or mentions."""
    if value is None:
        return "none"
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    text = text if len(text) <= MAX_CELL else f"{text[:MAX_CELL]}..."
    for plain, entity in _ENTITIES.items():
        text = text.replace(plain, entity)
    return "".join(f"\\{c}" if c in "\\`*_[]|#!~$" else c for c in text)
