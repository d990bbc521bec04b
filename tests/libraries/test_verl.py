"""verl 0.9.1 itself: its config, dataset, agent loop worker and reward loop worker, on the exported pivot.

The server that samples is a double: verl's runs on a GPU only.
"""

from __future__ import annotations

import asyncio
import pickle
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import RIGHT, WRONG
from hydra import compose, initialize_config_module
from transformers import AutoTokenizer
from verl import DataProto
from verl.experimental.agent_loop.agent_loop import AgentLoopWorker
from verl.experimental.reward_loop.reward_loop import RewardLoopWorker
from verl.utils.dataset.rl_dataset import RLHFDataset, collate_fn
from verl.workers.rollout.replica import TokenOutput

from pivotmine.errors import UserError

CPU = (
    "actor_rollout_ref.rollout.name=vllm",
    "+actor_rollout_ref.model.override_config.attn_implementation=sdpa",
)


class Engine:
    """Says the given token ids, and keeps the prompts that it was asked with."""

    def __init__(self, replies: list[list[int]]) -> None:
        self.replies, self.asked = replies, []

    async def generate(self, *, prompt_ids: list[int], sampling_params: dict[str, Any], **others: Any) -> TokenOutput:
        self.asked.append((prompt_ids, sampling_params))
        return TokenOutput(token_ids=self.replies.pop(0), stop_reason="completed")


@pytest.fixture(scope="module")
def config(exported: Path) -> Any:
    """verl's own, with the options that the exported README gives, as they stand there."""
    text = (exported / "run/pivots/default/verl/README.md").read_text(encoding="utf-8")
    options = re.findall(r"^ +((?:data|actor_rollout_ref|reward)\.\S+=\S+?) ?\\?$", text, re.MULTILINE)
    assert len(options) == 10
    with initialize_config_module("verl.trainer.config", version_base=None):
        model = f"actor_rollout_ref.model.path={exported}/policy"
        return compose("ppo_trainer", overrides=[*options, model, *CPU])


def test_rewards_are_those_of_the_tokens_with_the_mined_prompt(
    exported: Path, row: dict[str, Any], config: Any
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(exported / "policy")
    texts = [f"{RIGHT}<|im_end|>", f"{WRONG}<|im_end|>", RIGHT, "Done.<|im_end|>"]
    ids = [tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    assert "<tool_call>" not in tokenizer.decode(ids[0], skip_special_tokens=True), "verl's text has no markers"

    data = RLHFDataset(config.data.train_files, tokenizer, config.data)
    batch = DataProto.from_single_dict(collate_fn([data[0]] * len(texts)))
    engine = Engine([list(one) for one in ids])

    async def generate() -> DataProto:
        rewards = RewardLoopWorker(config)

        async def remote(data: DataProto) -> dict[str, Any]:
            # Ray would call the worker in another process, with a copy.
            return await rewards.compute_score(pickle.loads(pickle.dumps(data)))

        handle = SimpleNamespace(compute_score=SimpleNamespace(remote=remote))
        return await AgentLoopWorker(config, engine, reward_loop_worker_handles=[handle]).generate_sequences(batch)

    output = asyncio.run(generate())

    assert [prompt for prompt, _ in engine.asked] == [row["prompt_ids"]] * len(texts)
    sampling = {"temperature": 1.0, "top_p": 1.0, "top_k": -1}
    assert {key: engine.asked[0][1][key] for key in sampling} == sampling
    assert output.batch["rm_scores"].sum(1).tolist() == [1.0, 0.0, 0.0, 0.0]
    assert output.non_tensor_batch["outcome"].tolist() == ["correct", "wrong_arguments", "truncated", "wrong_kind"]
    assert output.non_tensor_batch["unscored"].tolist() == [0.0] * len(texts)
    widths = output.batch["attention_mask"][:, output.batch["prompts"].shape[1] :].sum(1)
    assert widths.tolist() == [len(one) for one in ids]
    assert np.all(output.batch["prompts"].numpy() == np.array(row["prompt_ids"]))


def test_a_prompt_without_room_is_refused(exported: Path, config: Any) -> None:
    tokenizer = AutoTokenizer.from_pretrained(exported / "policy")
    narrow = config.copy()
    narrow.actor_rollout_ref.rollout.prompt_length = 3
    data = RLHFDataset(config.data.train_files, tokenizer, config.data)
    batch = DataProto.from_single_dict(collate_fn([data[0]]))

    async def generate() -> DataProto:
        return await AgentLoopWorker(narrow, Engine([[1]]), reward_loop_worker_handles=[]).generate_sequences(batch)

    with pytest.raises(UserError, match=r"218 prompt tokens are more than data.max_prompt_length 3"):
        asyncio.run(generate())
