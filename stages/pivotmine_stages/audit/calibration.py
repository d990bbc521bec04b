"""A verifier against pairs that people labelled: agreement, Cohen's kappa, both error rates, and what stays unproven.

The file has a JSON object per line:

    {"label": "same" or "different", "demonstration": ..., "action": ..., "state_id": "..."}
    {"label": ..., "demonstration": ..., "action": ..., "messages": [...], "tools": [...], "action_format": "native"}

A demonstration or action is a text (a message), an assistant message in OpenAI form, or an action as the tables store
it. The state is one of the run (`state_id`), or is given by `messages`, `tools` and `action_format`, all optional.
`domain` counts for the rules of `auto`. Other keys are left alone.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from pivotmine import strict_json
from pivotmine.actions import (
    NATIVE,
    Action,
    action_from_json,
    action_from_message,
    action_to_json,
    implied_tools,
    is_text,
    read_message,
)
from pivotmine.actions.conventions import require_action_format
from pivotmine.errors import UserError
from pivotmine.run import rundir
from pivotmine.run.states import action_formats, state_messages
from pivotmine.verifiers import State, Verdict, VerifierSpec, prepare, resolve
from pivotmine.verifiers.concurrent import JudgeCall, judge_all
from pivotmine_stages.audit.trials import FULL_REWARD

SAME, DIFFERENT = "same", "different"
_STORED_KEYS = {"message", "tool_calls", "reasoning", "unparsed", "truncated", "text"}


class Pair(NamedTuple):
    line: int
    same: bool
    """The label."""
    state: State
    domain: str | None
    demonstration: Action
    action: Action


def calibrate(spec: VerifierSpec, path: Path, run: Path, num_examples: int) -> dict[str, Any]:
    """Judge every pair of the file; UserError that names the line, before any is judged, if one cannot be read.

    Rates are over the pairs with a reward (`decided`); unproven pairs and failures are counted by label. `not_asked`
    are pairs that the verifier does not handle, or whose demonstration does not pass its own gate.
    """
    started = time.monotonic()
    pairs = _read(path, run)
    verdicts = _judged(spec, pairs)
    counts: Counter[str] = Counter()
    errors: list[dict[str, Any]] = []
    for pair, verdict in zip(pairs, verdicts, strict=True):
        label = SAME if pair.same else DIFFERENT
        counts[label] += 1
        answer = _answer(verdict)
        counts[f"{label}_{answer}"] += 1
        if answer in (SAME, DIFFERENT) and answer != label:
            said = {"demonstrated": action_to_json(pair.demonstration), "given": action_to_json(pair.action)}
            detail = verdict.detail if verdict else ""
            errors.append({"line": pair.line, "label": label, "answer": answer, "detail": detail, **said})
    summary = {"verifier_id": spec.verifier_id, "pairs": len(pairs), **figures(counts)}
    rundir.write_manifest(
        run, "calibrate", {"verifier_id": spec.verifier_id, "file": str(path.resolve())}, {"summary": summary}
    )
    return {**summary, "errors": errors[:num_examples], "seconds": round(time.monotonic() - started, 2)}


def figures(counts: Counter[str]) -> dict[str, Any]:
    """Agreement, kappa and rates, from counts of `<label>_<answer>`; null where nothing was decided."""
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


def _judged(spec: VerifierSpec, pairs: Sequence[Pair]) -> Iterator[Verdict | None]:
    """A verdict on each pair; None: the verifier cannot be asked."""
    calls: list[JudgeCall | None] = []
    gates: list[JudgeCall] = []
    for pair in pairs:
        verifier = resolve(spec, pair.domain, [pair.demonstration])
        if verifier is None:
            calls.append(None)
            continue
        judge = prepare(verifier, pair.state, [pair.demonstration])
        calls.append(JudgeCall(judge, pair.action, verifier.num_waiting))
        gates.append(JudgeCall(judge, pair.demonstration, verifier.num_waiting))
    accepted = iter([verdict.reward == 1 for verdict in judge_all(gates)])
    open_calls = [call if call is not None and next(accepted) else None for call in calls]
    verdicts = judge_all([call for call in open_calls if call is not None])
    return (next(verdicts) if call is not None else None for call in open_calls)


def _read(path: Path, run: Path) -> list[Pair]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
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
    if missing := [key for key in ("demonstration", "action") if not isinstance(row.get(key), str | dict)]:
        raise UserError(f"{where}: {missing[0]} must be a text, an assistant message or a stored action")
    kinds = {"messages": list, "tools": list, "action_format": str, "state_id": str, "domain": str}
    if wrong := [key for key, kind in kinds.items() if row.get(key) is not None and not isinstance(row[key], kind)]:
        raise UserError(f"{where}: {wrong[0]} must be a {'list' if kinds[wrong[0]] is list else 'text'}")
    if not all(isinstance(one, dict) for key in ("messages", "tools") for one in row.get(key) or ()):
        raise UserError(f"{where}: messages and tools must be lists of objects")
    if row.get("action_format") is not None:
        require_action_format(row["action_format"])
    return row


def _pair(path: Path, number: int, row: dict[str, Any], known: dict[str, dict[str, Any]]) -> Pair:
    state = row
    if row.get("state_id") is not None:
        if row["state_id"] not in known:
            raise UserError(f"--calibrate {path}, line {number}: the run has no state {row['state_id']}")
        state = known[row["state_id"]]
    action_format = state.get("action_format") or NATIVE
    try:
        demonstration, action = (_action(row[key], action_format) for key in ("demonstration", "action"))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"--calibrate {path}, line {number}: an action cannot be read: {error!r:.200}") from None
    tools = implied_tools(action_format, [demonstration]) if is_text(action_format) else state.get("tools") or ()
    seen = State(tools=tuple(tools), messages=tuple(state.get("messages") or ()), action_format=action_format)
    return Pair(number, row["label"] == SAME, seen, row.get("domain") or state.get("domain"), demonstration, action)


def _action(given: str | dict[str, Any], action_format: str) -> Action:
    message = {"role": "assistant", "content": given} if isinstance(given, str) else given
    calls = message.get("tool_calls") or ()
    if message.keys() <= _STORED_KEYS and all("name" in call for call in calls):
        return action_from_json(strict_json.dumps(message))
    if is_text(action_format):
        return read_message(message, action_format)
    if isinstance(given, str):
        return Action(message=given.strip())
    return action_from_message(message)


def _states(run: Path, wanted: set[str]) -> dict[str, dict[str, Any]]:
    """By state_id: messages, tools, action_format and domain."""
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
