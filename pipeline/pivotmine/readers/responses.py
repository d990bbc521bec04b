"""Responses-API logs: `{"responses_create_params": {"input", "tools", ...}, "response": {"output": [...]}}`.

`output` may also stand next to the parameters, and the parameters in the record itself. Only the output holds turns;
assistant messages in the input were given to the model. NeMo Gym's rollouts have this form, with `reward` as outcome.
If a response was cut off (`incomplete_details`), its last turn is masked, and `extra` says so.
"""

from __future__ import annotations

from typing import Any

from pivotmine.actions.conventions.keystrokes import form_in
from pivotmine.readers.logs.response_items import to_messages
from pivotmine.readers.record_fields import labelled, object_of, task_of, tool_definitions
from pivotmine.readers.trajectory import BadTrajectory, Reader, Segment, Trajectory, text_or_none

PARAMS = "responses_create_params"
TASK_KEYS = ("trajectory_id", "source_trajectory_uid", "uuid", "_ng_task_index")
"""Keys that name the task if none of `record_fields.TASK_KEYS` does: rows of one source trajectory belong together."""


def matches(record: Any) -> bool:
    """Whether a record has parameters (or `input`) and a list `output`, itself or in `response`."""
    if not isinstance(record, dict) or "messages" in record:
        return False
    return isinstance(output_of(record), list) and (PARAMS in record or "input" in record)


def output_of(record: dict[str, Any]) -> Any:
    """The output items of a record; None if it has none."""
    response = record.get("response")
    return response.get("output") if isinstance(response, dict) else record.get("output")


def params_of(record: Any) -> dict[str, Any]:
    """The parameters of the request; BadTrajectory if they are not an object with `input`."""
    params = object_of(record).get(PARAMS, record)
    if not isinstance(params, dict) or params.get("input") is None:
        raise BadTrajectory("no_messages", f"no `input` in `{PARAMS}`")
    return params


def input_messages(params: dict[str, Any]) -> list[Any]:
    """What the model saw: the instructions, as a system message, and the input."""
    messages = to_messages(params["input"])
    if (instructions := params.get("instructions")) is None:
        return messages
    return [{"role": "system", "content": instructions, "extra": {"instructions": True}}, *messages]


def task(record: dict[str, Any]) -> str | None:
    """The task's id; None if the record has none."""
    others = (text_or_none(record[k]) for k in TASK_KEYS if record.get(k) is not None)
    return task_of(record) or next(others, None)


def other_keys(record: dict[str, Any], *taken: str) -> dict[str, Any]:
    """Metadata: the fields that are neither in the tables nor in `taken`, and the parameters except input and tools."""
    known = {"input", "tools", "instructions", "output", PARAMS, "domain"}
    rest = {k: v for k, v in record.items() if k not in known and k not in taken}
    if isinstance(params := record.get(PARAMS), dict):
        rest[PARAMS] = {k: v for k, v in params.items() if not v or k not in ("input", "tools", "instructions")}
    return rest


def read(record: Any) -> Trajectory:
    """Read a record as one segment; the input's messages are inherited."""
    params = params_of(record)
    before, written = input_messages(params), _written(record)
    outcome, key = labelled(record)
    segment = Segment(
        messages=before + written,
        tools=tool_definitions(params.get("tools")),
        num_inherited=len(before),
        action_format=terminus_form(record),
        # If the response is one turn, its reward is that turn's.
        rewards=(outcome,) if outcome is not None and len(written) == 1 else (),
    )
    metadata = other_keys(record, "response")
    if isinstance(response := record.get("response"), dict):
        metadata["response"] = {k: v for k, v in response.items() if k not in ("output", "tools", "instructions")}
    return Trajectory(
        segments=(segment,),
        task_id=task(record),
        domain=text_or_none(record.get("domain")),
        outcome=outcome,
        outcome_key=key,
        metadata=metadata,
    )


def terminus_form(record: dict[str, Any]) -> str | None:
    """The action format of a row of NVIDIA's terminal servers, by its expected answer; None for other rows."""
    return form_in(record.get("expected_answer"))


def _written(record: dict[str, Any]) -> list[Any]:
    output, response = output_of(record), record.get("response")
    if not isinstance(output, list):
        raise BadTrajectory("no_messages", f"`output` is not a list but {type(output).__name__}")
    written = to_messages(output)
    cut_off = isinstance(response, dict) and response.get("incomplete_details")
    if cut_off and written and isinstance(last := written[-1], dict) and last.get("role") == "assistant":
        written[-1] = {**last, "weight": 0, "extra": {**last["extra"], "truncated": True}}
    return written


READER = Reader(matches, read)
