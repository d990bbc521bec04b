"""A trajectory as rows of segments, messages, tools and turns, and as rejects where something cannot be kept.

Every assistant message of a record becomes a turn or is counted in the `num_turns` of a reject. A message is stored
once; a turn names its state by (segment, position), so that no prefix is ever written out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pivotmine import jsonvalues, messages, rundir
from pivotmine.actions import action_from_message, action_to_json
from pivotmine.readers.trajectory import Segment, Trajectory
from pivotmine_stages.demonstrations import turn_problem

ROWS_PER_PART = 20_000
CHARS_PER_PART = 1 << 28
"""Of messages: a part is held in memory until it is written."""


class Place(NamedTuple):
    source: str
    """Path of the source, as given."""
    source_index: int | None
    """Record in the source, from 0; None: the source as a whole."""


class Tables:
    """Rows on their way to part files below a folder; what was stored once is not stored again."""

    def __init__(self, folder: Path) -> None:
        self.counts: Counter[str] = Counter()
        """Rows a table."""
        self._folder, self._seen = folder, set[str]()
        self._rows: dict[str, list[dict[str, Any]]] = {name: [] for name in (*rundir.EXTRACT_TABLES, "rejects")}
        self._num_parts: Counter[str] = Counter()
        self._num_chars = 0

    def is_new(self, identity: str) -> bool:
        """Whether the id is asked for the first time."""
        new = identity not in self._seen
        self._seen.add(identity)
        return new

    def add(self, table: str, row: dict[str, Any]) -> None:
        """Add a row; a full part is written."""
        self._rows[table].append(row)
        self.counts[table] += 1
        if len(self._rows[table]) >= ROWS_PER_PART:
            self._flush(table)

    def add_message(self, identity: str, message: dict[str, Any]) -> None:
        """Add a message where it is new."""
        if self.is_new(identity):
            text = jsonvalues.dumps(message)
            self._num_chars += len(text)
            self.add("messages", {"message_id": identity, "role": message["role"], "message": text})
            if self._num_chars >= CHARS_PER_PART:
                self._flush("messages")

    def reject(self, reason: str, place: Place, *, num_turns: int | None, detail: str = "", **ids: str) -> None:
        """Add a row of `rejects`."""
        row = {"stage": "extract", "reason": reason, **place._asdict(), "num_turns": num_turns}
        self.add("rejects", {**row, "detail": detail or None, **ids})

    def close(self) -> None:
        """Write what is left; every table has at least one part, if an empty one."""
        for table, rows in self._rows.items():
            if rows or not self._num_parts[table]:
                self._flush(table)

    def _flush(self, table: str) -> None:
        path = self._folder / table / f"part-{self._num_parts[table]:05d}.parquet"
        rundir.write_rows(path, table, self._rows[table])
        self._rows[table].clear()
        self._num_parts[table] += 1
        if table == "messages":
            self._num_chars = 0


def num_assistant(found: Iterable[Any]) -> int:
    """Assistant messages among values that may be anything."""
    return sum(isinstance(message, dict) and message.get("role") == "assistant" for message in found)


def store_trajectory(tables: Tables, found: Trajectory, *, reader: str, place: Place) -> bool:
    """Add the rows of one trajectory; False (and a reject) where nothing is left of it or it is stored already."""
    usable = [_usable(tables, segment, place) for segment in found.segments]
    num_turns = sum(num_assistant(s.messages[s.num_inherited :]) for s in usable)
    if not num_turns:
        if all(kept is whole for kept, whole in zip(usable, found.segments, strict=True)):
            tables.reject("no_turns", place, num_turns=0, detail="no assistant message")
        return False
    ids = [[messages.message_id(message) for message in segment.messages] for segment in found.segments]
    trajectory_id = _trajectory_id(found, ids)
    if not tables.is_new(trajectory_id):
        detail = f"the same as trajectory {trajectory_id}"
        tables.reject("duplicate_trajectory", place, num_turns=num_turns, detail=detail)
        return False
    num_stored = 0
    for number, (segment, message_ids) in enumerate(zip(usable, ids, strict=True)):
        shared = {
            "trajectory_id": trajectory_id,
            "segment_id": f"{trajectory_id}/{number}",
            "domain": found.domain,
            "outcome": found.outcome,
        }
        num_stored += _store_segment(tables, segment, message_ids, shared, number, num_stored, place)
    assert num_stored == num_turns
    row = {"trajectory_id": trajectory_id, **place._asdict(), "format": reader, "task_id": found.task_id}
    row |= {"domain": found.domain, "outcome": found.outcome, "num_segments": len(usable), "num_turns": num_turns}
    tables.add("trajectories", {**row, "metadata": jsonvalues.dumps(found.metadata) if found.metadata else None})
    return True


def _trajectory_id(found: Trajectory, ids: list[list[str]]) -> str:
    content = [[m, s.tools, s.num_inherited] for m, s in zip(ids, found.segments, strict=True)]
    return messages.digest(jsonvalues.canonical([content, found.task_id, found.outcome, found.metadata]))


def _usable(tables: Tables, segment: Segment, place: Place) -> Segment:
    """The segment up to its first message that no state can hold; the turns from there on are one counted reject."""
    for position, message in enumerate(segment.messages):
        if problem := messages.problem(message):
            lost = num_assistant(segment.messages[max(position, segment.num_inherited) :])
            tables.reject(problem[0], place, num_turns=lost, detail=f"message {position}: {problem[1]}")
            return replace(segment, messages=segment.messages[:position])
    return segment


def _store_segment(
    tables: Tables,
    segment: Segment,
    message_ids: list[str],
    shared: dict[str, Any],
    number: int,
    first_turn: int,
    place: Place,
) -> int:
    """Add a segment with its messages and turns; returns the number of its turns."""
    tools_id, num_turns = _store_tools(tables, segment.tools), 0
    row = {"segment_id": shared["segment_id"], "trajectory_id": shared["trajectory_id"], "segment_index": number}
    tables.add("segments", {**row, "tools_id": tools_id, "message_ids": message_ids[: len(segment.messages)]})
    state = messages.StateHash(tools_id)
    for position, message in enumerate(segment.messages):
        if message["role"] == "assistant" and position >= segment.num_inherited:
            at = {"turn_index": first_turn + num_turns, "position": position, "state_id": state.state_id()}
            _store_turn(tables, segment.messages, {**shared, **at, "tools_id": tools_id}, place)
            num_turns += 1
        tables.add_message(message_ids[position], message)
        state.add(message)
    return num_turns


def _store_tools(tables: Tables, tools: list[Any] | None) -> str | None:
    if not tools:
        return None
    tools_id = messages.tools_id(tools)
    if tables.is_new(tools_id):
        tables.add("tools", {"tools_id": tools_id, "tools": jsonvalues.dumps(tools), "num_tools": len(tools)})
    return tools_id


def _store_turn(tables: Tables, segment: list[dict[str, Any]], turn: dict[str, Any], place: Place) -> None:
    action = action_from_message(segment[turn["position"]])
    reason, detail = turn_problem(segment, turn["position"], action)
    ids = {"trajectory_id": turn["trajectory_id"], "turn_id": f"{turn['trajectory_id']}:{turn['turn_index']}"}
    demonstrated = {"kind": action.kind, "demonstration": action_to_json(action), "reject_reason": reason}
    tables.add("turns", {**turn, **ids, **demonstrated})
    if reason:
        tables.reject(reason, place, num_turns=1, detail=detail, state_id=turn["state_id"], **ids)
