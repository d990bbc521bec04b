"""What `export --to verl` writes: the rows, the list of agent loops, and a README with the options for verl.

verl by itself renders `prompt` with the tools of its own configuration, not the row's. Each row therefore names an
agent loop (`prompt_loop`) that samples from `extra_info.prompt_ids`, the tokens of the mined prompt.

Calls are in OpenAI form with arguments as JSON text. A key that a message lacks is null, but content is never null.
`extra_info` has all that the reward function reads (`reward`). `reward_model.ground_truth` is the JSON list of the
demonstrated actions, for people and for other reward functions.
"""

from __future__ import annotations

import shlex
from pathlib import Path
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
    **dict.fromkeys(("prompt_messages", "demonstrations", "sampling"), pa.string()),
    **dict.fromkeys(
        ("verifier", "verifier_options", "verifier_id", "parser", "policy_id", "reward_class"), pa.string()
    ),
    **dict.fromkeys(("num_samples", "num_scored"), pa.int32()),
    **dict.fromkeys(("mean", "variance"), pa.float64()),
    **dict.fromkeys(("action_format", "action_tools"), pa.string()),
    "opened_reasoning": pa.bool_(),
    "prompt_ids": pa.list_(pa.int32()),
}
AGENT = "pivotmine"
"""The name of the agent loop in the rows."""
VERL = pa.schema(
    {
        "data_source": pa.string(),
        "agent_name": pa.string(),
        "prompt": pa.list_(_MESSAGE),
        "ability": pa.string(),
        "reward_model": pa.struct({"style": pa.string(), "ground_truth": pa.string()}),
        "extra_info": pa.struct({"split": pa.string(), "index": pa.int64(), **_COPIED}),
    }
)


def verl_row(pivot: dict[str, Any], split: str, index: int) -> dict[str, Any]:
    """The row of one pivot, a row of `pivots`; `index` is its place in the split."""
    actions = [shown["action"] for shown in strict_json.loads(pivot["demonstrations"])]
    return {
        "data_source": "pivotmine",
        "agent_name": AGENT,
        "prompt": [_message(message) for message in strict_json.loads(pivot["prompt_messages"])],
        "ability": pivot["domain"] or pivot["kind"],
        "reward_model": {"style": "rule", "ground_truth": strict_json.dumps(actions)},
        "extra_info": {"split": split, "index": index, **{key: pivot.get(key) for key in _COPIED}},
    }


AGENT_LOOPS = f"""\
- name: {AGENT}
  _target_: pivotmine_stages.export.verl.prompt_loop.PromptLoop
"""
"""agent_loops.yaml: where verl finds the agent loop."""


def verl_readme(folder: Path, sampling: dict[str, Any], longest_prompt: int) -> str:
    """README.md, with the options that make verl sample as mining did and call the reward function.

    sampling: the mined policy's sampling parameters. longest_prompt: tokens of the longest prompt of both splits.
    """
    top_k = sampling.get("top_k") or -1  # -1 is no limit in vLLM
    options = {
        "data.train_files": folder / "train.parquet",
        "data.val_files": folder / "validation.parquet",
        "data.max_prompt_length": longest_prompt,
        "data.max_response_length": sampling.get("max_new_tokens", "NUMBER"),
        "data.filter_overlong_prompts": False,
        "actor_rollout_ref.rollout.temperature": sampling.get("temperature", "NUMBER"),
        "actor_rollout_ref.rollout.top_p": sampling.get("top_p", 1.0),
        "actor_rollout_ref.rollout.top_k": top_k,
        "actor_rollout_ref.rollout.agent.agent_loop_config_path": folder / "agent_loops.yaml",
        "reward.custom_reward_function.path": "pkg://pivotmine_stages.export.verl.reward",
    }
    command = [
        "python -m verl.trainer.main_ppo",
        *(f"{key}={shlex.quote(str(value))}" for key, value in options.items()),
    ]
    return "\n".join(
        [
            "# Pivots for verl",
            "",
            "Install pivotmine in verl's environment. These options make verl sample from the mined prompts, as mining",
            "did, and compute pivotmine's reward. Add the options of your model and your cluster:",
            "",
            *(f"    {line}" for line in " \\\n    ".join(command).split("\n")),
            "",
            "Tested with verl 0.9.1. `+reward.custom_reward_function.reward_kwargs.verifier=exact` uses one verifier",
            "for all rows. The metric `unscored` counts actions that the verifier could not judge. Their reward is the",
            "mean that mining found in their state.",
            "",
        ]
    )


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
