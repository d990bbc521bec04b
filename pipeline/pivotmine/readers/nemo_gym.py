"""NVIDIA's pivot rows (NeMo Gym): `{"responses_create_params": {"input", "tools"}, "expected_action": {...}}`.

A row is one turn: the input's messages are inherited, and the expected action is the turn. It is a `function_call`, a
`function_call_batch` (parallel calls) or a `message`. The terminal servers have `expected_answer` instead: the
keystrokes of a Terminus agent, as the text of a message. Any other `expected_answer` is the ground truth of the whole
task (a number, a judge's rubric). Such a record is a log (`responses`), not a pivot row. A reward in a pivot row
belongs to its `response`, which `record` reads, and is not a label of the expected action.
"""

from __future__ import annotations

from typing import Any

from pivotmine import strict_json
from pivotmine.readers.logs.response_items import call_of
from pivotmine.readers.record_fields import tool_definitions
from pivotmine.readers.responses import PARAMS, input_messages, other_keys, params_of, task, terminus_form
from pivotmine.readers.trajectory import BadTrajectory, Reader, Segment, Trajectory, text_or_none


def matches(record: Any) -> bool:
    """Whether a record has `responses_create_params` and an expected action, or an expected answer of keystrokes."""
    if not isinstance(record, dict) or PARAMS not in record:
        return False
    return record.get("expected_action") is not None or _are_keystrokes(record.get("expected_answer"))


def _are_keystrokes(answer: Any) -> bool:
    """Whether an expected answer is a Terminus agent's: JSON text of an object with commands."""
    if not isinstance(answer, str) or not answer.lstrip().startswith("{"):
        return False
    try:
        value = strict_json.loads(answer)
    except ValueError:
        return False
    commands = value.get("commands")
    listed = isinstance(commands, list) and all(isinstance(one, dict) and "keystrokes" in one for one in commands)
    return listed or "keystrokes" in value


def read(record: Any) -> Trajectory:
    """Read a row as one segment with one turn."""
    params = params_of(record)
    before = input_messages(params)
    segment = Segment(
        messages=[*before, _expected(record)],
        tools=tool_definitions(params.get("tools")),
        num_inherited=len(before),
        action_format=terminus_form(record),
    )
    taken = "expected_answer" if record.get("expected_action") is None else "expected_action"
    return Trajectory(
        segments=(segment,),
        task_id=task(record),
        domain=text_or_none(record.get("domain")),
        metadata=other_keys(record, taken),
    )


def _expected(record: dict[str, Any]) -> dict[str, Any]:
    """The expected action as an assistant message; `extra` keeps it as the row has it."""
    action = record.get("expected_action")
    if action is None:
        answer = record.get("expected_answer")
        if not isinstance(answer, str):
            raise BadTrajectory("bad_expected_action", f"`expected_answer` is not text but {type(answer).__name__}")
        return {"role": "assistant", "content": answer, "extra": {"expected_answer": answer}}
    kind = action.get("type") if isinstance(action, dict) else None
    message: dict[str, Any] = {"role": "assistant", "content": None, "extra": {"expected_action": action}}
    if kind == "message":
        return {**message, "content": action.get("content")}
    calls = action.get("calls") if kind == "function_call_batch" else [action]
    if kind not in ("function_call", "function_call_batch") or not isinstance(calls, list) or not calls:
        raise BadTrajectory("bad_expected_action", f"no call and no message but {str(kind)[:80]!r}")
    if not all(isinstance(call, dict) for call in calls):
        raise BadTrajectory("bad_expected_action", "a call that is not an object")
    return {**message, "tool_calls": [call_of(call) for call in calls]}


READER = Reader(matches, read)
