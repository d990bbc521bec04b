"""Broken records, and checks of what a reader makes of them."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator
from typing import Any

from hypothesis import strategies as st

from pivotmine import messages
from pivotmine.actions import action_from_message
from pivotmine.readers import READERS, detect, grouped
from pivotmine.readers.trajectory import BadTrajectory, Trajectory
from pivotmine.sources.json_records import Record

JUNK: list[Any] = [None, True, 0, -1.5, "", "\x1b[2J", "x", [], {}, [None], [[]], [{}], {"a": None}, ["x"], [0]]


def nodes(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of everything inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        yield (*path, key)
        yield from nodes(child, (*path, key))


def strings(value: Any) -> Iterator[str]:
    """Every text inside a JSON value."""
    if isinstance(value, str):
        yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from strings(child)


@st.composite
def broken(draw: st.DrawFn, records: list[Any]) -> list[Any]:
    """The records with one to three inner values removed, doubled, or replaced by junk."""
    found = copy.deepcopy(records)
    for _ in range(draw(st.integers(1, 3))):
        paths = list(nodes(found))
        # Choose a level, then a value on it: most values of a record are deep inside, most of its structure is not.
        depth = draw(st.sampled_from(sorted({len(path) for path in paths})))
        *path, key = draw(st.sampled_from([path for path in paths if len(path) == depth]))
        parent = found
        for step in path:
            parent = parent[step]
        match draw(st.sampled_from(["drop", "junk", "double"])):
            case "drop":
                del parent[key]
            case "double" if isinstance(parent, list):
                parent.insert(key, copy.deepcopy(parent[key]))
            case _:
                parent[key] = copy.deepcopy(draw(st.sampled_from(JUNK)))
        if not list(nodes(found)):
            break
    return found


def read_records(records: Iterable[Any], name: str | None = None) -> list[Trajectory | BadTrajectory]:
    """Read the records of one file as `extract` does; no exception but BadTrajectory may occur."""
    found: list[Trajectory | BadTrajectory] = []
    given = (r if isinstance(r, Record) else Record(i, r) for i, r in enumerate(records))
    for record in grouped(given, name):
        try:
            if record.problem:
                raise BadTrajectory(*record.problem)
            found.append(READERS[name or detect(record.value)].read(record.value))
        except BadTrajectory as bad:
            json.dumps([bad.reason, bad.detail])
            found.append(bad)
    return found


def usable_turns(found: Trajectory) -> list[tuple[str, dict[str, Any]]]:
    """(state id, message) of the turns that `extract` would keep: those before a message that no state can contain."""
    turns: list[tuple[str, dict[str, Any]]] = []
    for segment in found.segments:
        state = messages.StateHash(None)
        for position, message in enumerate(segment.messages):
            if messages.problem(message):
                break
            if message["role"] == "assistant" and position >= segment.num_inherited:
                action_from_message(message)
                turns.append((state.state_id(), message))
            state.add(message)
    json.dumps(found.metadata)
    return turns


def check_broken(records: list[Any], name: str | None = None) -> None:
    """Check that reading never raises, and that turns contain only text from the records."""
    texts = sorted({text for text in strings(records) if text}, key=len, reverse=True)
    for found in read_records(records, name):
        for _, message in usable_turns(found) if isinstance(found, Trajectory) else ():
            left = messages.text_of(message.get("content"))
            for text in texts:
                left = left.replace(text, "")
            assert not left.strip(), message
