"""verl's rows: `data_source`, `prompt`, `ability`, `reward_model`, `extra_info`.

verl renders `prompt` itself, with the tools of its own configuration and not of the row: where states offer different
tools, its prompt is not the one that was sampled. That one is `extra_info.prompt`, token for token
`extra_info.prompt_ids`, for a dataset class that takes it as it is. Calls are in OpenAI form with arguments as JSON
text; a key that a message lacks is null, content never is. `reward_model.ground_truth` is the JSON list of the
demonstrated actions.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from pivotmine import strict_json
from pivotmine.messages import reasoning_of, text_of
from pivotmine.readers.logs.response_items import argument_text

_FUNCTION = pa.struct({"name": pa.string(), "arguments": pa.string()})
_CALL = pa.struct({"id": pa.string(), "type": pa.string(), "function": _FUNCTION})
_MESSAGE = pa.struct(
    {
        "role": pa.string(),
        "content": pa.string(),
        "reasoning_content": pa.string(),
        "tool_calls": pa.list_(_CALL),
        "tool_call_id": pa.string(),
        "name": pa.string(),
    }
)
_COPIED = {
    **dict.fromkeys(
        ("prompt", "tools", "state_id", "turn_id", "trajectory_id", "task_id", "domain", "kind"), pa.string()
    ),
    **dict.fromkeys(
        ("verifier", "verifier_options", "verifier_id", "parser", "policy_id", "reward_class"), pa.string()
    ),
    **dict.fromkeys(("num_samples", "num_scored"), pa.int32()),
    **dict.fromkeys(("mean", "variance"), pa.float64()),
    **dict.fromkeys(("action_format", "action_tools"), pa.string()),
    "opened_reasoning": pa.bool_(),
    "prompt_ids": pa.list_(pa.int32()),
}
VERL = pa.schema(
    {
        "data_source": pa.string(),
        "prompt": pa.list_(_MESSAGE),
        "ability": pa.string(),
        "reward_model": pa.struct({"style": pa.string(), "ground_truth": pa.string()}),
        "extra_info": pa.struct({"split": pa.string(), "index": pa.int64(), **_COPIED}),
    }
)


def verl_row(pivot: dict[str, Any], split: str, index: int) -> dict[str, Any]:
    """One row from a row of `pivots`; `index` is its place in the split."""
    actions = [shown["action"] for shown in strict_json.loads(pivot["demonstrations"])]
    return {
        "data_source": "pivotmine",
        "prompt": [_message(message) for message in strict_json.loads(pivot["prompt_messages"])],
        "ability": pivot["domain"] or pivot["kind"],
        "reward_model": {"style": "rule", "ground_truth": strict_json.dumps(actions)},
        "extra_info": {"split": split, "index": index, **{key: pivot.get(key) for key in _COPIED}},
    }


def _message(message: dict[str, Any]) -> dict[str, Any]:
    calls = message.get("tool_calls")
    legacy = message.get("function_call")
    if not calls and isinstance(legacy, dict):
        calls = [{"function": legacy}]
    reasoning = reasoning_of(message) or None
    known = {key: message[key] for key in ("tool_call_id", "name") if message.get(key) is not None}
    return {
        "role": "tool" if message["role"] == "function" else message["role"],
        "content": text_of(message.get("content")),
        "reasoning_content": None if reasoning is None else str(reasoning),
        "tool_calls": [_call(call) for call in calls] if calls else None,
        **{key: str(value) for key, value in known.items()},
    }


def _call(call: dict[str, Any]) -> dict[str, Any]:
    function = call["function"]
    identity = call.get("id")
    return {
        "id": None if identity is None else str(identity),
        "type": "function",
        "function": {"name": function["name"], "arguments": argument_text(function.get("arguments"))},
    }
