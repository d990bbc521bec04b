"""The gate: a state is eligible for a verifier if a demonstration passes it.

A verifier that rejects the recorded action says nothing about the policy's actions. A gate is a fact of the state and
the verifier: it is judged once and stored in `gates/<verifier_id>.parquet`. Gates for which the verifier's machinery
failed are not stored.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa

from pivotmine.actions import Action, action_from_json, implied_tools, is_text
from pivotmine.run import rundir
from pivotmine.run.parts import PartsManifest, require_sound
from pivotmine.run.segment_texts import SegmentTexts, tools_by_id
from pivotmine.run.states import state_messages
from pivotmine.run.tables import GATES
from pivotmine.verifiers import Outcome, State, VerifierSpec, passes_gate, resolve

NO_VERIFIER = "no_verifier"
SECONDS_PER_WRITE = 30.0
_STORED = ("gate", "detail", "usable")


class Actions(Mapping[str, Action]):
    """Actions by their stored form, read when they are asked for: a run may hold millions of gates."""

    __slots__ = ("_texts",)

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = tuple(texts)

    def __getitem__(self, text: str) -> Action:
        if text not in self._texts:
            raise KeyError(text)
        return action_from_json(text)

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


_NONE = Actions(())


class Gate(NamedTuple):
    state: State
    """What the verifier sees of the state, without its messages: they are long, and read where they are needed."""
    usable: Mapping[str, Action]
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


class _Job(NamedTuple):
    """One state on its way to a gate."""

    state: State
    domain: str | None
    demonstrations: list[_Demonstration]


def gate_states(
    run: Path, turns: pl.DataFrame, spec: VerifierSpec, texts: SegmentTexts | None = None
) -> dict[str, Gate]:
    """The gate of each state of the demonstrated `turns`, in their order.

    A gate is judged once, and stored in `gates`. `turns` holds all demonstrated turns of its states. A state's domain
    is that of its first turn. Messages are read only if the state's verifier asks for them; texts: as in
    `state_messages`.
    """
    native = {key: State(tools=tuple(found or ())) for key, found in tools_by_id(run).items()}
    grouped = turns.group_by("state_id", maintain_order=True).agg(
        pl.col("tools_id", "domain", "action_format").first(), pl.col("demonstration").unique(maintain_order=True)
    )
    stored = _read_gates(run, spec, grouped["state_id"])
    gates: dict[str, Gate] = {}
    waiting: dict[str, _Job] = {}
    with _GateWriter(run, spec) as writer:
        for state_id, tools_id, domain, action_format, shown in grouped.iter_rows():
            demonstrations = _demonstrations(spec, domain, shown)
            state = native[tools_id]
            if is_text(action_format):
                executed = implied_tools(action_format, [found.action for found in demonstrations])
                state = State(tools=executed, action_format=action_format)
            job = _Job(state, domain, demonstrations)
            # An entry in any case: the order of states is that of the turns.
            gates[state_id] = Gate(job.state, _NONE, NO_VERIFIER)
            if state_id in stored:
                gates[state_id] = _stored_gate(spec, job, *stored[state_id])
            elif any(found.verifier and found.verifier.needs_messages for found in job.demonstrations):
                waiting[state_id] = job
            else:
                gates[state_id] = writer.judge(state_id, job, job.state)
        first = turns.unique("state_id", keep="first", maintain_order=True)
        for found in state_messages(run, first.filter(pl.col("state_id").is_in(list(waiting))), texts):
            state_id = found.turn["state_id"]
            job = waiting[state_id]
            gates[state_id] = writer.judge(state_id, job, replace(job.state, messages=tuple(found.messages)))
    return gates


def _gates_file(run: Path, spec: VerifierSpec) -> Path:
    return run / "gates" / f"{spec.verifier_id}.parquet"


def _read_gates(run: Path, spec: VerifierSpec, state_ids: pl.Series) -> dict[str, tuple[str, str | None, list[int]]]:
    """By state_id: gate, detail and usable, of the states that were judged before."""
    path = _gates_file(run, spec)
    rows = rundir.scan(run, "gates", [one for one in require_sound(run, "gates", may_lack=True) if one == path])
    rows = rows.join(state_ids.to_frame().lazy(), on="state_id", how="semi")
    return {state_id: tuple(row) for state_id, *row in rows.select("state_id", *_STORED).collect().iter_rows()}


def _stored_gate(spec: VerifierSpec, job: _Job, gate: str, detail: str | None, places: list[int]) -> Gate:
    usable = [job.demonstrations[place] for place in places]
    verifier = resolve(spec, job.domain, [found.action for found in usable]) if usable else None
    return Gate(job.state, Actions(found.text for found in usable) if usable else _NONE, gate, detail, verifier)


class _GateWriter:
    """Judges gates and stores them: now and then, so that a kill loses little, and at the end."""

    def __init__(self, run: Path, spec: VerifierSpec) -> None:
        self.run, self.spec = run, spec
        self.rows: list[dict[str, Any]] = []
        self.written = time.monotonic()

    def __enter__(self) -> _GateWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._write()

    def judge(self, state_id: str, job: _Job, state: State) -> Gate:
        """The gate of a state, `state` with the messages if the verifier asks for them."""
        gate, is_final = _gate(self.spec, job, state)
        if is_final:
            places = [place for place, found in enumerate(job.demonstrations) if found.text in gate.usable]
            row = {"verifier_id": self.spec.verifier_id, "state_id": state_id, "usable": places}
            self.rows.append({**row, "gate": gate.gate, "detail": gate.detail})
        if time.monotonic() - self.written > SECONDS_PER_WRITE:
            self._write()
        return gate

    def _write(self) -> None:
        """Add the rows to the file; another process may have added the same, or others."""
        rows, self.rows = self.rows, []
        if not rows:
            return
        path = _gates_file(self.run, self.spec)
        try:
            # The locks of two processes that judge the same states are held for a moment only: wait.
            with rundir.stage_lock(self.run, "gates", wait=True):
                manifest = PartsManifest(self.run, path.parent)
                manifest.forget_lost()
                known = rundir.scan(self.run, "gates", [path] if path.exists() else []).collect()
                added = pl.DataFrame(pa.Table.from_pylist(rows, schema=GATES))
                every = pl.concat([known, added]).unique("state_id", keep="first").sort("state_id")
                manifest.write(path, every.to_arrow().cast(GATES))
        except OSError as error:
            # A run on a read-only disk can be audited; it judges again the next time.
            if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise
        self.written = time.monotonic()


def seen_states(
    run: Path, turns: pl.DataFrame, gates: dict[str, Gate], texts: SegmentTexts | None = None
) -> Iterator[tuple[str, Gate, State]]:
    """The states of `turns` that pass their gate, each as its verifier sees it; with memory for one state's messages.

    Those whose verifier asks for messages come last. texts: as in `state_messages`.
    """
    asking: list[str] = []
    for state_id, gate in gates.items():
        if gate.verifier is not None and gate.verifier.needs_messages:
            asking.append(state_id)
        elif gate.usable:
            yield state_id, gate, gate.state
    first = turns.unique("state_id", keep="first", maintain_order=True)
    for found in state_messages(run, first.filter(pl.col("state_id").is_in(asking)), texts):
        gate = gates[found.turn["state_id"]]
        yield found.turn["state_id"], gate, replace(gate.state, messages=tuple(found.messages))


def _demonstrations(spec: VerifierSpec, domain: str | None, texts: list[str]) -> list[_Demonstration]:
    actions = [action_from_json(text) for text in texts]
    return [_Demonstration(text, a, resolve(spec, domain, [a])) for text, a in zip(texts, actions, strict=True)]


def _gate(spec: VerifierSpec, job: _Job, state: State) -> tuple[Gate, bool]:
    """Judge each demonstration against itself, by its own verifier; False if the machinery failed for one of them."""
    demonstrations = job.demonstrations
    verdicts = [(found, passes_gate(found.verifier, state, found.action)) for found in demonstrations if found.verifier]
    if not verdicts:
        detail = f"{spec.name} does not verify {demonstrations[0].action.kind} turns"
        return Gate(job.state, _NONE, NO_VERIFIER, detail), True
    is_final = all(verdict.outcome != Outcome.ERROR for _, verdict in verdicts)
    usable = [found for found, verdict in verdicts if verdict.reward == 1]
    if usable:
        verifier = resolve(spec, job.domain, [found.action for found in usable])
        return Gate(job.state, Actions(found.text for found in usable), str(Outcome.CORRECT), None, verifier), is_final
    _, first = verdicts[0]
    return Gate(job.state, _NONE, str(first.outcome), first.detail or None), is_final


def as_reject(stage: str, reason: str, turn: dict[str, Any], detail: str | None) -> dict[str, Any]:
    """A state that a stage drops, as a row of `rejects`; `turn` is its first demonstrated turn."""
    known = {k: turn[k] for k in ("source", "source_index", "trajectory_id", "turn_id", "state_id", "num_turns")}
    return {"stage": stage, "reason": reason, "detail": detail, **known}
