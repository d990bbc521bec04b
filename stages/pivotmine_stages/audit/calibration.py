"""Compare a verifier with labelled pairs: agreement, Cohen's kappa, both error rates, and unproven answers.

The file has a JSON object per line:

    {"label": "same" or "different", "demonstration": ..., "action": ..., "state_id": "..."}
    {"label": ..., "demonstration": ..., "action": ..., "messages": [...], "tools": [...], "action_format": "native"}

A demonstration or action is a text (a message), an assistant message in OpenAI form, or an action as the tables store
it. The state is one of the run (`state_id`), or is given by `messages`, `tools` and `action_format`, all optional.
`domain` is for the rules of `auto`. Other keys are ignored.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from pivotmine import strict_json
from pivotmine.actions import NATIVE, Action, action_to_json, implied_tools, is_text
from pivotmine.actions.conventions import CONVENTIONS
from pivotmine.counts import counted
from pivotmine.errors import UserError
from pivotmine.options import not_one_of
from pivotmine.run import rundir
from pivotmine.run.states import action_formats, state_messages
from pivotmine.verifiers import State, Verdict, VerifierSpec, prepare, resolve
from pivotmine.verifiers.concurrent import JudgeCall, judge_all
from pivotmine_stages.audit.labelled_actions import read_labelled
from pivotmine_stages.audit.trials import FULL_REWARD

SAME, DIFFERENT = "same", "different"


class Pair(NamedTuple):
    line: int
    same: bool
    """The label."""
    state: State
    domain: str | None
    demonstration: Action
    action: Action


class _Answer(NamedTuple):
    verdict: Verdict | None
    """None if the verifier was not asked."""
    reason: str = ""
    """Why it was not asked."""


@dataclass(frozen=True, slots=True)
class NotAsked:
    """A pair that the verifier does not handle, or whose demonstration does not pass its own gate."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelError:
    """A pair whose answer differs from its label."""

    line: int
    label: str
    """`same` or `different`."""
    answer: str
    detail: str
    """Detail of the verdict."""
    demonstrated: str
    """The demonstration, as the tables store it."""
    given: str
    """The action."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A verifier compared with labels. Rates are from 0 to 1, over the decided pairs; None if there are none."""

    verifier_id: str
    pairs: int
    same: int
    """Pairs with this label."""
    different: int
    decided: int
    """Pairs with a reward."""
    agreement: float | None
    kappa: float | None
    """Cohen's kappa; None also if chance alone explains the agreement."""
    false_accept: int
    """Decided pairs labelled `different` that were paid."""
    false_accept_rate: float | None
    false_reject: int
    """Decided pairs labelled `same` that were not paid."""
    false_reject_rate: float | None
    unproven_same: int
    unproven_different: int
    failed_same: int
    """Pairs without a verdict because the machinery failed."""
    failed_different: int
    not_asked_same: int
    not_asked_different: int
    not_asked: list[NotAsked]
    errors: list[LabelError]
    """The first errors."""
    seconds: float


def calibrate(spec: VerifierSpec, path: Path, run: Path, num_examples: int) -> Calibration:
    """Judge every pair of the file.

    UserError if a pair cannot be read (it names the line, before any pair is judged), or if no pair can be asked.
    """
    started = time.monotonic()
    pairs = _read(path, run)
    answers = _judged(spec, pairs)
    counts: Counter[str] = Counter()
    errors: list[LabelError] = []
    for pair, (verdict, _) in zip(pairs, answers, strict=True):
        label = SAME if pair.same else DIFFERENT
        counts[label] += 1
        answer = _answer(verdict)
        counts[f"{label}_{answer}"] += 1
        if answer in (SAME, DIFFERENT) and answer != label:
            error = LabelError(
                line=pair.line,
                label=label,
                answer=answer,
                detail=verdict.detail if verdict else "",
                demonstrated=action_to_json(pair.demonstration),
                given=action_to_json(pair.action),
            )
            errors.append(error)
    not_asked = [
        NotAsked(pair.line, reason) for pair, (verdict, reason) in zip(pairs, answers, strict=True) if verdict is None
    ]
    if len(not_asked) == len(pairs):
        first = f"line {not_asked[0].line}: {not_asked[0].reason}"
        raise UserError(f"--calibrate {path}: {spec.name} cannot judge any of {counted(len(pairs), 'pair')}; {first}")
    summary: dict[str, Any] = {"verifier_id": spec.verifier_id, "pairs": len(pairs), **figures(counts)}
    rundir.write_manifest(
        run, "calibrate", {"verifier_id": spec.verifier_id, "file": str(path.resolve())}, {"summary": summary}
    )
    seconds = round(time.monotonic() - started, 2)
    return Calibration(**summary, not_asked=not_asked, errors=errors[:num_examples], seconds=seconds)


def figures(counts: Counter[str]) -> dict[str, Any]:
    """Compute agreement, kappa and rates from counts of `<label>_<answer>`; they are None if nothing was decided."""
    right_same, refused = counts["same_same"], counts["same_different"]
    paid, right_different = counts["different_same"], counts["different_different"]
    same, different = right_same + refused, paid + right_different
    decided = same + different
    agreement = (right_same + right_different) / decided if decided else None
    chance = (same * (right_same + paid) + different * (refused + right_different)) / decided**2 if decided else 1.0
    return {
        "same": counts[SAME],
        "different": counts[DIFFERENT],
        "decided": decided,
        "agreement": agreement,
        "kappa": (agreement - chance) / (1 - chance) if agreement is not None and chance < 1 else None,
        "false_accept": paid,
        "false_accept_rate": paid / different if different else None,
        "false_reject": refused,
        "false_reject_rate": refused / same if same else None,
        **{
            f"{answer}_{label}": counts[f"{label}_{answer}"]
            for answer in ("unproven", "failed", "not_asked")
            for label in (SAME, DIFFERENT)
        },
    }


def _answer(verdict: Verdict | None) -> str:
    if verdict is None:
        return "not_asked"
    if verdict.outcome == "unproven":
        return "unproven"
    if verdict.reward is None:
        return "failed"
    return SAME if verdict.reward >= FULL_REWARD else DIFFERENT


def _judged(spec: VerifierSpec, pairs: Sequence[Pair]) -> list[_Answer]:
    """Return the answer to each pair. A pair is only asked if its demonstration passes against itself."""
    calls: list[JudgeCall | str] = []
    gates: list[JudgeCall] = []
    for pair in pairs:
        kind = pair.demonstration.kind
        verifier = resolve(spec, pair.domain, [pair.demonstration])
        if verifier is None:
            calls.append(f"{spec.name} handles no {kind} turn" + (f" of domain {pair.domain}" if pair.domain else ""))
            continue
        judge = prepare(verifier, pair.state, [pair.demonstration])
        calls.append(JudgeCall(judge, pair.action, verifier.num_waiting))
        gates.append(JudgeCall(judge, pair.demonstration, verifier.num_waiting))
    accepted = judge_all(gates)
    asked = [call if isinstance(call, str) else _refusal(next(accepted)) or call for call in calls]
    verdicts = judge_all([call for call in asked if isinstance(call, JudgeCall)])
    return [_Answer(None, call) if isinstance(call, str) else _Answer(next(verdicts)) for call in asked]


def _refusal(gate: Verdict) -> str:
    """Return why a demonstration does not pass against itself; empty if it passes."""
    if gate.reward == 1:
        return ""
    return f"the demonstration does not pass against itself: {gate.outcome}" + (
        f", {gate.detail}" if gate.detail else ""
    )


def _read(path: Path, run: Path) -> list[Pair]:
    try:
        # An editor may put a byte-order mark in front.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--calibrate {path}: {error}") from None
    rows = [(number, _row(path, number, line)) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise UserError(
            f"--calibrate {path} has no pair: write a JSON object per line (docs/verifiers.md has the keys)"
        )
    known = _states(run, {row["state_id"] for _, row in rows if "state_id" in row})
    return [_pair(path, number, row, known) for number, row in rows]


def _row(path: Path, number: int, line: str) -> dict[str, Any]:
    where = f"--calibrate {path}, line {number}"
    try:
        row = strict_json.loads(line)
    except ValueError as error:
        raise UserError(f"{where}: not JSON: {error}") from None
    if not isinstance(row, dict) or row.get("label") not in (SAME, DIFFERENT):
        raise UserError(f"{where}: needs an object with a label, {SAME} or {DIFFERENT}")
    kinds = {"messages": list, "tools": list, "action_format": str, "state_id": str, "domain": str}
    if wrong := [key for key, kind in kinds.items() if row.get(key) is not None and not isinstance(row[key], kind)]:
        raise UserError(f"{where}: {wrong[0]} must be a {'list' if kinds[wrong[0]] is list else 'text'}")
    if not all(isinstance(one, dict) for key in ("messages", "tools") for one in row.get(key) or ()):
        raise UserError(f"{where}: messages and tools must be lists of objects")
    known = (NATIVE, *CONVENTIONS)
    if row.get("action_format") is not None and row["action_format"] not in known:
        raise UserError(f"{where}: {not_one_of('action_format', row['action_format'], known)}")
    return row


def _pair(path: Path, number: int, row: dict[str, Any], known: dict[str, dict[str, Any]]) -> Pair:
    where = f"--calibrate {path}, line {number}"
    state = row
    if row.get("state_id") is not None:
        if row["state_id"] not in known:
            raise UserError(f"{where}: the run has no state {row['state_id']}")
        state = known[row["state_id"]]
    action_format = state.get("action_format") or NATIVE
    if (given := row.get("action_format") or action_format) != action_format:
        raise UserError(f"{where}: action_format {given}, but the run's state {row['state_id']} has {action_format}")
    demonstration, action = (
        read_labelled(row.get(key), action_format, f"{where}: {key}") for key in ("demonstration", "action")
    )
    tools = implied_tools(action_format, [demonstration]) if is_text(action_format) else state.get("tools") or ()
    seen = State(tools=tuple(tools), messages=tuple(state.get("messages") or ()), action_format=action_format)
    return Pair(number, row["label"] == SAME, seen, row.get("domain") or state.get("domain"), demonstration, action)


def _states(run: Path, wanted: set[str]) -> dict[str, dict[str, Any]]:
    """Return messages, tools, action_format and domain by state_id."""
    if not wanted:
        return {}
    turns = rundir.scan(run, "turns").filter(pl.col("state_id").is_in(list(wanted))).collect()
    turns = turns.unique("state_id", keep="first", maintain_order=True)
    turns = turns.join(action_formats(run), on="segment_id", how="left", maintain_order="left")
    return {
        found.turn["state_id"]: {
            **{"messages": found.messages, "tools": found.tools, "domain": found.turn["domain"]},
            "action_format": found.turn["action_format"],
        }
        for found in state_messages(run, turns)
    }
