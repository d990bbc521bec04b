"""Helpers for tests of readers: real files, and records through the readers as in `extract`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pivotmine import messages
from pivotmine.readers import READERS, detect, grouped
from pivotmine.readers.trajectory import BadTrajectory, Trajectory
from pivotmine.sources.sources import read_source

needs_real_data = pytest.mark.skipif("PIVOTMINE_REAL_DATA" not in os.environ, reason="real trajectories are not here")


def real_file(path: str) -> Path:
    return Path(os.environ["PIVOTMINE_REAL_DATA"]) / path


def records_of(path: Path) -> list[Any]:
    """The values of a JSON or JSON-lines file, read with the standard library only."""
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.splitlines()]


def read_file(path: Path, name: str | None = None) -> list[tuple[str, Trajectory | BadTrajectory]]:
    """Each record of a file as (name of its reader, trajectory or fault)."""
    found: list[tuple[str, Trajectory | BadTrajectory]] = []
    for record in grouped(read_source(path), name):
        try:
            if record.problem:
                raise BadTrajectory(*record.problem)
            reader = name or detect(record.value)
            found.append((reader, READERS[reader].read(record.value)))
        except BadTrajectory as bad:
            found.append(("", bad))
    return found


def trajectories(path: Path, reader: str) -> list[Trajectory]:
    """The trajectories of a file; all of its records must go to this reader."""
    found = read_file(path)
    assert {name for name, _ in found} == {reader}, found
    kept = [trajectory for _, trajectory in found if isinstance(trajectory, Trajectory)]
    problems = [messages.problem(m) for t in kept for s in t.segments for m in s.messages]
    assert set(problems) == {None}
    return kept


def turns_of(found: Trajectory) -> list[dict[str, Any]]:
    """The messages that are turns."""
    return [m for s in found.segments for m in s.messages[s.num_inherited :] if m["role"] == "assistant"]
