"""tau2-bench results: `{"simulations": [{"id", "task_id", "messages", "reward_info": {"reward"}}], "tasks", "info"}`.

`group` makes each simulation a record. The agent sees what the user says and the results of its own calls. It does not
see the user's own tool calls and their results (`requestor: user`). A greeting that opens the conversation comes from
the orchestrator. The messages hold neither the system prompt nor the tools: `metadata.unrecorded` names them.

Checked against sierra-research/tau2-bench, `src/tau2/data_model/message.py` and `simulation.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pivotmine.readers.openai_form import assistant, list_at, object_at, tool_call, tool_result, unreadable
from pivotmine.readers.record_fields import object_of
from pivotmine.readers.trajectory import Reader, Segment, Trajectory, outcome_label, text_or_none
from pivotmine.sources.json_records import Record

_TAKEN = ("messages", "task_id")


def matches(record: Any) -> bool:
    """Whether a record is a simulation, or a file of them."""
    return _is_simulation(record) or _is_file(record)


def _is_simulation(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and {"task_id", "messages", "reward_info"} <= value.keys()
        and "termination_reason" in value
    )


def _is_file(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("simulations"), list)


def group(records: Iterator[Record]) -> Iterator[Record]:
    """Yield the simulations of each record, numbered through the file."""
    index = 0
    for record in records:
        index = max(index, record.index or 0)
        if record.problem or not _is_file(record.value):
            yield record
            continue
        about = {"domain": object_at(object_at(record.value, "info"), "environment_info").get("domain_name")}
        for simulation in record.value["simulations"]:
            yield Record(index, {**about, **simulation} if isinstance(simulation, dict) else simulation)
            index += 1


def read(record: Any) -> Trajectory:
    """Read a simulation as one segment: the context only grows."""
    fields = object_of(record)
    messages = [seen for message in list_at(fields, "messages") if (seen := _seen(message)) is not None]
    reward = object_at(fields, "reward_info").get("reward")
    return Trajectory(
        segments=(Segment(messages=messages),),
        task_id=text_or_none(fields.get("task_id")),
        domain=text_or_none(fields.get("domain")),
        outcome=outcome_label(reward),
        outcome_key="reward_info.reward",
        metadata={k: v for k, v in fields.items() if k not in _TAKEN} | {"unrecorded": ["system prompt", "tools"]},
    )


def _seen(message: Any) -> dict[str, Any] | None:
    """The message as the agent sees it; None if it does not see it."""
    if not isinstance(message, dict):
        return unreadable("user", "a message that is not an object")
    role, calls = message.get("role"), message.get("tool_calls")
    if role == "tool":
        if message.get("requestor", "assistant") != "assistant":
            return None
        result = tool_result(message.get("id"), message.get("content"))
        return result | {"is_error": True} if message.get("error") is True else result
    if role == "user":
        return None if calls else {"role": "user", "content": message.get("content")}
    if role != "assistant":
        return {"role": role, "content": message.get("content")}
    if not isinstance(calls or [], list) or not all(isinstance(call, dict) for call in calls or ()):
        return unreadable("assistant", "`tool_calls` is not a list of objects")
    made = [tool_call(call.get("id") or None, call.get("name"), call.get("arguments")) for call in calls or ()]
    return assistant(message.get("content"), tool_calls=made)


READER = Reader(matches, read, group)
