"""An audit as text for a person: rows with errors, the worst first, a line for the rest, and the verdict last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from pivotmine.counts import counted
from pivotmine.escape import inert
from pivotmine_stages.audit.agreement import Agreement
from pivotmine_stages.audit.calibration import Calibration, NotAsked
from pivotmine_stages.audit.marking import action_text, marked
from pivotmine_stages.audit.stage import AuditSummary, OtherStates
from pivotmine_stages.cli.text_tables import as_text_table

MAX_LINE = 400
MAX_CONSTANTS = 5
"""Maximum number of groups whose best constant action is shown, those in which it earns most."""
MIN_STATES = 5
"""Minimum number of states of such a group. With fewer, one state is more than 20 % of the reward."""
MAX_NUMBERS = 20
"""Maximum number of line numbers shown for one reason."""
_NOTHING = "nothing in this run is worth imitating, so nothing can be tried: extract's rejects say why"
_COUNTS = ("must_fail", "false_accept", "must_pass", "false_reject", "null")


def audit_report(s: AuditSummary | Calibration) -> str:
    """The summary of an audit, or of a calibration, as lines of text."""
    if isinstance(s, Calibration):
        return _calibration(s)
    gates = ", ".join(f"{gate} {count:,}" for gate, count in s.gates.items()) or "none"
    total = {name: sum(row[name] for row in s.rates) for name in _COUNTS}
    lines = [
        f"{counted(s.states, 'state')} under {s.verifier_id}",
        f"demonstrations against themselves: {gates}",
        *([] if s.states else [_NOTHING]),
        f"{counted(total['must_fail'], 'mutation')} that must fail: {counted(total['false_accept'], 'false accept')}; "
        f"{total['must_pass']:,} that must pass: {counted(total['false_reject'], 'false reject')}; "
        f"{total['null']:,} null",
        _elsewhere(s.other_states),
        *([] if s.policy_id else ["no samples of this run are scored: only demonstrations and mutations were judged"]),
    ]
    parts = [f"{'audit' if number == 0 else '':<9} {inert(line)}" for number, line in enumerate(lines)]
    parts += _with_errors(s.mutations, "trial") + _with_errors(s.rates, "tool or domain", "tools and domains")
    parts += _constants(s.constants)
    if s.outcomes:
        parts += ["", as_text_table(pa.Table.from_pylist(s.outcomes))]
    for error in s.errors:
        parts += ["", f"{error['error']} of {error['trial']} by {error['verifier']}, state {error['state_id']}"]
        parts.append(_line("difference", marked(error["demonstrated"], error["given"])))
        parts += [_line("detail", error["detail"])] if error["detail"] else []
    for pair in s.agreements:
        parts += ["", *_disagreements(pair)]
    return "\n".join([*parts, "", f"{s.seconds} s", f"verdict   {inert(s.verdict)}"])


def _calibration(s: Calibration) -> str:
    lines = [
        f"{s.verifier_id} against {counted(s.pairs, 'labelled pair')}: {s.same:,} same, {s.different:,} different",
        *(
            f"{same:,} same and {different:,} different pairs are {words}"
            for same, different, words in (
                (s.unproven_same, s.unproven_different, "unproven"),
                (s.failed_same, s.failed_different, "without a verdict: the machinery failed"),
                (s.not_asked_same, s.not_asked_different, "not asked"),
            )
            if same + different
        ),
        f"false accepts: {s.false_accept:,} of the decided different pairs ({_rate(s.false_accept_rate)})",
        f"false rejects: {s.false_reject:,} of the decided same pairs ({_rate(s.false_reject_rate)})",
    ]
    parts = [f"{'calibrate' if number == 0 else '':<9} {line}" for number, line in enumerate(lines)]
    parts += _not_asked(s.not_asked)
    for error in s.errors:
        parts += ["", f"line {error.line}: labelled {error.label}, judged {error.answer}"]
        parts.append(_line("difference", marked(error.demonstrated, error.given)))
        parts += [_line("detail", error.detail)] if error.detail else []
    kappa = "not defined" if s.kappa is None else f"{s.kappa:.2f}"
    verdict = f"agreement {_rate(s.agreement)} on {counted(s.decided, 'decided pair')}, kappa {kappa}"
    return "\n".join([*parts, "", f"{s.seconds} s", f"verdict   {verdict}"])


def _not_asked(found: Sequence[NotAsked]) -> list[str]:
    """Return a line for each reason, with the line numbers of the file."""
    lines: dict[str, list[int]] = {}
    for pair in found:
        lines.setdefault(pair.reason, []).append(pair.line)
    parts: list[str] = []
    for reason, numbers in lines.items():
        shown = ", ".join(map(str, numbers[:MAX_NUMBERS])) + (", ..." if len(numbers) > MAX_NUMBERS else "")
        parts.append(f"          line{'s' if len(numbers) > 1 else ''} {shown}: {inert(reason)}")
    return parts


def _rate(rate: float | None) -> str:
    return "no rate" if rate is None else f"{rate:.1%}"


def _elsewhere(found: OtherStates) -> str:
    """Return one line on actions of other states."""
    if not found.tried:
        return "no action was tried in another state"
    sampled = f", a random sample of {counted(found.pairs, 'pair')}" if found.is_sample else ""
    return (
        f"{counted(found.tried, 'action')} of other states of the same tool, written otherwise{sampled}: "
        f"{found.paid:,} paid ({found.paid / found.tried:.1%})"
    )


def _with_errors(rows: Sequence[Mapping[str, Any]], one: str, several: str = "") -> list[str]:
    bad = [row for row in rows if row["false_accept"] or row["false_reject"] or row["null"]]
    others = len(rows) - len(bad)
    table = ["", as_text_table(pa.Table.from_pylist([dict(row) for row in bad]))] if bad else [""]
    words = [f"other {word}" if bad and word else word for word in (one, several)]
    return [*table, f"{counted(others, *words)} without an error"] if rows else []


def _constants(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    large = [row for row in rows if row["num_states"] >= MIN_STATES]
    if not large:
        return []
    lines = ["", "best constant action, given in every state of a tool or domain"]
    for row in large[:MAX_CONSTANTS]:
        screened = "" if row["is_exact"] else " (most screened on a sample)"
        where = f"{row['grouped_by']} {row['name'] or '(none)'}"
        actions = f"the best of {counted(row['num_actions'], 'action')}{screened} earns"
        lines += [f"  {where}: {actions} {row['mean_reward']:.1%} of {counted(row['num_states'], 'state')}"]
        lines += [_line("", action_text(row["action"]))]
    if rest := large[MAX_CONSTANTS:]:
        lines.append(
            f"  {counted(len(rest), 'other tool or domain', 'other tools and domains')}: "
            f"at most {rest[0]['mean_reward']:.1%}"
        )
    if few := len(rows) - len(large):
        lines.append(f"  {few:,} of fewer than {MIN_STATES} states {'is' if few == 1 else 'are'} not shown")
    return [inert(line) for line in lines]


def _disagreements(pair: Agreement) -> list[str]:
    share = f"{pair.agree / pair.samples:.1%}" if pair.samples else "none"
    lines = [
        f"{pair.one} and {pair.other} agree on {share} of {counted(pair.samples, 'sample')}",
        f"  {pair.only_one_higher:,} higher by the first, {pair.only_other_higher:,} by the second, "
        f"{pair.null:,} null to one of them",
    ]
    for example in pair.examples:
        lines += ["", f"state {example['state_id']}", _line("action", action_text(example["action"]))]
        for name, of in (("first", ""), ("second", "_other")):
            words = f"{example['reward' + of]:.2f} {example['outcome' + of]} {example['detail' + of] or ''}"
            lines.append(_line(name, words))
    return lines


def _line(name: str, text: str) -> str:
    shown = inert(f"  {name:<13} {text}")
    return shown if len(shown) <= MAX_LINE else f"{shown[: MAX_LINE - 3]}..."
