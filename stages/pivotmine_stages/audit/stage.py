"""audit: the verifier on trial, before anybody trains on its rewards.

Every demonstration is judged against itself and against mutations of it that must fail or must pass. What the run's own
rollouts were worth to the verifiers that scored them is compared beside. Nothing is written.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

from pivotmine.actions import Action, action_from_json, action_to_json
from pivotmine.progress import track
from pivotmine.run import rundir
from pivotmine.run.states import demonstrated_turns
from pivotmine.verifiers import Outcome, Verdict, prepare
from pivotmine.verifiers.concurrent import JudgeCall, judge_all
from pivotmine_stages.audit.agreement import agreements, outcome_rates
from pivotmine_stages.audit.mutations import mutations
from pivotmine_stages.audit.options import AuditConfig
from pivotmine_stages.audit.rivals import Rivals, rivals_of
from pivotmine_stages.policy.record import choose_policy
from pivotmine_stages.profiles.gate import Gate, gate_states, seen_states

MAX_FALSE_ACCEPT_RATE = 0.01
"""A verifier that accepts more of any mutation that must fail is unfit to train on."""
FULL_REWARD = 1 - 1e-6
"""A mutation is accepted where its reward is at least this."""


_ERRORS = ("false_accept", "false_reject")
Key = tuple[str, str, str | None, str, bool]
"""Verifier, tool (or `message`), domain, mutation, whether it must pass."""


def audit(config: AuditConfig, run: Path) -> dict[str, Any]:
    """Run the trial; returns the summary that the command prints."""
    rundir.require_run(run)
    started = time.monotonic()
    policy_id = _policy_id(config, run)
    turns = demonstrated_turns(run)
    rivals = rivals_of(action_from_json(text) for text in turns["demonstration"].unique(maintain_order=True))
    if config.limit is not None:
        first = turns["state_id"].unique(maintain_order=True).head(min(config.limit, len(turns)))
        turns = turns.filter(turns["state_id"].is_in(first.to_list()))
    gates = gate_states(run, turns, config.verifier)
    counts, errors = _trial(config, run, turns, gates, rivals)
    by_mutation = _rates(counts, by_mutation=True)
    summary = {
        "verdict": _verdict(by_mutation),
        "verifier_id": config.verifier.verifier_id,
        "states": len(gates),
        "gates": dict(Counter(gate.gate for gate in gates.values()).most_common()),
        "rates": _rates(counts, by_mutation=False),
        "mutations": by_mutation,
        "errors": errors,
        **_rollouts(config, run, policy_id),
    }
    told = {name: summary[name] for name in ("verdict", "verifier_id", "states")}
    rundir.write_manifest(run, "audit", {"verifier_id": summary["verifier_id"]}, {"summary": told})
    return {**summary, "seconds": round(time.monotonic() - started, 2)}


def _trial(
    config: AuditConfig, run: Path, turns: Any, gates: dict[str, Gate], rivals: Rivals
) -> tuple[dict[Key, Counter[str]], list[dict[str, Any]]]:
    counts: dict[Key, Counter[str]] = {}
    errors: list[dict[str, Any]] = []
    shown: Counter[tuple[str, str]] = Counter()
    domains = dict(turns.select("state_id", "domain").unique("state_id", keep="first").iter_rows())
    usable = sum(bool(gate.usable) for gate in gates.values())
    for state_id, gate, state in track(seen_states(run, turns, gates), "audit", "states", usable):
        assert gate.verifier is not None
        demonstration = next(iter(gate.usable.values()))
        judge = prepare(gate.verifier, state, [demonstration])
        is_command = gate.verifier.is_command(demonstration)
        tried = list(mutations(state, demonstration, rivals, is_command=is_command))
        judged = judge_all([JudgeCall(judge, mutation.action, gate.verifier.num_waiting) for mutation in tried])
        for (name, must_pass, action), verdict in zip(tried, judged, strict=True):
            key = (gate.verifier.name, _tool(demonstration), domains[state_id], name, must_pass)
            result = _result(verdict, must_pass=must_pass)
            counts.setdefault(key, Counter())[result] += 1
            if result not in _ERRORS or shown[name, result] == config.num_examples:
                continue
            shown[name, result] += 1
            error = {"state_id": state_id, "verifier": gate.verifier.name, "mutation": name, "error": result}
            pair = {"demonstrated": action_to_json(demonstration), "given": action_to_json(action)}
            errors.append({**error, "reward": verdict.reward, "detail": verdict.detail, **pair})
    return counts, errors


def _tool(demonstration: Action) -> str:
    return demonstration.tool_calls[0].name if demonstration.tool_calls else "message"


def _result(verdict: Verdict, *, must_pass: bool) -> str:
    if verdict.reward is None:
        # An unproven answer pays nothing: right for what must fail, undecided for what must pass.
        return "right" if verdict.outcome == Outcome.UNPROVEN and not must_pass else "null"
    accepted = verdict.reward >= FULL_REWARD
    if accepted == must_pass:
        return "right"
    return "false_accept" if accepted else "false_reject"


def _verdict(rates: list[dict[str, Any]]) -> str:
    """Whether the verifier is fit to train on: one line that names the mutation with the most false accepts."""
    if not sum(row["must_fail"] for row in rates):
        return "undecided: no mutation that must fail was judged"
    worst = max(rates, key=lambda row: row["false_accept_rate"] or 0.0)
    if (rate := worst["false_accept_rate"] or 0.0) > MAX_FALSE_ACCEPT_RATE:
        return f"unfit: {worst['verifier']} accepts {rate:.1%} of {worst['must_fail']:,} mutations {worst['mutation']}"
    return f"fit: no mutation that must fail is accepted in more than {MAX_FALSE_ACCEPT_RATE:.0%} of its cases"


def _rates(counts: dict[Key, Counter[str]], *, by_mutation: bool) -> list[dict[str, Any]]:
    """Rows by verifier, tool and domain, or by verifier and mutation: numbers, and rates over what was judged."""
    grouped: dict[tuple[Any, ...], dict[str, Counter[str]]] = {}
    for (verifier, tool, domain, mutation, must_pass), found in counts.items():
        key = (verifier, mutation) if by_mutation else (verifier, tool, domain)
        label = "must_pass" if must_pass else "must_fail"
        grouped.setdefault(key, {}).setdefault(label, Counter()).update(found)
    names = ("verifier", "mutation") if by_mutation else ("verifier", "tool", "domain")
    return [
        {**dict(zip(names, key, strict=True)), **_error_rates(labels)}
        for key, labels in sorted(grouped.items(), key=lambda item: json.dumps(item[0]))
    ]


def _error_rates(labels: dict[str, Counter[str]]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for label, error in (("must_fail", "false_accept"), ("must_pass", "false_reject")):
        found = labels.get(label, Counter())
        judged = found.total() - found["null"]
        row |= {label: judged, error: found[error], f"{error}_rate": found[error] / judged if judged else None}
    return {**row, "null": sum(found["null"] for found in labels.values())}


def _policy_id(config: AuditConfig, run: Path) -> str | None:
    """The policy whose scores are compared; UserError before any work if the choice is not clear."""
    if config.policy is None and not any(run.glob("scores/*/*/part-*.parquet")):
        return None
    return choose_policy(run, config.policy).policy_id


def _rollouts(config: AuditConfig, run: Path, policy_id: str | None) -> dict[str, Any]:
    if policy_id is None:
        return {"policy_id": None, "outcomes": [], "agreements": []}
    return {
        "policy_id": policy_id,
        "outcomes": outcome_rates(run, policy_id),
        "agreements": agreements(run, policy_id, config.num_examples),
    }
