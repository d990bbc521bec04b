"""One state for a person to look at: the conversation, the demonstrations, the samples grouped by what they do.

All of this is hostile text from trajectories and models. It leaves this module as JSON values, never as markup.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import duckdb

from pivotmine.messages import text_of
from pivotmine_stages.report.aggregates import dicts

MAX_CHARS = 20_000
"""Maximum number of characters shown of one text; the rest is only counted."""


def details(connection: duckdb.DuckDBPyConnection, state_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return each state in full, in the given order, without states that are not in the index.

    Keys: state (its row of `state_index`), messages (ids into `message_texts`), tools (list of {name, text}),
    demonstrations (list of {turn_id, outcome, reject_reason, action}), samples (`sample_groups`), before and after
    (the neighbouring states of the trajectory: {state_id, class}, or null).
    """
    wanted = list(state_ids)
    rows = {row["state_id"]: row for row in dicts(connection, _INDEX, [wanted])}
    conversations = dict(connection.execute(_CONVERSATIONS, [wanted]).fetchall())
    demonstrations = _grouped(connection.execute(_DEMONSTRATIONS, [wanted]).fetchall())
    samples = sample_groups(connection, wanted)
    tools = dict(connection.execute("select tools_id, tools from tools").fetchall())
    around = _neighbours(connection, wanted)
    return [
        {
            "state": row,
            "messages": conversations.get(state_id, []),
            "tools": _tools(tools.get(row["tools_id"])),
            "demonstrations": [
                {"turn_id": turn_id, "outcome": outcome, "reject_reason": reason, "action": action_of(text)}
                for turn_id, outcome, reason, text in demonstrations.get(state_id, [])
            ],
            "samples": samples.get(state_id, []),
            **around.get(state_id, {"before": None, "after": None}),
        }
        for state_id in wanted
        if (row := rows.get(state_id)) is not None
    ]


def message_texts(connection: duckdb.DuckDBPyConnection, message_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return messages by message id: {role, text, reasoning, calls: [{name, arguments}]}, with long texts cut."""
    wanted = list(dict.fromkeys(message_ids))
    found = connection.execute(
        "select message_id, message from messages where message_id in (select unnest(?))", [wanted]
    )
    return {message_id: _message(json.loads(text)) for message_id, text in found.fetchall()}


def sample_groups(connection: duckdb.DuckDBPyConnection, state_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Group the samples of each state by what they do, the best reward and the most frequent first.

    Keys: count, reward (null without one), outcome, detail, action, indices (of the first samples). Samples with the
    same calls do the same: reasoning, text and the order of arguments do not count. A group shows its most frequent
    action.
    """
    found: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = {}
    for state_id, reward, outcome, detail, action, indices in connection.execute(
        _SAMPLES, [list(state_ids)]
    ).fetchall():
        group = {"count": 0, "reward": reward, "outcome": outcome, "detail": detail, "action": action, "indices": []}
        group = found.setdefault(state_id, {}).setdefault((reward, outcome, doing(action)), group)
        group["count"] += len(indices)
        group["indices"] = sorted([*group["indices"], *indices])[:16]
    return {state_id: _best_first(groups.values()) for state_id, groups in found.items()}


def _best_first(groups: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    ordered = sorted(groups, key=lambda one: (one["reward"] is None, -(one["reward"] or 0.0), -one["count"]))
    return [{**one, "action": action_of(one["action"])} for one in ordered]


def doing(text: str) -> str:
    """Return what a stored action does, as text: the calls with their arguments sorted by name, or the message."""
    action = json.loads(text)
    done = {name: action.get(name) for name in ("tool_calls", "unparsed", "truncated")}
    return json.dumps(done if action.get("tool_calls") else {**done, "message": action.get("message")}, sort_keys=True)


def action_of(text: str) -> dict[str, Any]:
    """Return a stored action as {text, reasoning, calls: [{name, arguments}], broken: [text]}."""
    action = json.loads(text)
    return {
        "text": cut(action.get("message") or ""),
        "reasoning": cut(action.get("reasoning") or ""),
        "calls": [{"name": call["name"], "arguments": call["arguments"]} for call in action.get("tool_calls") or []],
        "broken": [cut(piece["text"]) for piece in action.get("unparsed") or []],
    }


def on_one_line(action: dict[str, Any]) -> str:
    """Write an action of `action_of`, or a message of `message_texts`, on one line: calls as calls, text as text."""
    calls = [f"{call['name']}({_named_arguments(call['arguments'])})" for call in action["calls"]]
    broken = [f"unreadable: {text}" for text in action.get("broken", [])]
    return " ".join([*([action["text"]] if action["text"] and not calls else []), *calls, *broken]) or "(nothing)"


def _named_arguments(arguments: Any) -> str:
    if not isinstance(arguments, dict):
        return json.dumps(arguments, ensure_ascii=False)
    return ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in arguments.items())


def reward_text(reward: float | None) -> str:
    """Write a reward with two decimals, or `null`."""
    return "null" if reward is None else f"{reward:.2f}"


def cut(text: str) -> str:
    """Return a long text as its beginning and end, with the number of characters left out between them."""
    if len(text) <= MAX_CHARS:
        return text
    half = MAX_CHARS // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half:,} characters not shown ...]\n{text[-half:]}"


def _message(message: dict[str, Any]) -> dict[str, Any]:
    calls = [call.get("function") or {} for call in message.get("tool_calls") or [] if isinstance(call, dict)]
    if isinstance(message.get("function_call"), dict):
        calls.append(message["function_call"])
    return {
        "role": str(message.get("role")),
        "text": cut(text_of(message.get("content"))),
        "reasoning": cut(str(message.get("reasoning_content") or message.get("reasoning") or "")),
        "calls": [{"name": str(call.get("name")), "arguments": _arguments(call.get("arguments"))} for call in calls],
    }


def _arguments(given: Any) -> Any:
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except ValueError:
        return cut(given)


def _tools(text: str | None) -> list[dict[str, str]]:
    tools = [tool.get("function") or {} for tool in json.loads(text or "[]") if isinstance(tool, dict)]
    return [
        {"name": str(tool.get("name")), "text": cut(json.dumps(tool, ensure_ascii=False, indent=1))} for tool in tools
    ]


def _grouped(rows: Iterable[tuple[Any, ...]]) -> dict[str, list[tuple[Any, ...]]]:
    found: dict[str, list[tuple[Any, ...]]] = {}
    for state_id, *rest in rows:
        found.setdefault(state_id, []).append(tuple(rest))
    return found


def _neighbours(connection: duckdb.DuckDBPyConnection, state_ids: list[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for state_id, before, before_class, after, after_class in connection.execute(_NEIGHBOURS, [state_ids]).fetchall():
        found[state_id] = {
            "before": before and {"state_id": before, "class": before_class},
            "after": after and {"state_id": after, "class": after_class},
        }
    return found


_INDEX = "select * from state_index where state_id in (select unnest(?))"
_CONVERSATIONS = """
    select state_id, list_slice(message_ids, 1, position)
    from state_index join segments using (segment_id) where state_id in (select unnest(?))
"""
_DEMONSTRATIONS = """
    select state_id, turn_id, outcome, reject_reason, demonstration
    from turns where state_id in (select unnest(?)) order by reject_reason is not null, turn_id
"""
_SAMPLES = """
    select state_id, reward, outcome, any_value(detail), action, list(sample_index order by sample_index) as indices
    from samples where state_id in (select unnest(?)) group by state_id, reward, outcome, action
    order by state_id, reward desc nulls last, len(indices) desc, action
"""
_NEIGHBOURS = """
    with asked as (select state_id, trajectory_id, turn_index from turns join (
        select turn_id from state_index where state_id in (select unnest(?))
    ) using (turn_id)), around as (
        select a.state_id, t.state_id as other, t.turn_index - a.turn_index as step
        from asked a join turns t using (trajectory_id) where abs(t.turn_index - a.turn_index) = 1
    )
    select
        a.state_id,
        any_value(a.other) filter (step = -1), any_value(i.class) filter (step = -1),
        any_value(a.other) filter (step = 1), any_value(i.class) filter (step = 1)
    from around a left join state_index i on i.state_id = a.other group by a.state_id
"""
