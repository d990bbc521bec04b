"""Describe a record that no reader knows: its keys, the nearest reader, what to do."""

from __future__ import annotations

from typing import Any

from pivotmine.escape import one_line

_NEEDS: dict[str, tuple[str, ...]] = {
    "tau_bench": ("task_id", "reward", "traj"),
    "tau2": ("task_id", "messages", "reward_info", "termination_reason"),
    "toolbench": ("answer_generation",),
    "openhands": ("history", "instance_id"),
    "atif": ("schema_version", "agent", "steps"),
    "inspect": ("messages", "input", "target", "epoch"),
    "intercode": ("query", "turn_history"),
    "spans": ("attributes", "trace_id"),
    "agent_data_protocol": ("id", "content", "schema_version"),
    "verifiers_trace": ("nodes", "task"),
    "nemo_gym": ("responses_create_params", "expected_action"),
    "responses": ("responses_create_params", "response"),
    "prompt_completion": ("prompt", "completion"),
    "request_log": ("request", "response"),
    "trajectory_column": ("trajectory",),
    "sharegpt": ("conversations",),
    "openai": ("messages",),
}
"""The keys by which each reader knows its records."""
_MAX_KEYS = 8


def describe_unknown(record: Any) -> str:
    """One line for a record that no reader knows."""
    if not isinstance(record, dict):
        return one_line(f"no reader knows {_kind(record)}; a record is an object, or a list of messages")
    look = ", ".join(f"{key}: {_kind(value)}" for key, value in list(record.items())[:_MAX_KEYS])
    more = f", and {len(record) - _MAX_KEYS} more" if len(record) > _MAX_KEYS else ""
    said = [f"no reader knows {{{look}{more}}}", *_nearest(record), *_remedy(record)]
    return one_line("; ".join(said))[:600]


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return "text"
        case int() | float():
            return "number"
        case list():
            return f"list of {len(value)}{' messages' if is_message_list(value) else ''}"
        case _:
            return "object"


def is_message_list(value: Any) -> bool:
    """Whether a value looks like a list of messages."""
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, dict) and bool({"role", "from"} & first.keys())


def _nearest(record: dict[str, Any]) -> list[str]:
    """The reader with the largest share of its keys in the record, and the missing keys."""
    shares = {name: sum(key in record for key in keys) / len(keys) for name, keys in _NEEDS.items()}
    name = max(shares, key=lambda one: shares[one])
    if not shares[name]:
        return []
    missing = [key for key in _NEEDS[name] if key not in record]
    why = f"it needs {', '.join(missing)} too" if missing else "what stands there has another form"
    return [f"the nearest reader is {name}, but {why}"]


def _remedy(record: dict[str, Any]) -> list[str]:
    columns = [key for key, value in record.items() if is_message_list(value)]
    if columns:
        named = ", ".join(columns[:4])
        return [f"a list of messages stands under {named}: try --messages-column {columns[0]}"]
    for key, value in record.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return [f"the record wraps a list under {key!r}: write its elements one per line (jq -c '.{key}[]')"]
    return ["name the reader with --format, or the column of messages with --messages-column"]
