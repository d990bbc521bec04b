"""InterCode histories: `{"0": {"query", "turn_history": {"actions", "observations", "rewards", "valid_action"}}, ...}`.

A file holds the attempts of one model, one entry a query; each action is rewarded by itself, so these are recorded
rollouts as well. An action is a call of the environment's tool (`bash`, `sql`, ...) with the argument `command`, an
observation its result. The log has neither the prompt nor the text around an action: the state is the query and what
was tried. The outcome is the best reward; an attempt with less is masked, one that was not valid failed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pivotmine import strict_json
from pivotmine.readers.pairing import CallIds
from pivotmine.readers.record_fields import object_of
from pivotmine.readers.trajectory import BadTrajectory, Reader, Segment, Trajectory, outcome_label, text_or_none
from pivotmine.sources.json_records import Record

_TAKEN = ("query", "task_id", "turn_history")


def matches(record: Any) -> bool:
    """An entry, or an object of nothing but entries."""
    return _is_entry(record) or _is_file(record)


def _is_entry(value: Any) -> bool:
    return isinstance(value, dict) and {"query", "turn_history"} <= value.keys()


def _is_file(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(_is_entry(entry) for entry in value.values())


def group(records: Iterator[Record]) -> Iterator[Record]:
    """The entries of each record, numbered through the file."""
    index = 0
    for record in records:
        index = max(index, record.index or 0)
        entries = list(record.value.values()) if _is_file(record.value) else [record.value]
        for entry in entries:
            yield Record(record.index if record.problem else index, entry, record.problem)
            index += 1


def read(record: Any) -> Trajectory:
    """One entry, one segment: the history only grows."""
    entry = object_of(record)
    history = entry.get("turn_history")
    actions = _column(history, "actions", [])
    observations = _column(history, "observations", actions)
    rewards = [outcome_label(reward) for reward in _column(history, "rewards", actions)]
    valid = _column(history, "valid_action", actions)
    earned = [reward for reward in rewards if reward is not None]
    outcome = max(earned) if earned else None
    messages: list[Any] = [{"role": "user", "content": entry.get("query")}]
    ids, tool = CallIds(), str(entry.get("environment") or "").removeprefix("ic_") or "execute"
    for action, observation, reward, is_valid in zip(actions, observations, rewards, valid, strict=True):
        if not isinstance(action, str):
            raise BadTrajectory("bad_message", f"an action is text, not {type(action).__name__}")
        call = ids.calls([{"name": tool, "arguments": strict_json.dumps({"command": action})}])
        messages.append({"role": "assistant", "content": None, "tool_calls": call})
        if reward != outcome:
            messages[-1]["weight"] = 0
        messages.append(ids.result(observation) | ({"is_error": True} if is_valid is False else {}))
    return Trajectory(
        segments=(Segment(messages=messages, rewards=tuple(rewards)),),
        task_id=text_or_none(entry.get("task_id")),
        outcome=outcome,
        metadata={k: v for k, v in entry.items() if k not in _TAKEN},
    )


def _column(history: Any, key: str, beside: list[Any]) -> list[Any]:
    """One of the parallel arrays; BadTrajectory where it is none or not as long as the actions are."""
    column = history.get(key) if isinstance(history, dict) else None
    if not isinstance(column, list):
        raise BadTrajectory("no_messages", f"`turn_history` has no list `{key}`")
    if key != "actions" and len(column) != len(beside):
        raise BadTrajectory("bad_message", f"{len(beside)} actions but {len(column)} {key}")
    return column


READER = Reader(matches, read, group)
