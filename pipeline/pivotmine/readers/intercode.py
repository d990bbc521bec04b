"""InterCode histories: `{"0": {"query", "turn_history": {"actions", "observations", "rewards", "valid_action"}}, ...}`.

A file holds the attempts of one model, one entry per query. There are two kinds of logs:

- In a multi-turn log an action is a bare command with its own reward, so such a log also holds recorded rollouts. The
  text around the command is not recorded: an action is read as a call of the environment's tool (`bash`, `sql`, ...)
  with the argument `command`, and an observation as its result. A turn with less than the best reward is masked.
- In a ReAct log an action is `execute[command]` or `submit`, mostly with `thoughts` next to `actions`. The model wrote
  and saw text (`react`): "Thought 1: ...", "Action 1: execute[...]" and the observation, as InterCode's
  `experiments/eval_react.py` numbers them. The reward comes with `submit`, so earlier turns are not masked.

Neither kind holds the prompt: a state is the query and the turns so far. The outcome is the best reward. A turn with a
null reward is not masked. An invalid action is a failed call. `Segment.rewards` are the recorded rewards, except that a
ReAct turn before the `submit` has none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from pivotmine import strict_json
from pivotmine.actions.conventions import read_text
from pivotmine.readers.pairing import CallIds
from pivotmine.readers.record_fields import object_of
from pivotmine.readers.trajectory import BadTrajectory, Reader, Segment, Trajectory, outcome_label, text_or_none
from pivotmine.sources.json_records import Record

_TAKEN = ("query", "task_id", "turn_history")
_REACT = ("execute", "submit", "skip")


def matches(record: Any) -> bool:
    """Whether a record is an entry, or an object of entries only."""
    return _is_entry(record) or _is_file(record)


def _is_entry(value: Any) -> bool:
    return isinstance(value, dict) and {"query", "turn_history"} <= value.keys()


def _is_file(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(_is_entry(entry) for entry in value.values())


def group(records: Iterator[Record]) -> Iterator[Record]:
    """Yield the entries of each record, numbered through the file."""
    index = 0
    for record in records:
        index = max(index, record.index or 0)
        entries = list(record.value.values()) if _is_file(record.value) else [record.value]
        for entry in entries:
            yield Record(record.index if record.problem else index, entry, record.problem)
            index += 1


class _Turn(NamedTuple):
    thought: Any
    action: str
    observation: Any
    reward: float | None
    is_valid: Any


def read(record: Any) -> Trajectory:
    """Read an entry as one segment: the history only grows."""
    entry = object_of(record)
    turns = _turns(entry.get("turn_history"))
    earned = [turn.reward for turn in turns if turn.reward is not None]
    outcome = max(earned) if earned else None
    query = {"role": "user", "content": entry.get("query")}
    if any(turn.thought is not None for turn in turns) or (turns and all(_react_tool(turn.action) for turn in turns)):
        segment = _react(query, turns)
    else:
        segment = _commands(query, turns, str(entry.get("environment") or ""), outcome)
    return Trajectory(
        segments=(segment,),
        task_id=text_or_none(entry.get("task_id")),
        outcome=outcome,
        metadata={k: v for k, v in entry.items() if k not in _TAKEN},
    )


def _commands(query: Any, turns: list[_Turn], environment: str, outcome: float | None) -> Segment:
    """A multi-turn log: bare commands, each rewarded."""
    messages, ids, tool = [query], CallIds(), environment.removeprefix("ic_") or "execute"
    for turn in turns:
        call = ids.calls([{"name": tool, "arguments": strict_json.dumps({"command": turn.action})}])
        messages.append({"role": "assistant", "content": None, "tool_calls": call})
        if turn.reward is not None and turn.reward != outcome:
            messages[-1]["weight"] = 0
        messages.append(ids.result(turn.observation) | _failure(turn))
    return Segment(messages=messages, rewards=tuple(turn.reward for turn in turns))


def _react(query: Any, turns: list[_Turn]) -> Segment:
    """A ReAct log, as text that InterCode's loop puts together."""
    messages = [query]
    for number, turn in enumerate(turns, 1):
        said = f"Action {number}: {turn.action}"
        thought = "" if turn.thought is None else f"Thought {number}: {turn.thought}\n"
        messages.append({"role": "assistant", "content": thought + said})
        observed = turn.observation if isinstance(turn.observation, str) else strict_json.dumps(turn.observation)
        messages.append({"role": "user", "content": f"Observation {number}: {observed}"} | _failure(turn))
    rewards = [turn.reward if _react_tool(turn.action) == "submit" else None for turn in turns]
    return Segment(messages=messages, action_format="react", rewards=tuple(rewards))


def _failure(turn: _Turn) -> dict[str, Any]:
    return {"is_error": True} if turn.is_valid is False else {}


def _react_tool(action: str) -> str | None:
    """The tool of InterCode's ReAct that an action calls; None for a bare command."""
    calls = read_text(action, "react").tool_calls
    return calls[0].name if calls and calls[0].name in _REACT else None


def _turns(history: Any) -> list[_Turn]:
    """The turns of the parallel arrays; BadTrajectory if an array is missing or has another length."""
    actions = _column(history, "actions", [])
    columns = [_column(history, key, actions) for key in ("observations", "rewards", "valid_action")]
    has_thoughts = isinstance(history, dict) and history.get("thoughts") is not None
    thoughts = _column(history, "thoughts", actions) if has_thoughts else [None] * len(actions)
    for action in actions:
        if not isinstance(action, str):
            raise BadTrajectory("bad_message", f"an action is text, not {type(action).__name__}")
    found = zip(thoughts, actions, *columns, strict=True)
    return [_Turn(thought, a, observed, outcome_label(reward), valid) for thought, a, observed, reward, valid in found]


def _column(history: Any, key: str, actions: list[Any]) -> list[Any]:
    """One of the parallel arrays; BadTrajectory if it is not a list or not as long as `actions`."""
    column = history.get(key) if isinstance(history, dict) else None
    if not isinstance(column, list):
        raise BadTrajectory("no_messages", f"`turn_history` has no list `{key}`")
    if key != "actions" and len(column) != len(actions):
        raise BadTrajectory("bad_message", f"{len(actions)} actions but {len(column)} {key}")
    return column


READER = Reader(matches, read, group)
