"""Results of trials: counts by verifier, tool, domain and trial, and the errors."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from pivotmine.actions import Action, action_to_json
from pivotmine.verifiers import Verdict

FULL_REWARD = 1 - 1e-6
"""An action is accepted if its reward is at least this."""
MAX_STORED = 200
"""Maximum number of stored errors of one kind (verifier, trial, error), the first ones."""
OTHER_STATES_ACTION = "other_states_action"
FALSE_ACCEPT, FALSE_REJECT, PAID_ELSEWHERE = "false_accept", "false_reject", "paid_elsewhere"


class Subject(NamedTuple):
    """The state in which an action is tried."""

    state_id: str
    verifier: str
    tool: str
    """`message` for messages."""
    domain: str | None


class Trials:
    """Counts and errors, added verdict by verdict."""

    def __init__(self, verifier_id: str) -> None:
        self.verifier_id = verifier_id
        self.counts: dict[tuple[str, str, str | None, str, bool | None], Counter[str]] = {}
        self.errors: list[dict[str, Any]] = []
        self._stored: Counter[tuple[str, str, str]] = Counter()

    def add(
        self, at: Subject, trial: str, pair: tuple[Action, Action], verdict: Verdict, *, must_pass: bool | None
    ) -> None:
        """Count a verdict. pair: the demonstration and the judged action. must_pass: the label; None without one."""
        found = self.counts.setdefault((at.verifier, at.tool, at.domain, trial, must_pass), Counter())
        found["num_tried"] += 1
        accepted = verdict.reward is not None and verdict.reward >= FULL_REWARD
        if accepted:
            found["num_accepted"] += 1
        elif verdict.reward is None:
            found["num_unproven" if verdict.is_unproven else "num_failed"] += 1
        error = _error(must_pass=must_pass, accepted=accepted, is_null=verdict.reward is None)
        key = (at.verifier, trial, error)
        if error and self._stored[key] < MAX_STORED:
            self._stored[key] += 1
            where = {**at._asdict(), "verifier_id": self.verifier_id, "trial": trial, "error": error}
            said = {"demonstrated": action_to_json(pair[0]), "given": action_to_json(pair[1])}
            self.errors.append({**where, "reward": verdict.reward, "detail": verdict.detail or None, **said})

    def rows(self) -> list[dict[str, Any]]:
        """Return rows of `audit_trials`."""
        names = ("verifier", "tool", "domain", "trial", "must_pass")
        zero = dict.fromkeys(("num_tried", "num_accepted", "num_unproven", "num_failed"), 0)
        return [
            {"verifier_id": self.verifier_id, **dict(zip(names, key, strict=True)), **zero, **found}
            for key, found in sorted(self.counts.items(), key=lambda item: json.dumps(item[0]))
        ]


def _error(*, must_pass: bool | None, accepted: bool, is_null: bool) -> str:
    if must_pass:
        return "" if accepted or is_null else FALSE_REJECT
    if not accepted:
        return ""
    return PAID_ELSEWHERE if must_pass is None else FALSE_ACCEPT


def error_rates(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Count the errors of the labelled trials, with rates, by columns of `audit_trials`; the worst first.

    `must_fail` counts judged mutations, also unproven ones: an unproven answer pays nothing, which is right there.
    `must_pass` counts mutations with a reward. `null` counts the others.
    """
    grouped: dict[tuple[Any, ...], Counter[str]] = {}
    for row in rows:
        if row["must_pass"] is None:
            continue
        found = grouped.setdefault(tuple(row[name] for name in names), Counter())
        nothing = row["num_failed"] + (row["num_unproven"] if row["must_pass"] else 0)
        judged, accepted = row["num_tried"] - nothing, row["num_accepted"]
        found["null"] += nothing
        found["must_pass" if row["must_pass"] else "must_fail"] += judged
        found[FALSE_REJECT if row["must_pass"] else FALSE_ACCEPT] += judged - accepted if row["must_pass"] else accepted
    rated = [{**dict(zip(names, key, strict=True)), **_rated(found)} for key, found in grouped.items()]
    return sorted(rated, key=_badness)


def _rated(found: Counter[str]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for label, error in (("must_fail", FALSE_ACCEPT), ("must_pass", FALSE_REJECT)):
        rate = found[error] / found[label] if found[label] else None
        row |= {label: found[label], error: found[error], f"{error}_rate": rate}
    return {**row, "null": found["null"]}


def _badness(row: dict[str, Any]) -> tuple[float, float, int]:
    """Sort key: false accepts count more than false rejects, and these more than missing verdicts."""
    return -(row["false_accept_rate"] or 0.0), -(row["false_reject_rate"] or 0.0), -row["null"]
