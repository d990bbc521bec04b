"""The audit stage: put the verifier on trial before anybody trains on its rewards.

Every demonstration is judged against itself and against mutations of it that must fail or must pass. The run's own
actions are tried in other states of the same tool, and the audit finds the action that earns most if it is given
everywhere. It also compares the rewards of all verifiers that scored the run's samples. The result is in the tables
`audit_trials`, `audit_errors` and `audit_constants`.
"""

from __future__ import annotations

import errno
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from pivotmine.actions import Action, action_from_json
from pivotmine.errors import UserError
from pivotmine.progress import track
from pivotmine.run import rundir, sql
from pivotmine.run.states import demonstrated_turns
from pivotmine.verifiers import prepare
from pivotmine.verifiers.concurrent import JudgeCall, judge_all
from pivotmine_stages.audit.agreement import Agreement, agreements, outcome_rates
from pivotmine_stages.audit.calibration import Calibration, calibrate
from pivotmine_stages.audit.mutations import mutations
from pivotmine_stages.audit.options import NUM_PAIRS, AuditConfig
from pivotmine_stages.audit.other_states import best_constants, pool_of, try_other_states
from pivotmine_stages.audit.rivals import Rivals, rivals_of
from pivotmine_stages.audit.trials import Subject, Trials, error_rates
from pivotmine_stages.command import to_json
from pivotmine_stages.policy.record import choose_policy
from pivotmine_stages.profiles.gate import Gate, gate_states, seen_states

MAX_FALSE_ACCEPT_RATE = 0.01
"""A verifier that accepts a larger share of any mutation that must fail is unfit to train on."""
_KEPT = ("verdict", "verifier_id", "policy_id", "states", "other_states")
"""What the manifest keeps of the summary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherStates:
    """Actions of other states of the same tool."""

    pairs: int
    """Pairs of a state and such an action."""
    is_sample: bool
    """Whether a random sample of them was tried."""
    tried: int
    """Distinct actions that were tried."""
    paid: int
    """Tried actions that earned a full reward."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSummary:
    """One trial."""

    verdict: str
    """One line that begins with `fit`, `unfit` or `undecided`."""
    verifier_id: str
    states: int
    gates: dict[str, int]
    """States by the verdict on their own demonstration, the most frequent first."""
    rates: list[dict[str, Any]]
    """Rows of `error_rates` by verifier, tool and domain, the worst first."""
    mutations: list[dict[str, Any]]
    """Rows of `error_rates` by verifier and trial."""
    other_states: OtherStates
    constants: list[dict[str, Any]]
    """Rows of `audit_constants`, the highest mean reward first."""
    errors: list[dict[str, Any]]
    """Rows of `audit_errors`, the first of each kind."""
    policy_id: str | None
    """None if no sample of the run is scored."""
    outcomes: list[dict[str, Any]]
    """Rows of `outcome_rates`."""
    agreements: list[Agreement]
    """One for each two verifiers that scored the policy."""
    seconds: float


def audit(config: AuditConfig, run: Path) -> AuditSummary | Calibration:
    """Run the trial, or the comparison with labels, and return its summary."""
    rundir.require_run(run)
    if config.calibrate is not None:
        _refuse_with_labels(config)
        config.verifier.check_server()
        return calibrate(config.verifier, config.calibrate, run, config.num_examples)
    policy_id = _policy_id(config, run)
    config.verifier.check_server()
    started = time.monotonic()
    turns = demonstrated_turns(run)
    rivals = rivals_of(action_from_json(text) for text in turns["demonstration"].unique(maintain_order=True))
    if config.limit is not None:
        first = turns["state_id"].unique(maintain_order=True).head(min(config.limit, len(turns)))
        turns = turns.filter(turns["state_id"].is_in(first.to_list()))
    gates = gate_states(run, turns, config.verifier)
    trials, subjects = Trials(config.verifier.verifier_id), _subjects(turns, gates)
    _try_mutations(run, turns, gates, subjects, rivals, trials)
    num_pairs = config.num_pairs
    if num_pairs is None:
        num_pairs = 0 if config.verifier.num_waiting else NUM_PAIRS
    pool = pool_of(run, turns, gates, subjects, policy_id)
    if num_pairs:
        try_other_states(pool, num_pairs, trials)
    constants = best_constants(pool, num_pairs, trials.verifier_id)
    rows = trials.rows()
    by_trial = error_rates(rows, ("verifier", "trial"))
    summary = AuditSummary(
        verdict=_verdict(by_trial),
        verifier_id=trials.verifier_id,
        states=len(gates),
        gates=dict(Counter(gate.gate for gate in gates.values()).most_common()),
        rates=error_rates(rows, ("verifier", "tool", "domain")),
        mutations=by_trial,
        other_states=_elsewhere(rows, pool.num_pairs, num_pairs),
        constants=constants,
        errors=_examples(trials.errors, config.num_examples),
        policy_id=policy_id,
        outcomes=outcome_rates(run, policy_id) if policy_id else [],
        agreements=agreements(run, policy_id, config.num_examples) if policy_id else [],
        seconds=round(time.monotonic() - started, 2),
    )
    _store(run, summary, {"trials": rows, "errors": trials.errors, "constants": constants})
    return summary


def _refuse_with_labels(config: AuditConfig) -> None:
    """Raise UserError for options that --calibrate would ignore."""
    ignored = {"--limit": config.limit, "--policy": config.policy, "--num-pairs": config.num_pairs}
    if given := [flag for flag, value in ignored.items() if value is not None]:
        raise UserError(
            f"--calibrate {config.calibrate} judges every pair of its file and nothing of the run: leave out "
            f"{' and '.join(given)} (typed, or in [audit] of --config)"
        )


def _subjects(turns: pl.DataFrame, gates: dict[str, Gate]) -> dict[str, Subject]:
    """Return the states that can be judged, in their order."""
    domains = dict(turns.select("state_id", "domain").unique("state_id", keep="first").iter_rows())
    return {
        state_id: Subject(state_id, gate.verifier.name, _tool(next(iter(gate.usable.values()))), domains[state_id])
        for state_id, gate in gates.items()
        if gate.verifier is not None and gate.usable
    }


def _tool(demonstration: Action) -> str:
    return demonstration.tool_calls[0].name if demonstration.tool_calls else "message"


def _try_mutations(
    run: Path,
    turns: pl.DataFrame,
    gates: dict[str, Gate],
    subjects: dict[str, Subject],
    rivals: Rivals,
    trials: Trials,
) -> None:
    for state_id, gate, state in track(seen_states(run, turns, gates), "audit", "states", len(subjects)):
        assert gate.verifier is not None
        demonstration = next(iter(gate.usable.values()))
        judge = prepare(gate.verifier, state, [demonstration])
        is_command = gate.verifier.is_command(demonstration)
        options = gate.verifier.options
        # `shell`, `sql` and the like keep the options for a call's other arguments in `rest`.
        ignored = getattr(getattr(options, "rest", options), "ignore", ())
        tried = list(mutations(state, demonstration, rivals, is_command=is_command, ignored=ignored))
        judged = judge_all([JudgeCall(judge, mutation.action, gate.verifier.num_waiting) for mutation in tried])
        for (name, must_pass, action), verdict in zip(tried, judged, strict=True):
            trials.add(subjects[state_id], name, (demonstration, action), verdict, must_pass=must_pass)


def _elsewhere(rows: list[dict[str, Any]], known: int, num_pairs: int) -> OtherStates:
    found = [row for row in rows if row["must_pass"] is None]
    tried, paid = (sum(row[column] for row in found) for column in ("num_tried", "num_accepted"))
    return OtherStates(pairs=known, is_sample=known > num_pairs, tried=tried, paid=paid)


def _examples(errors: list[dict[str, Any]], num_examples: int) -> list[dict[str, Any]]:
    """Return the first errors of each kind."""
    shown: Counter[tuple[str, str]] = Counter()
    found: list[dict[str, Any]] = []
    for error in errors:
        key = (error["trial"], error["error"])
        shown[key] += 1
        if shown[key] <= num_examples:
            found.append({name: value for name, value in error.items() if name != "verifier_id"})
    return found


def _verdict(rates: list[dict[str, Any]]) -> str:
    """Say whether the verifier is fit to train on, in one line that names the mutation with the most false accepts."""
    if not sum(row["must_fail"] for row in rates):
        return "undecided: no mutation that must fail was judged"
    worst = max(rates, key=lambda row: row["false_accept_rate"] or 0.0)
    if (rate := worst["false_accept_rate"] or 0.0) > MAX_FALSE_ACCEPT_RATE:
        return f"unfit: {worst['verifier']} accepts {rate:.1%} of {worst['must_fail']:,} mutations {worst['trial']}"
    return f"fit: no mutation that must fail is accepted in more than {MAX_FALSE_ACCEPT_RATE:.0%} of its cases"


def _policy_id(config: AuditConfig, run: Path) -> str | None:
    """Return the policy whose samples are used, None if none is scored; UserError if the choice is not clear."""
    if config.policy is None and not any(run.glob("scores/*/*/part-*.parquet")):
        return None
    return choose_policy(run, config.policy).policy_id


def _store(run: Path, summary: AuditSummary, tables: dict[str, list[dict[str, Any]]]) -> None:
    """Write the tables and, last, the manifest. On a read-only disk the audit is only printed."""
    folder = run / "audits" / summary.verifier_id
    kept = {name: to_json(getattr(summary, name)) for name in _KEPT}
    try:
        for name, rows in tables.items():
            rundir.write_rows(folder / f"{name}.parquet", f"audit_{name}", rows)
        rundir.write_manifest(run, "audit", {"verifier_id": summary.verifier_id}, {"summary": kept})
        sql.write_views(run)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
