"""The reward from a row of a pivot dataset: its verifier, its state and its demonstrations.

All trainers (`pivotmine-train`, `trl grpo`, verl, `verifiers`) compute their rewards here. A row is a dictionary
with the columns in COLUMNS, as the table `pivots` stores them.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from pivotmine.actions import Action, action_from_json, is_text, parse_action
from pivotmine.errors import UserError
from pivotmine.verifiers.base import Scorer, State, Verdict, VerifierSpec
from pivotmine.verifiers.composed.third_party import require_trusted, require_trusted_servers
from pivotmine.verifiers.registry import make_spec
from pivotmine.verifiers.run_verifier import prepare

COLUMNS = (
    *("state_id", "tools", "prompt_messages", "demonstrations", "kind", "verifier", "verifier_options", "verifier_id"),
    *("parser", "opened_reasoning", "action_format", "action_tools"),
)
"""The columns that decide a reward. The last two may be absent; then the action format is native."""


def tools_of(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The row's tool definitions; empty if it has none."""
    return json.loads(row["tools"]) if row["tools"] else []


def executed_tools(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The tools that the verifier sees. For a text convention: the implied tools, which the prompt does not show."""
    if is_text(row.get("action_format")):
        return json.loads(row["action_tools"]) if row["action_tools"] else []
    return tools_of(row)


def demonstrated_actions(row: dict[str, Any]) -> list[Action]:
    """The actions demonstrated in the row's state."""
    return [action_from_json(json.dumps(entry["action"])) for entry in json.loads(row["demonstrations"])]


def read_completion(row: dict[str, Any], text: str, *, truncated: bool) -> Action:
    """Parse a completion in this row's state into an action, by the row's action format.

    text: with its special tokens, because a tool-call marker may be one, but without the end-of-turn token.
    """
    return parse_action(
        text,
        parser=row["parser"],
        action_format=row.get("action_format"),
        opened_reasoning=row["opened_reasoning"],
        truncated=truncated,
        tools=tools_of(row),
    )


def row_spec(row: dict[str, Any], place: str, verifier: str | None = None) -> VerifierSpec | None:
    """The verifier that `verifier` names, else the row's own; None if the row has none.

    Raise UserError if the installed verifier's id differs from that of the verifier that scored the row.
    """
    if verifier is None and row["verifier"] is None:
        return None
    try:
        if verifier is None:
            _check_trust(row["verifier"], row["verifier_options"])
        spec = named_spec(verifier or row["verifier"], "{}" if verifier else row["verifier_options"])
    except UserError as error:
        raise UserError(f"{place}: {error}") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{place}: verifier_options cannot be read: {error}") from None
    if verifier is None and spec.verifier_id != row["verifier_id"]:
        raise UserError(
            f"{place} was scored by {row['verifier_id']}, and the installed verifier is {spec.verifier_id}: another "
            "version gives other rewards; install the pivotmine that mined it, or score and select again with this one"
        )
    return spec


def make_judge(row: dict[str, Any], spec: VerifierSpec) -> Scorer:
    """Return the scorer for this row's state, made as the miner's `score` makes it."""
    state = State(
        tools=tuple(executed_tools(row)),
        messages=tuple(json.loads(row["prompt_messages"])),
        action_format=row.get("action_format"),
    )
    return prepare(spec, state, demonstrated_actions(row))


def judge_action(row: dict[str, Any], action: Action, verifier: str | None = None) -> Verdict:
    """Judge one action, for trainers that pass one completion at a time. Raise UserError if the row has no verifier."""
    place = f"state {row['state_id']}"
    spec = row_spec(row, place, verifier)
    if spec is None:
        raise UserError(f"{place}: no verifier judges this row; train on pivots, or name a verifier for all rows")
    return make_judge(row, spec)(action)


@lru_cache(maxsize=256)
def named_spec(name: str, options: str) -> VerifierSpec:
    """The verifier of this name with these options, a JSON object. Raise ValueError or UserError if one is wrong."""
    read = json.loads(options)
    if not isinstance(read, dict):
        raise ValueError("not a JSON object")
    return make_spec(name, read)  # pyright: ignore[reportUnknownArgumentType]


@lru_cache(maxsize=256)
def _check_trust(name: str, options: str) -> None:
    """Raise NotTrusted if a row names untrusted code or an untrusted server: a stranger may have made the dataset."""
    require_trusted("the row", name, json.loads(options))
    require_trusted_servers(json.loads(options))
