"""One pivot as a person looks at it: what was demonstrated, what the policy did instead, and what it earned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

from pivotmine.actions import Action, action_from_json
from pivotmine.messages import text_of
from pivotmine_stages.cli.reports import inert
from pivotmine_stages.profiles.budgets import scores_of_states

WIDTH = 84
LABEL = 28
MAX_LINES = 8


def show_pivot(run: Path, name: str) -> str | None:
    """The training row of `pivots/<name>` with the greatest variance (ties: the first); None where there is none."""
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
    last = json.loads(pivot["prompt_messages"])[-1]
    lines = [
        f"pivot     state {pivot['state_id']}: {', '.join(facts)}",
        _line("sees", f"{last['role']}: {text_of(last.get('content')).strip()}"),
        *[_line("demonstrated", _said(action)) for action in _demonstrated(pivot)],
        *_samples(run, pivot),
    ]
    return "\n".join(lines)


def _demonstrated(pivot: dict[str, Any]) -> list[Action]:
    texts = [json.dumps(demonstration["action"]) for demonstration in json.loads(pivot["demonstrations"])]
    return [action_from_json(text) for text in dict.fromkeys(texts)]


def _samples(run: Path, pivot: dict[str, Any]) -> list[str]:
    """Equal samples are one line, the best and most frequent first."""
    budget = json.loads(pivot["sampling"]).get("max_new_tokens")
    ids = (pivot["policy_id"], pivot["scores_verifier_id"])
    scores = scores_of_states(run, *ids, budget, pl.Series([pivot["state_id"]]))
    grouped = (
        scores.group_by("reward", "outcome", "action")
        .len()
        .sort(["reward", "len", "action"], descending=[True, True, False], nulls_last=True)
    )
    lines = [
        _line(f"{row['len']} x {_reward(row['reward'])} {row['outcome']}", _said(action_from_json(row["action"])))
        for row in grouped.head(MAX_LINES).iter_rows(named=True)
    ]
    more = len(grouped) - MAX_LINES
    return [*lines, *([_line("", f"and {more} more")] if more > 0 else [])]


def _reward(reward: float | None) -> str:
    return "null" if reward is None else f"{reward:.2f}"


def _said(action: Action) -> str:
    """An action on one line: calls as calls, text as text."""
    calls = [f"{call.name}({_arguments(call.arguments)})" for call in action.tool_calls]
    broken = [f"unreadable: {piece.text}" for piece in action.unparsed]
    return " ".join([*([action.message] if action.message and not calls else []), *calls, *broken]) or "(nothing)"


def _arguments(arguments: dict[str, Any]) -> str:
    return ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in arguments.items())


def _line(label: str, text: str) -> str:
    flat = inert(" ".join(text.split()))
    return f"{'':<10}{label:<{LABEL}}  {flat if len(flat) <= WIDTH else flat[: WIDTH - 3] + '...'}"
