"""The summary of `extract`: counts, labels, and rejects with the place of the first."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pivotmine.errors import UserError
from pivotmine.escape import one_line
from pivotmine.run import rundir
from pivotmine_stages.command import OMITTED
from pivotmine_stages.extract import merge
from pivotmine_stages.extract.merge import BlockTotals

_LINES = (".jsonl", ".ndjson")
_MAX_DETAIL = 400
_MAX_REASONS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectCount:
    """The rejects of one reason."""

    rows: int
    """Rows of `rejects`."""
    turns: int | None
    """Turns that were lost; None if unknown."""
    first: str
    """Place and detail of the first reject."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractSummary:
    """What the sources hold."""

    dry_run: bool | None = field(default=None, metadata=OMITTED)
    """True for a dry run, else None."""
    trajectories: int
    segments: int
    messages: int
    """Distinct messages."""
    tools: int
    """Distinct lists of tools."""
    turns: int
    states: int
    demonstrations: int
    """Turns that are demonstrations."""
    demonstrated_states: int
    kinds: dict[str, int] | None = field(default=None, metadata=OMITTED)
    """Demonstrations by kind, `tool_call` and `message`; None in the summary of an older run."""
    formats: dict[str, int]
    """Trajectories by reader."""
    outcomes: dict[str, int]
    """Trajectories by outcome label, in the order of the labels; `None` counts those without a label."""
    min_outcome: float | None
    """Minimum outcome label of a demonstration; None if nothing is labelled, or if `all_failed`."""
    all_failed: bool
    """Whether every label is a failure."""
    outcome_keys: dict[str, int]
    """Labelled trajectories by the key of their label, or by their reader."""
    calls_without_tools: int
    """Native demonstrations that call a tool in a state that offers none."""
    states_without_user: int
    """States that hold no user message."""
    undocumented_masks: int
    """Turns with `mask: false`, which has no documented meaning and excludes nothing."""
    rejects: dict[str, RejectCount]
    """By reason, the most frequent first."""
    seconds: float
    prompt_tokens: int | None = field(default=None, metadata=OMITTED)
    """Tokens of the prompts of all turns; None unless a dry run has a tokenizer."""
    distinct_prefix_tokens: int | None = field(default=None, metadata=OMITTED)
    """Tokens of all distinct prefixes of these prompts."""
    longest_prompt_tokens: int | None = field(default=None, metadata=OMITTED)
    prompt_characters: int | None = field(default=None, metadata=OMITTED)
    """The same in characters; None unless a dry run has no tokenizer."""
    distinct_prefix_characters: int | None = field(default=None, metadata=OMITTED)
    longest_prompt_characters: int | None = field(default=None, metadata=OMITTED)
    max_model_len: int | None = field(default=None, metadata=OMITTED)
    """Context of the model in the tokenizer's folder, in tokens; None without a dry run or without a model there."""
    too_long: int | None = field(default=None, metadata=OMITTED)
    """Turns whose prompt fills this context."""


def summarise(
    folder: Path, done: BlockTotals, states_without_user: int, min_outcome: float | None, started: float
) -> ExtractSummary:
    """Summarise the tables in a folder. min_outcome: infinity if every label is a failure."""
    num_states, num_demonstrations, num_demonstrated = _demonstrated(folder)
    labels = sorted(done.outcomes, key=lambda label: (label is None, label or 0.0))
    counts: dict[str, Any] = {name: done.counts[name] for name in rundir.EXTRACT_TABLES}
    ordered = sorted(done.rejects.items(), key=lambda item: (-item[1].rows, item[0]))
    return ExtractSummary(
        **counts,
        states=num_states,
        demonstrations=num_demonstrations,
        demonstrated_states=num_demonstrated,
        kinds=_kinds(folder),
        formats=dict(sorted(done.formats.items())),
        outcomes={str(label): done.outcomes[label] for label in labels},
        min_outcome=None if min_outcome == math.inf else min_outcome,
        all_failed=min_outcome == math.inf,
        outcome_keys=dict(sorted(done.outcome_keys.items())),
        calls_without_tools=done.calls_without_tools,
        states_without_user=states_without_user,
        undocumented_masks=done.undocumented_masks,
        rejects={
            reason: RejectCount(rows=one.rows, turns=one.turns, first=_place(*one.first)) for reason, one in ordered
        },
        seconds=round(time.monotonic() - started, 2),
    )


def from_json(stored: dict[str, Any]) -> ExtractSummary:
    """Return the summary that a manifest holds."""
    found = dict(stored)
    found["rejects"] = {reason: RejectCount(**one) for reason, one in stored["rejects"].items()}
    return ExtractSummary(**found)


def _place(source: str, index: int | None, detail: str | None) -> str:
    """Describe the place of a reject, with its detail."""
    if index is None:
        place = source
    elif any(suffix in _LINES for suffix in Path(source).suffixes):
        place = f"{source}, line {index + 1}"
    else:
        place = f"{source}, record {index}"
    return one_line(f"{place}: {detail}" if detail else place)[:_MAX_DETAIL]


def nothing_usable(summary: ExtractSummary, rejects: Path) -> UserError:
    """Return the error of a run without demonstrations: every reason with its count and first place."""
    reasons = [f"{reason} {count.rows:,} (first: {count.first})" for reason, count in summary.rejects.items()]
    more = f"; and {len(reasons) - _MAX_REASONS} other reasons" if len(reasons) > _MAX_REASONS else ""
    if summary.turns:
        begin = (
            "the only turn is not a demonstration"
            if summary.turns == 1
            else f"none of the {summary.turns:,} turns is a demonstration"
        )
    else:
        num_records = sum(count.rows for count in summary.rejects.values())
        begin = "the only record was rejected" if num_records == 1 else f"nothing is left of {num_records:,} records"
    remedy = ""
    if merge.LOW_OUTCOME in summary.rejects:
        remedy = "; --min-outcome NUMBER sets which outcome label is good enough"
    said = "; ".join(reasons[:_MAX_REASONS])
    return UserError(f"{begin}: {said}{more}{remedy}; every reject is a row in {rejects}")


def _demonstrated(folder: Path) -> tuple[int, int, int]:
    """Count states, demonstrations and demonstrated states, on disk if there are many."""
    query = """
        with states as (
            select count(*) filter (reject_reason is null) as demonstrations
            from read_parquet(?) group by state_id::uuid
        )
        select count(*), coalesce(sum(demonstrations), 0)::bigint, count(*) filter (demonstrations > 0) from states
    """
    files = [str(path) for path in rundir.table_files(folder, "turns")]
    counts = merge.connect(folder).execute(query, [files]).fetchone()
    assert counts is not None
    return counts


def _kinds(folder: Path) -> dict[str, int]:
    query = "select kind, count(*) from read_parquet(?) where reject_reason is null group by kind order by kind desc"
    files = [str(path) for path in rundir.table_files(folder, "turns")]
    return dict(merge.connect(folder).execute(query, [files]).fetchall())
