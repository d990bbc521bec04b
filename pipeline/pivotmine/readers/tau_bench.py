"""tau-bench result files: a list of `{task_id, trial, reward, info, traj}`.

`traj` holds OpenAI messages, `reward` is the outcome (1 solved, 0 failed). The files hold no tools: use `--tools FILE`.
"""

from __future__ import annotations

from typing import Any

from pivotmine.readers.trajectory import BadTrajectory, Reader, Segment, Trajectory, outcome_label, text_or_none


def matches(record: Any) -> bool:
    """Whether a record has `traj`, `reward` and `task_id`."""
    return isinstance(record, dict) and {"traj", "reward", "task_id"} <= record.keys()


def read(record: Any) -> Trajectory:
    """Read a record as one segment: the context only grows."""
    if not isinstance(record, dict) or not isinstance(record.get("traj"), list):
        raise BadTrajectory("no_messages", "no list of messages under `traj`")
    return Trajectory(
        segments=(Segment(messages=record["traj"]),),
        task_id=text_or_none(record.get("task_id")),
        outcome=outcome_label(record.get("reward")),
        metadata={k: v for k, v in record.items() if k not in ("traj", "task_id", "reward")},
    )


READER = Reader(matches, read)
