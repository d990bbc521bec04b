"""NVIDIA's pivot rows: the form of NeMo Gym's single-step servers and of the published PivotRL data sets.

    {"responses_create_params": {"input", "tools", "parallel_tool_calls", "tool_choice"},
     "expected_action": {"type": "function_call" | "message" | "function_call_batch", ...},
     "agent_ref": {"type": "responses_api_agents", "name"}, "source_model_info": {...}, "pivotmine": {...}}

The format has one demonstration per row: the pivot's first. If the pivot came from a row in this format, the new row
keeps that row's other request parameters, its `agent_ref` and all its other keys. The profile is this run's.
"""

from __future__ import annotations

import math
from typing import Any

from pivotmine import strict_json
from pivotmine.messages import text_of
from pivotmine.readers.logs.response_items import new_calls, to_items
from pivotmine.readers.responses import PARAMS

_OURS = ("state_id", "turn_id", "trajectory_id", "task_id", "policy_id", "verifier_id", "num_samples", "num_scored")


def nemo_gym_row(
    pivot: dict[str, Any], source: dict[str, Any], rewards: list[float], agent: str | None
) -> dict[str, Any]:
    """The row of one pivot.

    pivot: a row of `pivots`. source: `message` (the demonstrated turn, JSON), and its trajectory's `format` and
    `metadata` (JSON or None). rewards: of the state's samples. agent: the name in `agent_ref` if the source has none.
    """
    kept = strict_json.loads(source["metadata"] or "{}") if source["format"] == "nemo_gym" else {}
    expected = _expected(strict_json.loads(source["message"]))
    parallel = expected.get("expected_action", {}).get("type") == "function_call_batch"
    params = kept.pop(PARAMS, {"parallel_tool_calls": parallel, "tool_choice": "auto"})
    row = {PARAMS: {**_request(pivot), **params}, **expected, **kept}
    if agent is not None:
        row.setdefault("agent_ref", {"type": "responses_api_agents", "name": agent})
    row.setdefault("trajectory_id", pivot["trajectory_id"])
    if rewards:
        row["source_model_info"] = _profile(rewards)
    return {**row, "pivotmine": {key: pivot[key] for key in _OURS}}


def _request(pivot: dict[str, Any]) -> dict[str, Any]:
    messages = strict_json.loads(pivot["prompt_messages"])
    request: dict[str, Any] = {}
    if messages and (messages[0].get("extra") or {}).get("instructions"):
        request["instructions"] = messages.pop(0)["content"]
    request["input"] = to_items(messages)
    if pivot["tools"]:
        request["tools"] = [_tool(tool) for tool in strict_json.loads(pivot["tools"])]
    return request


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    """A flat tool definition, as in the Responses API."""
    return {**tool["function"], "type": "function"}


def _expected(message: dict[str, Any]) -> dict[str, Any]:
    """The demonstration under its key in the format. A row that came in this format gets its own value back."""
    extra = message.get("extra") or {}
    for key in ("expected_action", "expected_answer"):
        if key in extra:
            return {key: extra[key]}
    calls = [{k: call[k] for k in ("type", "name", "arguments")} for call in new_calls(message)]
    if not calls:
        return {"expected_action": {"type": "message", "content": text_of(message.get("content"))}}
    batch = {"type": "function_call_batch", "calls": calls}
    return {"expected_action": calls[0] if len(calls) == 1 else batch}


def _profile(rewards: list[float]) -> dict[str, Any]:
    """The rewards and their population statistics (ddof=0), as in the published rows."""
    mean = math.fsum(rewards) / len(rewards)
    variance = math.fsum((reward - mean) ** 2 for reward in rewards) / len(rewards)
    return {"rewards": rewards, "reward_mean": mean, "reward_std": math.sqrt(variance), "reward_var": variance}
