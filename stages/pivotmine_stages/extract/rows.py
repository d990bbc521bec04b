"""Turn a trajectory into rows of segments, messages, tools and turns, and into rejects for what cannot be kept.

Every assistant message of a record becomes a turn or is counted in the `num_turns` of a reject. A message is stored
once. A turn names its state by (segment, position), so no prefix is written out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from pivotmine import messages, strict_json
from pivotmine.actions import NATIVE, is_text
from pivotmine.readers.trajectory import Segment, Trajectory
from pivotmine.readers.whole_context import find_gap
from pivotmine.run import arrow_columns, rundir
from pivotmine.run.tables import TABLES
from pivotmine_stages.extract import merge
from pivotmine_stages.extract.message_cache import MessageFacts, known_messages

_OF_SEGMENT = ("trajectory_id", "segment_id", "tools_id", "domain", "outcome")
"""Columns of `turns` that have one value in all turns of a segment."""


class Place(NamedTuple):
    source: str
    """Path of the source, as given."""
    source_index: int | None
    """Record in the source, from 0; None if the row is about the whole source."""


class Rows:
    """The rows of a block of records, by table. A row that occurs twice in the block is stored once."""

    def __init__(self) -> None:
        self.tables: dict[str, list[dict[str, Any]]] = {
            name: [] for name in (*rundir.EXTRACT_TABLES, "rejects") if name not in ("messages", "turns")
        }
        self._turns: dict[str, list[Any]] = {name: [] for name in TABLES["turns"].names if name not in _OF_SEGMENT}
        """Columns instead of rows, because most rows are turns."""
        self._of_segments: dict[str, list[Any]] = {name: [] for name in _OF_SEGMENT}
        """The columns of _OF_SEGMENT, with one value per segment."""
        self._num_turns: list[int] = []
        """Number of turns of each segment."""
        self.messages: dict[str, MessageFacts] = {}
        """By message_id; of equal messages the first."""
        self.known = known_messages()
        self._outcome_keys: list[str | None] = []
        self._undocumented_masks: list[int] = []
        self._states_without_user = set[bytes]()
        self._ids = set[str]()
        self._tools_ids: dict[bytes, str] = {}

    def is_new(self, identity: str) -> bool:
        """Return whether the id is new, and remember it."""
        new = identity not in self._ids
        self._ids.add(identity)
        return new

    def add_trajectory(self, row: dict[str, Any], outcome_key: str | None, undocumented_masks: int) -> None:
        """Add a row of `trajectories`. The other arguments are counted by the summary only."""
        self.tables["trajectories"].append(row)
        self._outcome_keys.append(outcome_key)
        self._undocumented_masks.append(undocumented_masks)

    def note_states(self, segment: Sequence[MessageFacts], states: Mapping[int, str]) -> None:
        """Note which states hold no user message."""
        first_user = next((at for at, message in enumerate(segment) if message.role == "user"), len(segment))
        self._states_without_user.update(bytes.fromhex(state) for at, state in states.items() if at <= first_user)

    def states_without_user(self) -> frozenset[bytes]:
        """Ids of the states that hold no user message."""
        return frozenset(self._states_without_user)

    def store_tools(self, tools: list[Any]) -> str:
        """Add tool definitions if they are new, and return their id."""
        key = strict_json.fingerprint(tools)
        if key not in self._tools_ids:
            tools_id = self._tools_ids[key] = messages.tools_id(tools)
            if self.is_new(tools_id):
                row = {"tools_id": tools_id, "tools": strict_json.dumps(tools), "num_tools": len(tools)}
                self.tables["tools"].append(row)
        return self._tools_ids[key]

    def reject(self, reason: str, place: Place, *, num_turns: int | None, detail: str = "", **ids: str) -> None:
        """Add a row of `rejects`."""
        row = {"stage": "extract", "reason": reason, **place._asdict(), "num_turns": num_turns}
        self.tables["rejects"].append({**row, "detail": detail or None, **ids})

    def add_turns(self, columns: Mapping[str, Sequence[Any]], of_segment: Mapping[str, Any]) -> None:
        """Add the rows of `turns` of one segment."""
        for name, values in columns.items():
            self._turns[name].extend(values)
        for name, value in of_segment.items():
            self._of_segments[name].append(value)
        self._num_turns.append(len(columns["position"]))

    def arrow(self) -> dict[str, pa.Table]:
        """Return the tables by name, in their schemas. `trajectories` also has the columns `merge.NOTED`."""
        made = {name: arrow_columns.table_of_rows(rows, TABLES[name]) for name, rows in self.tables.items()}
        noted = zip(merge.NOTED, (self._outcome_keys, self._undocumented_masks), strict=True)
        for field, values in noted:
            made["trajectories"] = made["trajectories"].append_column(field, arrow_columns.column(values, field.type))
        return {**made, "turns": self._turns_table(), "messages": self._messages_table()}

    def _turns_table(self) -> pa.Table:
        schema = TABLES["turns"]
        kinds = {name: schema.field(name).type for name in _OF_SEGMENT}
        of_segments = {
            name: arrow_columns.repeated(values, kinds[name], self._num_turns)
            for name, values in self._of_segments.items()
        }
        return arrow_columns.table({**self._turns, **of_segments}, schema)

    def _messages_table(self) -> pa.Table:
        texts = arrow_columns.utf8([known.text for known in self.messages.values()])
        roles = [known.role for known in self.messages.values()]
        made = {"message_id": list(self.messages), "role": roles, "message": texts}
        return arrow_columns.table(made, TABLES["messages"])


def num_assistant(found: Iterable[Any]) -> int:
    """Count the assistant messages among arbitrary values."""
    return sum(isinstance(message, dict) and message.get("role") == "assistant" for message in found)


def store_trajectory(rows: Rows, found: Trajectory, *, reader: str, place: Place) -> bool:
    """Add the rows of one trajectory. Return False, and add a reject, if it has no usable turn or is stored already."""
    known = [rows.known.describe(segment.messages, segment.action_format or NATIVE) for segment in found.segments]
    usable = [_usable(rows, segment, of, place) for segment, of in zip(found.segments, known, strict=True)]
    own = [m for s, of in zip(found.segments, usable, strict=True) for m in of[s.num_inherited :]]
    num_turns = _num_turns(own)
    if not num_turns:
        if usable == known:
            rows.reject("no_turns", place, num_turns=0, detail="no assistant message")
        return False
    ids = [[message.message_id for message in of] for of in known]
    ordinary = strict_json.is_ordinary(
        [[s.tools for s in found.segments], found.task_id, found.outcome, found.metadata]
    )
    trajectory_id = _trajectory_id(found, ids, ordinary=ordinary)
    if not rows.is_new(trajectory_id):
        reject_duplicate(rows, trajectory_id, place, num_turns)
        return False
    num_stored = 0
    for number, (segment, of) in enumerate(zip(found.segments, usable, strict=True)):
        num_stored += _store_segment(rows, found, segment, of, f"{trajectory_id}/{number}", num_stored, place)
    assert num_stored == num_turns
    row = {"trajectory_id": trajectory_id, **place._asdict(), "format": reader, "task_id": found.task_id}
    row |= {"domain": found.domain, "outcome": found.outcome, "num_segments": len(usable), "num_turns": num_turns}
    metadata = strict_json.dumps(found.metadata, ordinary=ordinary) if found.metadata else None
    key = None if found.outcome is None else found.outcome_key or f"{reader} reader"
    rows.add_trajectory({**row, "metadata": metadata}, key, sum([m.undocumented_mask for m in own]))
    return True


def reject_duplicate(rows: Rows, trajectory_id: str, place: Place, num_turns: int) -> None:
    """Add the reject of a trajectory that is stored already."""
    detail = f"the same as trajectory {trajectory_id}"
    rows.reject("duplicate_trajectory", place, num_turns=num_turns, detail=detail)


def _trajectory_id(found: Trajectory, ids: list[list[str]], *, ordinary: bool) -> str:
    """Hash the content and the labels of a trajectory. ordinary: `is_ordinary` of everything except the ids."""
    content = [[m, s.tools or None, s.num_inherited] for m, s in zip(ids, found.segments, strict=True)]
    whole: list[Any] = [content, found.task_id, found.outcome, found.metadata]
    if any(is_text(segment.action_format) for segment in found.segments):  # native ones keep the ids of older versions
        whole.append([segment.action_format for segment in found.segments])
    return messages.digest(strict_json.canonical_bytes(whole, ordinary=ordinary))


def _num_turns(known: Iterable[MessageFacts]) -> int:
    return [message.role for message in known].count("assistant")


def _usable(rows: Rows, segment: Segment, known: list[MessageFacts], place: Place) -> list[MessageFacts]:
    """Cut the segment where its states become incomplete. One reject counts the turns from there on."""
    end = next((at for at, message in enumerate(known) if message.problem), len(known))
    parts = [message.part for message in known[:end]]
    if (gap := find_gap(parts, segment)) is not None:
        end, reason, detail = gap
    elif end < len(known):
        reason, detail = known[end].problem or ("", "")
    else:
        return known
    lost = _num_turns(known[max(end, segment.num_inherited) :])
    rows.reject(reason, place, num_turns=lost, detail=f"message {end}: {detail}")
    return known[:end]


def _store_segment(
    rows: Rows,
    found: Trajectory,
    segment: Segment,
    known: list[MessageFacts],
    segment_id: str,
    first_turn: int,
    place: Place,
) -> int:
    """Add a segment with its messages and turns, and return the number of its turns."""
    trajectory_id, _, number = segment_id.partition("/")
    tools_id = rows.store_tools(segment.tools) if segment.tools else None
    ids = [message.message_id for message in known]
    row = {"segment_id": segment_id, "trajectory_id": trajectory_id, "segment_index": int(number)}
    row["action_format"] = segment.action_format or NATIVE
    rows.tables["segments"].append({**row, "tools_id": tools_id, "message_ids": ids})
    for message in known:
        rows.messages.setdefault(message.message_id, message)
    states = _state_ids(segment, known, tools_id)
    rows.note_states(known, states)
    numbers = range(first_turn, first_turn + len(states))
    turns = {
        "turn_id": [f"{trajectory_id}:{number}" for number in numbers],
        "turn_index": numbers,
        "position": list(states),
        "state_id": list(states.values()),
    }
    of_segment = {"trajectory_id": trajectory_id, "segment_id": segment_id, "tools_id": tools_id}
    of_segment |= {"domain": found.domain, "outcome": found.outcome}
    rows.add_turns({**turns, **_demonstrated(rows, known, turns, trajectory_id, place)}, of_segment)
    return len(states)


def _state_ids(segment: Segment, known: list[MessageFacts], tools_id: str | None) -> dict[int, str]:
    """Return the state_id of each turn, by the turn's position."""
    state, found = messages.StateHash(tools_id, segment.action_format), dict[int, str]()
    for position, message in enumerate(known):
        if message.role == "assistant" and position >= segment.num_inherited:
            found[position] = state.state_id()
        assert message.seen is not None
        state.add_seen(message.seen)
    return found


def _demonstrated(
    rows: Rows, segment: Sequence[MessageFacts], turns: Mapping[str, Sequence[Any]], trajectory_id: str, place: Place
) -> dict[str, list[Any]]:
    """Return the columns of `turns` about demonstrations, and add a reject for each turn that is not one."""
    found: dict[str, list[Any]] = {"kind": [], "demonstration": [], "reject_reason": []}
    for turn_id, position, state_id in zip(*(turns[name] for name in ("turn_id", "position", "state_id")), strict=True):
        taken = segment[position].demonstration
        assert taken is not None
        reason, detail = taken.reason, taken.detail
        if reason is None and taken.kind == "tool_call" and (failure := _failure(segment, position)) is not None:
            reason, detail = "failed_call", failure
        found["kind"].append(taken.kind)
        found["demonstration"].append(taken.action)
        found["reject_reason"].append(reason)
        if reason:
            ids = {"trajectory_id": trajectory_id, "turn_id": turn_id, "state_id": state_id}
            rows.reject(reason, place, num_turns=1, detail=detail, **ids)
    return found


def _failure(segment: Sequence[MessageFacts], position: int) -> str | None:
    """Return the first failure among the results that follow a turn."""
    for at in range(position + 1, len(segment)):
        if segment[at].role == "assistant":
            break
        if (failure := segment[at].failure) is not None:
            return failure
    return None
