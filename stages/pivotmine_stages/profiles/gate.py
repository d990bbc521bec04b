"""The gate: a state is eligible for a verifier if a demonstration passes it.

A verifier that rejects the recorded action says nothing about the policy's actions. A gate is a fact of the state and
the verifier: it is judged once and stored in `gates/<verifier_id>.parquet`. Gates for which the verifier's machinery
failed are not stored.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
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
_WRITES_SHARE = 20.0
"""The next write waits this many times as long as the last one took, because each rewrites the whole file."""
STATES_AT_ONCE = 1 << 14
"""Maximum number of states that are objects at a time."""
_STORED = ("gate", "detail", "usable")


class Actions(Mapping[str, Action]):
    """Actions by their stored form, parsed on access: a run may have millions of gates."""

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
    """What the verifier sees of the state, without its messages: they are long, and read only if needed."""
    usable: Mapping[str, Action]
    """The demonstrations that pass, by their stored form; empty if the gate fails."""
    gate: str
    """As in `profiles`: `correct`, the first demonstration's outcome, or `no_verifier`."""
    detail: str | None = None
    """Why the gate fails."""
    verifier: VerifierSpec | None = None
    """The verifier that judges the state; None if the gate fails."""


class _Demonstration(NamedTuple):
    text: str
    """Its stored form."""
    action: Action
    verifier: VerifierSpec | None
    """The verifier that the rules choose for it."""


class _Job(NamedTuple):
    """A state whose gate is wanted."""

    state: State
    domain: str | None
    demonstrations: list[_Demonstration]


class GateTable:
    """The gates of many states as a table, which takes a tenth of the memory. `gates` gives some of them as objects.

    `rows` has a row per state: state_id, tools_id, domain, action_format, demonstrations (a list of the distinct ones),
    gate, detail, usable (indices of the demonstrations that pass; empty if the gate fails), needs_messages and
    judges_truncated (of the verifier that judges the state; false if none does).
    """

    def __init__(self, run: Path, spec: VerifierSpec, states: pl.DataFrame) -> None:
        """states: the first five columns of `rows`."""
        self._native = {key: State(tools=tuple(found or ())) for key, found in tools_by_id(run).items()}
        self._spec = spec
        self.rows = states

    def gates(self, rows: pl.DataFrame) -> dict[str, Gate]:
        """The gates of some of the rows."""
        columns = rows.select(*_STATE, *_STORED).iter_rows()
        return {row[0]: _stored_gate(self._spec, self.job(*row[1:5]), *row[5:]) for row in columns}

    def job(self, tools_id: str | None, domain: str | None, action_format: str | None, shown: list[str]) -> _Job:
        """The job of one row."""
        demonstrations = _demonstrations(self._spec, domain, shown)
        state = self._native[tools_id]
        if is_text(action_format):
            executed = implied_tools(action_format, [found.action for found in demonstrations])
            state = State(tools=executed, action_format=action_format)
        return _Job(state, domain, demonstrations)


_STATE = ("state_id", "tools_id", "domain", "action_format", "demonstrations")
_JUDGED = {"gate": pl.String, "detail": pl.String, "usable": pl.List(pl.Int32)}
_READS = {"needs_messages": pl.Boolean, "judges_truncated": pl.Boolean}


def gate_states(run: Path, turns: pl.DataFrame, spec: VerifierSpec) -> dict[str, Gate]:
    """The gate of each state of the demonstrated `turns`, in their order.

    A gate is judged once, and stored in `gates`. turns: all demonstrated turns of their states. A state's domain is
    that of its first turn. Messages are read only if the state's verifier needs them.
    """
    table = _ungated(run, turns, spec)
    gates = {state_id: gate for state_id, gate, _ in _judged(run, table, turns, spec, None)}
    return {state_id: gates[state_id] for state_id in table.rows["state_id"]}


def gate_table(run: Path, turns: pl.DataFrame, spec: VerifierSpec, texts: SegmentTexts | None = None) -> GateTable:
    """`gate_states` as a table, for runs of any size. texts: as in `state_messages`."""
    table = _ungated(run, turns, spec)
    schema = {"state_id": pl.String, **_JUDGED, **_READS}
    found, rows = [pl.DataFrame(schema=schema)], list[tuple[Any, ...]]()
    for state_id, gate, places in _judged(run, table, turns, spec, texts):
        used = gate.verifier
        reads = (False, False) if used is None else (used.needs_messages, used.judges_truncated)
        rows.append((state_id, gate.gate, gate.detail, places, *reads))
        if len(rows) == STATES_AT_ONCE:
            found.append(pl.DataFrame(rows, schema, orient="row"))
            rows.clear()
    judged = pl.concat([*found, pl.DataFrame(rows, schema, orient="row")])
    table.rows = table.rows.drop(_STORED).join(judged, on="state_id", how="left", maintain_order="left")
    return table


def _ungated(run: Path, turns: pl.DataFrame, spec: VerifierSpec) -> GateTable:
    """The states of the turns, in their order; `gate`, `detail` and `usable` are null if no gate is stored."""
    columns = turns.select("state_id", "tools_id", "domain", "action_format", demonstrations="demonstration")
    states = columns.group_by("state_id", maintain_order=True).agg(
        pl.col("tools_id", "domain", "action_format").first(), pl.col("demonstrations").unique(maintain_order=True)
    )
    path = _gates_file(run, spec)
    stored = rundir.scan(run, "gates", [one for one in require_sound(run, "gates", may_lack=True) if one == path])
    stored = stored.select("state_id", *_STORED).join(states.select("state_id").lazy(), on="state_id", how="semi")
    stored = stored.unique("state_id", keep="last").collect()
    return GateTable(run, spec, states.join(stored, on="state_id", how="left", maintain_order="left"))


def _judged(
    run: Path, table: GateTable, turns: pl.DataFrame, spec: VerifierSpec, texts: SegmentTexts | None
) -> Iterator[tuple[str, Gate, list[int]]]:
    """(state_id, gate, usable) of every row; gates that are judged now and need messages come last."""
    waiting: list[str] = []
    with _GateWriter(run, spec) as writer:
        for row in table.rows.select(*_STATE, *_STORED).iter_rows():
            state_id, job, stored = row[0], table.job(*row[1:5]), row[5:]
            if stored[0] is not None:
                yield state_id, _stored_gate(spec, job, *stored), stored[2]
            elif any(found.verifier and found.verifier.needs_messages for found in job.demonstrations):
                waiting.append(state_id)
            else:
                yield state_id, *writer.judge(state_id, job, job.state)
        wanted = pl.DataFrame({"state_id": waiting}, {"state_id": pl.String})
        first = turns.unique("state_id", keep="first", maintain_order=True)
        first = first.join(wanted, on="state_id", how="semi", maintain_order="left")
        first = first.select("state_id", "segment_id", "position", "tools_id")
        with ExitStack() as stack:
            texts = stack.enter_context(SegmentTexts(run)) if texts is None else texts
            texts.add(first)
            for some in first.iter_slices(STATES_AT_ONCE):
                rows = table.rows.join(some, on="state_id", how="semi").select(_STATE)
                jobs = {row[0]: table.job(*row[1:]) for row in rows.iter_rows()}
                for found in state_messages(run, some, texts):
                    state_id = found.turn["state_id"]
                    job = jobs[state_id]
                    seen = replace(job.state, messages=tuple(found.messages))
                    yield state_id, *writer.judge(state_id, job, seen)


def _gates_file(run: Path, spec: VerifierSpec) -> Path:
    return run / "gates" / f"{spec.verifier_id}.parquet"


def _stored_gate(spec: VerifierSpec, job: _Job, gate: str, detail: str | None, places: list[int]) -> Gate:
    usable = [job.demonstrations[place] for place in places]
    verifier = resolve(spec, job.domain, [found.action for found in usable]) if usable else None
    return Gate(job.state, Actions(found.text for found in usable) if usable else _NONE, gate, detail, verifier)


class _GateWriter:
    """Judges gates and stores them: from time to time, so that a kill loses little, and at the end."""

    def __init__(self, run: Path, spec: VerifierSpec) -> None:
        self.run, self.spec = run, spec
        self.rows: list[dict[str, Any]] = []
        self.written, self.took = time.monotonic(), 0.0

    def __enter__(self) -> _GateWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._write()

    def judge(self, state_id: str, job: _Job, state: State) -> tuple[Gate, list[int]]:
        """The gate of a state, and the indices of its usable demonstrations. state: with messages if needed."""
        gate, is_final = _gate(self.spec, job, state)
        places = [place for place, found in enumerate(job.demonstrations) if found.text in gate.usable]
        if is_final:
            row = {"verifier_id": self.spec.verifier_id, "state_id": state_id, "usable": places}
            self.rows.append({**row, "gate": gate.gate, "detail": gate.detail})
        if time.monotonic() - self.written > max(SECONDS_PER_WRITE, _WRITES_SHARE * self.took):
            self._write()
        return gate, places

    def _write(self) -> None:
        """Add the rows to the file. Another process may have added the same rows, or others."""
        rows, self.rows = self.rows, []
        if not rows:
            return
        path, started = _gates_file(self.run, self.spec), time.monotonic()
        try:
            # Other processes that judge gates hold this lock only for a moment: wait.
            with rundir.stage_lock(self.run, "gates", wait=True):
                manifest = PartsManifest(self.run, path.parent)
                manifest.forget_lost()
                known = rundir.scan(self.run, "gates", [path] if path.exists() else []).collect()
                added = pl.DataFrame(pa.Table.from_pylist(rows, schema=GATES))
                every = pl.concat([known, added]).unique("state_id", keep="first").sort("state_id")
                manifest.write(path, every.to_arrow().cast(GATES))
        except OSError as error:
            # A run on a read-only disk can be audited, but judges these gates again the next time.
            if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise
        self.written = time.monotonic()
        self.took = self.written - started


def seen_states(
    run: Path, turns: pl.DataFrame, gates: dict[str, Gate], texts: SegmentTexts | None = None
) -> Iterator[tuple[str, Gate, State]]:
    """The states of `turns` that pass their gate, each as its verifier sees it; with memory for one state's messages.

    Those whose verifier needs messages come last. texts: as in `state_messages`.
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
    """Judge each demonstration against itself, by its own verifier; False if the machinery failed for one."""
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


def reject_reason(gate: str) -> str:
    """The reject's reason if the gate fails."""
    return NO_VERIFIER if gate == NO_VERIFIER else "unverifiable"


_PLACE = ("source", "source_index", "trajectory_id", "turn_id", "state_id", "num_turns")
REJECTED = ("stage", "reason", "detail", *_PLACE)
"""Columns of `rejects` that a state has."""


def as_reject(stage: str, reason: str, turn: dict[str, Any], detail: str | None) -> dict[str, Any]:
    """A state that a stage drops, as a row of `rejects`; `turn` is its first demonstrated turn."""
    known = {name: turn[name] for name in _PLACE}
    return {"stage": stage, "reason": reason, "detail": detail, **known}
