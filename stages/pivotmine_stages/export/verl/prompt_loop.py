"""verl's agent loop for rows of `export --to verl`: it samples one action from the mined prompt.

verl's own loop renders the messages with the tools of verl's configuration, not the row's. This loop takes the row's
`prompt_ids`, and passes the completion with its special tokens to the reward function. Only verl imports this module.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from uuid import uuid4

from transformers import GenerationConfig
from verl.experimental.agent_loop.agent_loop import (  # pyright: ignore[reportMissingImports] - verl's environment only
    AgentLoopBase,
    AgentLoopOutput,
)

from pivotmine.errors import UserError
from pivotmine_stages.export.verl.reward import COMPLETION, TRUNCATED


class PromptLoop(AgentLoopBase):  # pyright: ignore[reportUntypedBaseClass]
    """Rows name it in their column `agent_name`; `agent_loops.yaml` tells verl where it is."""

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> AgentLoopOutput:
        """Sample one action.

        row: the columns of the exported row. UserError if the prompt exceeds `data.max_prompt_length`, since verl would
        cut off its beginning.
        """
        info, limits = row["extra_info"], self.rollout_config
        prompt_ids = [int(token) for token in info["prompt_ids"]]
        if len(prompt_ids) > limits.prompt_length:
            raise UserError(
                f"state {info['state_id']}: {len(prompt_ids)} prompt tokens are more than data.max_prompt_length "
                f"{limits.prompt_length}; the README.md of the exported folder says how many are needed"
            )
        drawn = await self.server_manager.generate(
            request_id=uuid4().hex, prompt_ids=prompt_ids, sampling_params=sampling_params
        )
        ids = list(drawn.token_ids)[: limits.response_length]
        truncated = not ids or ids[-1] not in _end_ids(self.config.actor_rollout_ref.model.path, self.tokenizer)
        said = ids if truncated else ids[:-1]
        text = self.tokenizer.decode(said, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return AgentLoopOutput(
            prompt_ids=prompt_ids,
            response_ids=ids,
            response_mask=[1] * len(ids),
            response_logprobs=drawn.log_probs[: len(ids)] if drawn.log_probs else None,
            num_turns=2,
            metrics={},
            extra_fields={
                **drawn.extra_fields,
                COMPLETION: text,
                TRUNCATED: truncated,
                "turn_scores": [],
                "tool_rewards": [],
            },
        )


@lru_cache(maxsize=4)
def _end_ids(model: str, tokenizer: Any) -> frozenset[int]:
    """The tokens that end a turn, according to the tokenizer or the model's generation config."""
    try:
        named = GenerationConfig.from_pretrained(model).eos_token_id
    except (OSError, ValueError):  # a model need not have a generation config
        named = None
    ids = [*(named if isinstance(named, list) else [named]), tokenizer.eos_token_id]
    return frozenset(token for token in ids if token is not None)
