"""What `extract` tells: counts, where it found them, and why it left the rest out."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

from pivotmine.errors import UserError
from pivotmine.escape import one_line
from pivotmine.run import rundir
from pivotmine_stages.extract import merge
from pivotmine_stages.extract.merge import BlockTotals

_LINES = (".jsonl", ".ndjson")
_MAX_DETAIL = 400
_MAX_REASONS = 12


def summarise(folder: Path, done: BlockTotals, states_without_user: int, min_outcome: float | None) -> dict[str, Any]:
    """The summary without `seconds`: counts of rows by table and of states, and

    | key | what it counts |
    |---|---|
    | `kinds` | demonstrations by kind, `tool_call` and `message` |
    | `formats` | trajectories by reader |
    | `outcome_keys` | labelled trajectories by the key of their label, or by their reader |
    | `calls_without_tools` | native demonstrations that call a tool in a state that offers none |
    | `states_without_user` | states that hold no user message |
    | `undocumented_masks` | turns under a false `mask`, which nobody documents and which leaves nothing out |
    | `rejects` | by reason, the commonest first: rows, turns lost (None: not known), first place with its detail |
    """
    ordered = sorted(done.rejects.items(), key=lambda item: (-item[1].rows, item[0]))
    return {
        **{name: done.counts[name] for name in rundir.EXTRACT_TABLES},
        **_demonstrated(folder),
        "kinds": _kinds(folder),
        "formats": dict(sorted(done.formats.items())),
        **_outcomes(done.outcomes, min_outcome),
        "outcome_keys": dict(sorted(done.outcome_keys.items())),
        "calls_without_tools": done.calls_without_tools,
        "states_without_user": states_without_user,
        "undocumented_masks": done.undocumented_masks,
        "rejects": {
            reason: {"rows": one.rows, "turns": one.turns, "first": _place(*one.first)} for reason, one in ordered
        },
    }


def _place(source: str, index: int | None, detail: str | None) -> str:
    """The place of a reject in words, with its detail."""
    if index is None:
        place = source
    elif any(suffix in _LINES for suffix in Path(source).suffixes):
        place = f"{source}, line {index + 1}"
    else:
        place = f"{source}, record {index}"
    return one_line(f"{place}: {detail}" if detail else place)[:_MAX_DETAIL]


def nothing_usable(summary: dict[str, Any], rejects: Path) -> UserError:
    """The error of a run without a demonstration: every reason with its count and first place."""
    reasons = [
        f"{reason} {count['rows']:,} (first: {count['first']})" for reason, count in list(summary["rejects"].items())
    ]
    more = f"; and {len(reasons) - _MAX_REASONS} other reasons" if len(reasons) > _MAX_REASONS else ""
    if summary["turns"]:
        begin = (
            "the only turn is not a demonstration"
            if summary["turns"] == 1
            else f"none of the {summary['turns']:,} turns is a demonstration"
        )
    else:
        num_records = sum(count["rows"] for count in summary["rejects"].values())
        begin = "the only record was rejected" if num_records == 1 else f"nothing is left of {num_records:,} records"
    remedy = ""
    if merge.LOW_OUTCOME in summary["rejects"]:
        remedy = "; --min-outcome NUMBER sets which outcome label is good enough"
    said = "; ".join(reasons[:_MAX_REASONS])
    return UserError(f"{begin}: {said}{more}{remedy}; every reject is a row in {rejects}")


def _demonstrated(folder: Path) -> dict[str, int]:
    """Counts of turns by their states; states are told apart on disk where they are many."""
    names = ("states", "demonstrations", "demonstrated_states")
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
    return dict(zip(names, counts, strict=True))


def _kinds(folder: Path) -> dict[str, int]:
    query = "select kind, count(*) from read_parquet(?) where reject_reason is null group by kind order by kind desc"
    files = [str(path) for path in rundir.table_files(folder, "turns")]
    return dict(merge.connect(folder).execute(query, [files]).fetchall())


def _outcomes(outcomes: Counter[float | None], min_outcome: float | None) -> dict[str, Any]:
    ordered = sorted(outcomes, key=lambda label: (label is None, label or 0.0))
    return {
        "outcomes": {str(label): outcomes[label] for label in ordered},
        "min_outcome": None if min_outcome == math.inf else min_outcome,
        "all_failed": min_outcome == math.inf,
    }
