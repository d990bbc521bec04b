"""One pivot as text for a person: what was demonstrated, what the policy did, and what it earned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

from pivotmine.escape import inert
from pivotmine.messages import text_of
from pivotmine_stages.profiles.budgets import scores_of_states
from pivotmine_stages.report.details import action_of, on_one_line, reward_text

WIDTH = 84
LABEL = 28
MAX_LINES = 8


def show_pivot(run: Path, name: str) -> str | None:
    """Describe the training row of `pivots/<name>` with the greatest variance (ties: the first); None without rows."""
    path = run / "pivots" / name / "train.parquet"
    if not path.exists():
        return None
    rows = pl.scan_parquet(path, glob=False).filter(pl.col("variance") == pl.col("variance").max()).head(1).collect()
    if rows.is_empty():
        return None
    pivot = rows.row(0, named=True)
    facts = [
        f"{pivot['num_samples']} samples",
        f"mean reward {pivot['mean']:.2f}",
        f"domain {pivot['domain'] or 'none'}",
    ]
    actions = (json.dumps(demonstration["action"]) for demonstration in json.loads(pivot["demonstrations"]))
    demonstrated = dict.fromkeys(actions)  # each once
    last = json.loads(pivot["prompt_messages"])[-1]
    lines = [
        f"pivot     state {pivot['state_id']}: {', '.join(facts)}",
        _line("sees", f"{last['role']}: {text_of(last.get('content')).strip()}"),
        *[_line("demonstrated", on_one_line(action_of(text))) for text in demonstrated],
        *_samples(run, pivot),
    ]
    return "\n".join(lines)


def _samples(run: Path, pivot: dict[str, Any]) -> list[str]:
    """Return a line for each group of equal samples, the best and most frequent first."""
    budget = json.loads(pivot["sampling"]).get("max_new_tokens")
    ids = (pivot["policy_id"], pivot["scores_verifier_id"])
    scores = scores_of_states(run, *ids, budget, pl.Series([pivot["state_id"]]))
    grouped = (
        scores.group_by("reward", "outcome", "action")
        .len()
        .sort(["reward", "len", "action"], descending=[True, True, False], nulls_last=True)
    )
    lines = [
        _line(f"{row['len']} x {reward_text(row['reward'])} {row['outcome']}", on_one_line(action_of(row["action"])))
        for row in grouped.head(MAX_LINES).iter_rows(named=True)
    ]
    more = len(grouped) - MAX_LINES
    return [*lines, *([_line("", f"and {more} more")] if more > 0 else [])]


def _line(label: str, text: str) -> str:
    flat = inert(" ".join(text.split()))
    return f"{'':<10}{label:<{LABEL}}  {flat if len(flat) <= WIDTH else flat[: WIDTH - 3] + '...'}"
