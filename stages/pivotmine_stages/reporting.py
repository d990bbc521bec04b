"""What a person reads: each stage's summary as text, and tables with foreign text made inert."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from pivotmine.inert import inert

MAX_CELL = 80
MAX_ROWS = 200


def extract_report(s: Mapping[str, Any]) -> str:
    """Summary of extract."""
    needed = "no label makes" if s["all_failed"] else f"label {s['min_outcome']} or better makes"
    labels = ", ".join(f"{'unlabelled' if k == 'None' else k}: {v:,}" for k, v in s["outcomes"].items())
    lines = [
        f"{s['trajectories']:,} trajectories, {s['segments']:,} segments, {s['messages']:,} distinct messages",
        f"{s['turns']:,} turns in {s['states']:,} states",
        f"outcomes {labels}; {needed} a demonstration"
        if set(s["outcomes"]) != {"None"}
        else "outcomes: unlabelled, all count as good",
        f"{s['demonstrations']:,} of {s['turns']:,} turns are demonstrations, of {s['demonstrated_states']:,} states",
        _rejects({k: _rows_and_turns(v) for k, v in s["rejects"].items()}),
        *(_estimated(s) if s.get("dry_run") else []),
        f"{s['seconds']} s",
    ]
    return _block("extract", lines)


def _estimated(s: Mapping[str, Any]) -> list[str]:
    unit = "tokens" if "prompt_tokens" in s else "characters"
    total, distinct = s[f"prompt_{unit}"], s[f"distinct_prefix_{unit}"]
    formats = ", ".join(f"{name} {number:,}" for name, number in s["formats"].items())
    return [
        f"formats: {formats}",
        f"prompts of {total:,} {unit}, {distinct:,} in distinct prefixes, without what a chat template adds",
        "dry run: nothing was written",
    ]


def _rows_and_turns(count: Mapping[str, int | None]) -> str:
    rows, turns = count["rows"], count["turns"]
    return f"{rows:,}" if turns in (rows, None) else f"{rows:,} ({turns:,} turns)"


def rollout_report(s: Mapping[str, Any]) -> str:
    """Summary of rollout."""
    done, speed = s["sampled"], s["sampling_s"] or None
    sampled = f"sampled {done.get('samples', 0):,} actions in {done.get('states', 0):,} states"
    if speed and done:
        rates = f"{done['states'] / speed:,.1f} states/s, {done['tokens'] / speed:,.0f} tokens/s"
        sampled += f": {done['tokens']:,} tokens, {rates}"
    lines = [
        f"policy {s['policy_id']}",
        f"{s['wanted_states']:,} states, {s['wanted_samples']:,} samples wanted, {s['missing_samples']:,} missing now",
        sampled,
        _prompt_tokens(done) if done else "",
        _rejects(s["rejects"]),
        f"{s['seconds']} s",
    ]
    return _block("rollout", lines)


def _prompt_tokens(done: Mapping[str, int]) -> str:
    return f"{done['prompt_tokens']:,} prompt tokens, {done['cached_tokens']:,} of them from the prefix cache"


def score_report(s: Mapping[str, Any]) -> str:
    """Summary of score."""
    classes, mean = s["classes"], s["mean"]
    lines = [
        f"{s['scored']:,} of {s['samples']:,} samples scored by {s['verifier_id']}",
        f"{s['states']:,} states: {_classes(classes)}" + ("" if mean is None else f"; mean reward {mean:.3f}"),
        "outcomes " + (", ".join(f"{k} {v:,}" for k, v in s["outcomes"].items()) or "none"),
        _rejects(s["rejects"]),
        f"{s['seconds']} s",
    ]
    return _block("score", lines)


def _classes(classes: Mapping[str, int]) -> str:
    named = ["never", "sometimes", "always", *(["constant"] if classes.get("constant") else [])]
    return ", ".join(f"{name} {classes.get(name, 0):,}" for name in named)


def select_report(s: Mapping[str, Any]) -> str:
    """Summary of select."""
    lines = [
        f"pivots/{s['name']}: {s['train']:,} training and {s['validation']:,} validation rows",
        f"of {s['candidates']:,} candidates",
        _rejects(s["rejects"]),
        f"{s['seconds']} s",
    ]
    return _block("select", lines)


REPORTS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "extract": extract_report,
    "rollout": rollout_report,
    "score": score_report,
    "select": select_report,
}


def closing(run: Path, s: Mapping[str, Mapping[str, Any]], program: str = "pivotmine") -> str:
    """The end of `pivotmine run`: what was found, what it cost, what to type next (as `program` is called here)."""
    classes, done, stored = s["score"]["classes"], s["rollout"]["sampled"], s["rollout"]["stored"]
    pivots = s["select"]["train"] + s["select"]["validation"]
    at, name = shlex.quote(str(run)), s["select"]["name"]
    lines = [
        f"{s['score']['states']:,} states: {_classes(classes)}",
        f"{pivots:,} pivots in {at}/pivots/{name}",
        *([] if pivots else [_why_none(classes)]),
        f"cost: {stored['samples']:,} samples, {stored['tokens']:,} tokens generated, "
        f"{stored['prompt_tokens']:,} prompt tokens",
        f"sampled by this command: {done.get('samples', 0):,}, in {s['rollout']['sampling_s']:,} s",
        "next:",
        f'  {program} sql {at} "select reward_class, count(*) as states, avg(mean) as mean from profiles group by all"',
        f'  {program} sql {at} "select stage, reason, count(*) as rows from rejects group by all order by all"',
        f"  {program} select {at} --name mixed --strategy mixed",
    ]
    return _block("run", lines)


def _why_none(classes: Mapping[str, int]) -> str:
    if not classes:
        return "no pivot: nothing could be scored; the rejects say why"
    if set(classes) == {"never"}:
        return (
            "no pivot: the policy fails in every state (all samples have reward 0); GRPO has nothing to learn from here"
        )
    if set(classes) == {"always"}:
        return "no pivot: the policy succeeds in every state; GRPO has nothing to learn from here"
    return "no pivot: no state has differing rewards and a mean below --max-mean"


def _rejects(counts: Mapping[str, Any]) -> str:
    listed = ", ".join(f"{k} {v:,}" if isinstance(v, int) else f"{k} {v}" for k, v in counts.items())
    return f"rejects: {listed}" if listed else "rejects: none"


def _block(title: str, lines: list[str]) -> str:
    shown = [line for line in lines if line]
    return "\n".join(f"{title if i == 0 else '':<9} {inert(line)}" for i, line in enumerate(shown))


def as_text_table(table: pa.Table) -> str:
    """A table for a terminal: cells cut at 80 characters, at most 200 rows, then the number of rows."""
    names = [_cell(name) for name in table.column_names]
    shown_rows = table.slice(0, MAX_ROWS)
    rows = list(zip(*([_cell(value) for value in column.to_pylist()] for column in shown_rows.columns), strict=True))
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [names, *rows]
    ]
    rule = "  ".join("-" * width for width in widths)
    shown = "" if table.num_rows <= MAX_ROWS else f", the first {MAX_ROWS} shown; --json prints all"
    return "\n".join([lines[0], rule, *lines[1:], f"({table.num_rows:,} rows{shown})"])


def _cell(value: Any) -> str:
    if value is None:
        return "null"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    text = inert(text)
    return text if len(text) <= MAX_CELL else f"{text[: MAX_CELL - 3]}..."


def as_json_lines(table: pa.Table) -> str:
    """One JSON object a row; NaN and the infinities, which JSON has not, are null."""
    rows = (row for batch in table.to_batches() for row in batch.to_pylist())
    return "\n".join(json.dumps(_finite(row), ensure_ascii=True, default=str) for row in rows)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value
