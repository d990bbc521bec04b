"""What the figures mean: a verdict with its reasons, what to do next, and what looks wrong."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from pivotmine.counts import counted
from pivotmine.run import rundir
from pivotmine_stages.profiles.never_states import MIN_LOGPROB, unlikely_demonstrations
from pivotmine_stages.report.details import doing
from pivotmine_stages.report.subject import Subject

MIN_HELD_OUT = 20
"""Minimum rows of a useful held-out mean: with fewer, its 95 % interval is wider than 0.2 on each side."""
MAX_SUSPECTS = 50


class Finding(NamedTuple):
    level: str
    """`red`: do not train on this; `amber`: look first; `green`."""
    text: str


def findings(figures: Mapping[str, Any], dataset: Mapping[str, Any] | None, audit: str | None) -> list[Finding]:
    """Return everything that speaks against training on the selection, the worst first, and always the audit's verdict.

    If nothing speaks against it, the first finding is green and says so. figures: `aggregates`. dataset: {name, train,
    validation}, None if nothing is selected. audit: the verdict in one line, None without an audit.
    """
    totals, classes = figures["totals"], figures["classes"]
    outcomes = {row["outcome"]: row["samples"] for row in figures["outcomes"]}
    samples, too_long = max(totals["samples"] or 0, 1), totals["prompts_too_long"]
    found = [
        _share("calls offered no tools", totals["calls_without_tools"], totals["call_states"], 0.01, 0.2),
        _share("states with a prompt too long to sample", too_long, totals["states"] + too_long, 0.02, 0.4),
        _share("samples truncated", outcomes.get("truncated", 0), samples, 0.02, 0.2),
        _share("samples undecided", samples - (totals["scored"] or 0), samples, 0.05, 0.5),
        _share("states unscored", classes["unscored"], totals["states"], 0.02, 0.5),
        _share("samples with an unreadable call", outcomes.get("invalid_call", 0), samples, 0.05, 0.3),
        *_one_class(figures["by"]["domain"]),
        _audited(audit),
        _selected(classes, dataset),
        _held_out(dataset),
    ]
    shown = [finding for finding in found if finding is not None]
    if level_of(shown) == "green":
        shown.insert(0, Finding("green", "nothing speaks against training on this selection"))
    return sorted(shown, key=lambda finding: ("red", "amber", "green").index(finding.level))


def level_of(found: list[Finding]) -> str:
    """Return the worst level: red, amber or green."""
    return next((level for level in ("red", "amber") if any(one.level == level for one in found)), "green")


def _share(what: str, count: int, of: int, amber: float, red: float) -> Finding | None:
    share = count / of if of else 0.0
    if share < amber:
        return None
    return Finding("red" if share >= red else "amber", f"{share:.0%} of {what}: {count:,} of {of:,}")


def _one_class(domains: list[dict[str, Any]]) -> list[Finding]:
    plain = [one for one in domains if one["states"] >= MIN_HELD_OUT and one["group"]]
    alone = {
        one["group"]: kind for one in plain for kind in ("never", "always") if one["classes"].get(kind) == one["states"]
    }
    return [Finding("amber", f"domain {name}: every state is {kind}") for name, kind in sorted(alone.items())]


def _audited(audit: str | None) -> Finding:
    if audit is None:
        return Finding("amber", "the verifier was not audited on this run")
    level = {"fit": "green", "unfit": "red"}.get(audit.partition(":")[0], "amber")
    return Finding(level, f"audit: {audit}")


def _selected(classes: Mapping[str, int], dataset: Mapping[str, Any] | None) -> Finding | None:
    if not classes["sometimes"]:
        return Finding("red", "no state has rewards that differ: GRPO has nothing to learn from here")
    if dataset is None:
        return Finding("amber", "nothing is selected yet")
    return None if dataset["train"] else Finding("red", f"pivots/{dataset['name']} has no training row")


def _held_out(dataset: Mapping[str, Any] | None) -> Finding | None:
    if dataset is None or dataset["validation"] >= MIN_HELD_OUT:
        return None
    return Finding("amber", f"{dataset['validation']} held-out rows: below {MIN_HELD_OUT} their mean says little")


def next_steps(
    run: Path,
    figures: Mapping[str, Any],
    dataset: Mapping[str, Any] | None,
    audit: str | None,
    settings: Mapping[str, Any],
    flags: Mapping[str, str],
) -> list[dict[str, str]]:
    """Return the three most useful next steps: {why, command}. flags: `flags_of` the profile."""
    at = shlex.quote(str(run))
    of_policy, of_profile = (
        "".join(f" --{name} {shlex.quote(flags[name])}" for name in names if name in flags)
        for names in (("policy",), ("policy", "verifier"))
    )
    outcomes = {row["outcome"]: row["samples"] for row in figures["outcomes"]}
    totals, classes = figures["totals"], figures["classes"]
    truncated = outcomes.get("truncated", 0) / max(totals["samples"] or 0, 1)
    steps: list[dict[str, str]] = []
    if totals["calls_without_tools"]:
        why = "The policy cannot know tools that it is not offered."
        steps.append({"why": why, "command": "pivotmine extract SOURCE --run NEW_RUN --tools tools.json"})
    if truncated >= 0.02 and (budget := settings.get("max_new_tokens")):
        why = f"{truncated:.0%} of the samples hit the budget of {budget} tokens; a larger one continues them."
        steps.append({"why": why, "command": f"pivotmine rollout {at} --model MODEL --max-new-tokens {2 * budget}"})
    if audit is None:
        why = "Find out what the verifier pays before a policy does."
        steps.append({"why": why, "command": f"pivotmine audit {at}{of_policy}"})
    if classes["sometimes"] and dataset is None:
        why = f"{counted(classes['sometimes'], 'state has', 'states have')} rewards that differ."
        steps.append({"why": why, "command": f"pivotmine select {at}{of_profile}"})
    if classes["never"]:
        why = f"Look at states that are never solved ({classes['never']:,})."
        steps.append({"why": why, "command": f"pivotmine show {at} --class never -n 3{of_profile}"})
    if dataset is not None and dataset["train"]:
        folder = shlex.quote(str(run / "pivots" / dataset["name"]))
        why = f"Train on the {counted(dataset['train'], 'selected row')}."
        steps.append({"why": why, "command": f"pivotmine-train --dataset {folder} --model MODEL --output_dir OUT"})
    return steps[:3]


def suspects(
    connection: duckdb.DuckDBPyConnection, subject: Subject, num_stored: int = MAX_SUSPECTS
) -> list[dict[str, Any]]:
    """Return states to look at: {state_id, why, detail}, at most `num_stored` of each kind, the clearest first."""
    asked = {
        "another verifier disagrees": _DISAGREEING,
        **{f"audit: {why}": _AUDITED.replace("{error}", error) for error, why in _AUDIT_ERRORS.items()},
    }
    found = [
        {"state_id": state_id, "why": why, "detail": detail}
        for why, query in asked.items()
        for state_id, detail in connection.execute(query.format(limit=num_stored)).fetchall()
    ]
    same = "never solved, and all samples do the same"
    found = [
        {"state_id": one, "why": same, "detail": detail} for one, detail in _unanimous(connection, num_stored)
    ] + found
    unlikely = unlikely_demonstrations(connection, subject.policy_id, subject.verifier_id)[:num_stored]
    why = f"the demonstration is less likely than {math.exp(MIN_LOGPROB):.0e}"
    return found + [
        {"state_id": state_id, "why": why, "detail": f"log-probability {logprob:.1f}"} for state_id, logprob in unlikely
    ]


def _unanimous(connection: duckdb.DuckDBPyConnection, num_stored: int) -> list[tuple[str, str]]:
    """Return (state_id, words) of never-solved states whose samples all do the same, most samples first."""
    rows = connection.execute(_NARROW).fetchall()
    alike = [(state_id, count) for state_id, count, actions in rows if len({doing(text) for text in actions}) == 1]
    return [(state_id, f"{count} samples, one action") for state_id, count in alike[:num_stored]]


def audit_verdict(run: Path, verifier_id: str) -> str | None:
    """Return the last verdict line of `audit` on this verifier; None without an audit."""
    manifests = [one for one in rundir.read_manifests(run, "audit") if one["config"]["verifier_id"] == verifier_id]
    return str(manifests[-1]["summary"]["verdict"]) if manifests else None


_AUDIT_ERRORS = {
    "false_accept": "what must fail is paid",
    "false_reject": "what must pass is not paid",
    "paid_elsewhere": "an action of another state is paid",
}
# States whose samples call the same tools in the same order, with one action for each way of writing the calls.
_NARROW = """
    with done as (
        select state_id, num_samples, action, json_extract(action, '$.tool_calls[*].name')::varchar as called,
            coalesce(
                json_extract(action, '$.tool_calls'), json_extract(action, '$.message'), action
            )::varchar as written
        from samples join state_index using (state_id) where class = 'never' and num_samples >= 4
    ), written as (
        select state_id, num_samples, called, written, any_value(action) as action from done group by all
    )
    select state_id, num_samples, list(action) from written group by state_id, num_samples
    having count(distinct called) = 1 and count(*) <= 24 order by num_samples desc, state_id
"""
# Only verdicts of the same policy on the same sample are compared.
_DISAGREEING = """
    select a.state_id, count(*) || ' samples judged otherwise by ' || any_value(b.verifier_id)
    from samples a join scores b using (policy_id, state_id, sample_index)
    where b.verifier_id <> a.verifier_id and a.budget is not distinct from b.budget and abs(a.reward - b.reward) > 0.5
    group by a.state_id order by count(*) desc, a.state_id limit {limit}
"""
_AUDITED = """
    select a.state_id, string_agg(distinct a.trial, ', ' order by a.trial) || ', judged by ' || any_value(a.verifier)
    from audit_errors a join own_profiles using (verifier_id, state_id) where a.error = '{error}'
    group by a.state_id order by count(*) desc, a.state_id limit {limit}
"""
