"""The gate: a state is eligible for a verifier when a demonstration passes it.

A verifier that does not accept the recorded action says nothing about the policy's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from pivotmine.actions import Action, action_from_json
from pivotmine.run.states import state_messages, tools_by_id
from pivotmine.verifiers import Outcome, State, VerifierSpec, passes_gate, resolve

NO_VERIFIER = "no_verifier"


class Gate(NamedTuple):
    state: State
    """What the verifier sees of the state, without its messages: they are long, and read where they are needed."""
    usable: dict[str, Action]
    """The demonstrations that pass, by their stored form; empty where the gate fails."""
    gate: str
    """As in `profiles`: `correct`, the first demonstration's outcome, or `no_verifier`."""
    detail: str | None = None
    """Why the gate fails."""
    verifier: VerifierSpec | None = None
    """The one that judges the state; None where the gate fails."""

    @property
    def reject_reason(self) -> str:
        """The reject's reason where the gate fails."""
        return NO_VERIFIER if self.gate == NO_VERIFIER else "unverifiable"


class _Demonstration(NamedTuple):
    text: str
    """Its stored form."""
    action: Action
    verifier: VerifierSpec | None
    """The one that the rules name for it."""


def gate_states(run: Path, turns: pl.DataFrame, spec: VerifierSpec) -> dict[str, Gate]:
    """The gate of each state of the demonstrated `turns`, in their order.

    A state's domain is that of its first turn. Messages are read for those states only whose verifier asks for them.
    """
    tools = {key: tuple(found or ()) for key, found in tools_by_id(run).items()}
    grouped = turns.group_by("state_id", maintain_order=True).agg(
        pl.col("tools_id", "domain").first(), pl.col("demonstration").unique(maintain_order=True)
    )
    gates: dict[str, Gate] = {}
    waiting: dict[str, list[_Demonstration]] = {}
    for state_id, tools_id, domain, texts in grouped.iter_rows():
        state = State(tools=tools[tools_id])
        demonstrations = _demonstrations(spec, domain, texts)
        # An entry in any case: the order of states is that of the turns.
        gates[state_id] = Gate(state, {}, NO_VERIFIER)
        if any(found.verifier and found.verifier.needs_messages for found in demonstrations):
            waiting[state_id] = demonstrations
        else:
            gates[state_id] = _gate(spec, domain, state, state, demonstrations)
    first = turns.unique("state_id", keep="first", maintain_order=True)
    for found in state_messages(run, first.filter(pl.col("state_id").is_in(list(waiting)))):
        state_id, short = found.turn["state_id"], gates[found.turn["state_id"]].state
        state = replace(short, messages=tuple(found.messages))
        gates[state_id] = _gate(spec, found.turn["domain"], short, state, waiting[state_id])
    return gates


def seen_states(run: Path, turns: pl.DataFrame, gates: dict[str, Gate]) -> Iterator[tuple[str, Gate, State]]:
    """The states of `turns` that pass their gate, each as its verifier sees it; with memory for one state's messages.

    Those whose verifier asks for messages come last.
    """
    asking: list[str] = []
    for state_id, gate in gates.items():
        if gate.verifier is not None and gate.verifier.needs_messages:
            asking.append(state_id)
        elif gate.usable:
            yield state_id, gate, gate.state
    first = turns.unique("state_id", keep="first", maintain_order=True)
    for found in state_messages(run, first.filter(pl.col("state_id").is_in(asking))):
        gate = gates[found.turn["state_id"]]
        yield found.turn["state_id"], gate, replace(gate.state, messages=tuple(found.messages))


def _demonstrations(spec: VerifierSpec, domain: str | None, texts: list[str]) -> list[_Demonstration]:
    actions = [action_from_json(text) for text in texts]
    return [_Demonstration(text, a, resolve(spec, domain, [a])) for text, a in zip(texts, actions, strict=True)]


def _gate(
    spec: VerifierSpec, domain: str | None, short: State, state: State, demonstrations: list[_Demonstration]
) -> Gate:
    """Judge each of a state's demonstrations against itself, by its own verifier."""
    verdicts = [(found, passes_gate(found.verifier, state, found.action)) for found in demonstrations if found.verifier]
    if not verdicts:
        return Gate(short, {}, NO_VERIFIER, f"{spec.name} does not verify {demonstrations[0].action.kind} turns")
    usable = {found.text: found.action for found, verdict in verdicts if verdict.reward == 1}
    if usable:
        return Gate(short, usable, str(Outcome.CORRECT), verifier=resolve(spec, domain, list(usable.values())))
    _, first = verdicts[0]
    return Gate(short, {}, str(first.outcome), first.detail or None)


def as_reject(stage: str, reason: str, turn: dict[str, Any], detail: str | None) -> dict[str, Any]:
    """A state that a stage drops, as a row of `rejects`; `turn` is its first demonstrated turn."""
    known = {k: turn[k] for k in ("source", "source_index", "trajectory_id", "turn_id", "state_id", "num_turns")}
    return {"stage": stage, "reason": reason, "detail": detail, **known}
