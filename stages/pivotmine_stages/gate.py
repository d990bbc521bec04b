"""The gate: a state is eligible for a verifier when a demonstration passes it.

A verifier that does not accept the recorded action says nothing about the policy's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from pivotmine.actions import Action, action_from_json
from pivotmine.states import tools_by_id
from pivotmine.verifiers import Outcome, State, VerifierSpec, passes_gate

NO_VERIFIER = "no_verifier"


class Gate(NamedTuple):
    state: State
    """What the verifier sees of the state."""
    usable: dict[str, Action]
    """The demonstrations that pass, by their stored form; empty where the gate fails."""
    gate: str
    """As in `profiles`: `correct`, the first demonstration's outcome, or `no_verifier`."""
    detail: str | None = None
    """Why the gate fails."""

    @property
    def reject_reason(self) -> str:
        """The reject's reason where the gate fails."""
        return NO_VERIFIER if self.gate == NO_VERIFIER else "unverifiable"


def gate_states(run: Path, turns: pl.DataFrame, spec: VerifierSpec) -> dict[str, Gate]:
    """The gate of each state of the demonstrated `turns`, in their order."""
    states = {key: State(tools=tuple(tools or ())) for key, tools in tools_by_id(run).items()}
    grouped = turns.group_by("state_id", maintain_order=True).agg(
        pl.col("tools_id").first(), pl.col("demonstration").unique(maintain_order=True)
    )
    return {
        state_id: usable_demonstrations(spec, states[tools_id], demonstrations)
        for state_id, tools_id, demonstrations in grouped.iter_rows()
    }


def usable_demonstrations(spec: VerifierSpec, state: State, demonstrations: list[str]) -> Gate:
    """Judge each of a state's demonstrations, given in their stored form, against itself."""
    actions = {text: action_from_json(text) for text in demonstrations}
    handled = {text: action for text, action in actions.items() if spec.handles(action.kind)}
    if not handled:
        kind = actions[demonstrations[0]].kind
        return Gate(state, {}, NO_VERIFIER, f"{spec.name} does not verify {kind} turns")
    verdicts = {text: passes_gate(spec, state, action) for text, action in handled.items()}
    usable = {text: action for text, action in handled.items() if verdicts[text].reward == 1}
    if usable:
        return Gate(state, usable, str(Outcome.CORRECT))
    first = next(iter(verdicts.values()))
    return Gate(state, {}, str(first.outcome), first.detail or None)


def as_reject(stage: str, reason: str, turn: dict[str, Any], detail: str | None) -> dict[str, Any]:
    """A state that a stage drops, as a row of `rejects`; `turn` is its first demonstrated turn."""
    known = {k: turn[k] for k in ("source", "source_index", "trajectory_id", "turn_id", "state_id", "num_turns")}
    return {"stage": stage, "reason": reason, "detail": detail, **known}
