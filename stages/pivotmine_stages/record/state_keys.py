"""Keys of states: two histories with the same key are one state. `--state-key` names the kind; it is never guessed.

`exact`: the state's id. `actions`: the tools, the messages of system and user, and the actions so far. The
environment's answers do not count, since process ids, times and host names change from run to run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from pivotmine.actions import is_text
from pivotmine.messages import StateHash
from pivotmine.run import rundir
from pivotmine.run.states import action_formats, state_messages


class StateKey:
    """The key of the state after each message of a segment."""

    def __init__(self, tools_id: str | None, kind: str, action_format: str | None = None) -> None:
        self._hash, self._kind = StateHash(tools_id, action_format), kind
        self._results = ("tool", "function", "user") if is_text(action_format) else ("tool", "function")
        self._has_acted = False

    def add(self, message: dict[str, Any]) -> None:
        """Append a message to the state."""
        role = message["role"]
        # In a text convention the environment answers as `user`, after the first action.
        if self._kind == "actions" and role in self._results and (role != "user" or self._has_acted):
            message = {"role": role, "content": ""}
        self._has_acted = self._has_acted or role == "assistant"
        self._hash.add(message)

    def value(self) -> str:
        """Key of the state made of the messages added so far."""
        return self._hash.state_id()


def known_formats(run: Path) -> tuple[str | None, ...]:
    """The action formats of the run's segments."""
    return tuple(action_formats(run)["action_format"].unique(maintain_order=True))


def known_states(run: Path, kind: str) -> dict[str, str]:
    """The run's state ids by key. If several have the same key, the first demonstrated one counts, else the first."""
    turns = rundir.scan(run, "turns").collect()
    if kind == "exact":
        return {state_id: state_id for state_id in turns["state_id"].unique()}
    found: dict[str, str] = {}
    for wanted in (pl.col("reject_reason").is_null(), pl.col("reject_reason").is_not_null()):
        for key, state_id in _keys(run, turns.filter(wanted), kind):
            found.setdefault(key, state_id)
    return found


def _keys(run: Path, turns: pl.DataFrame, kind: str) -> list[tuple[str, str]]:
    """(key, state_id) of each turn, in order; each segment is read once."""
    places = turns.group_by("segment_id", maintain_order=True).agg("position", "state_id")
    wanted = dict(zip(places["segment_id"], places.select("position", "state_id").iter_rows(), strict=True))
    last = turns.unique("segment_id", keep="last", maintain_order=True)
    last = last.join(action_formats(run), on="segment_id", how="left", maintain_order="left")
    keys: list[tuple[str, str]] = []
    for state in state_messages(run, last):
        key = StateKey(state.turn["tools_id"], kind, state.turn["action_format"])
        state_ids = dict(zip(*wanted[state.turn["segment_id"]], strict=True))
        for position in range(len(state.messages) + 1):
            if position in state_ids:
                keys.append((key.value(), state_ids[position]))
            if position < len(state.messages):
                key.add(state.messages[position])
    return keys
