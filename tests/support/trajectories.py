"""Trajectories for tests: a service desk with two tools, written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from policies import tool

TOOLS = [tool("cancel_order", "order_id"), tool("find_order", "order_id")]


def call(name: str, arguments: dict[str, Any] | str, identity: str = "c1") -> dict[str, Any]:
    """A tool call in OpenAI form."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": text}}


def order_trajectory(number: str, **labels: Any) -> dict[str, Any]:
    """Three turns: find the order, cancel it, report it."""
    find, cancel = call("find_order", {"order_id": number}, "c1"), call("cancel_order", {"order_id": number}, "c2")
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": f"Please cancel my order {number}."},
        {"role": "assistant", "content": None, "tool_calls": [find]},
        {"role": "tool", "tool_call_id": "c1", "content": json.dumps({"order_id": number, "status": "open"})},
        {"role": "assistant", "content": "It is open.", "tool_calls": [cancel]},
        {"role": "tool", "tool_call_id": "c2", "content": '{"cancelled": true}'},
        {"role": "assistant", "content": f"Order {number} is cancelled."},
    ]
    return {"messages": messages, "tools": TOOLS, **labels}


def coin_trajectory() -> dict[str, Any]:
    """The only state that `policies.train_coin_policy` learns, with its right call."""
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "Please cancel my order A17."},
        {"role": "assistant", "content": None, "tool_calls": [call("cancel_order", {"order_id": "A17"})]},
        {"role": "tool", "tool_call_id": "c1", "content": '{"cancelled": true}'},
    ]
    return {"messages": messages, "tools": TOOLS, "task_id": "coin"}


def write_jsonl(path: Path, records: list[dict[str, Any]]) -> Path:
    """Write one record per line."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path
