"""Sample groups with each prompt prefilled once, by the code of the miner's transformers engine.

TRL's `generate` prefills each prompt G times. `pivotmine.sampling` prefills it once, and samples with the same tokens
so far share a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from trl.models.utils import unwrap_model_for_generation

from pivotmine.sampling.decoding import Draw, decode
from pivotmine.sampling.settings import Sampling

ROWS_AT_ONCE = 256
TOKENS_AT_ONCE = 2**19
"""Maximum rows, and maximum tokens in the cache, of one batch; a single group may have more."""


def own_reason(trainer: Any) -> str | None:
    """Why TRL's own generation is used; None if prompts can be shared."""
    args = trainer.args
    if args.use_vllm:
        return "vLLM samples, and shares prompts by its prefix cache"
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        return "the weights are sharded, so all processes must make the same forward passes"
    asked = {
        "--use_transformers_continuous_batching": args.use_transformers_continuous_batching,
        "--generation_kwargs": args.generation_kwargs,
        "--min_p": args.min_p,
        "--repetition_penalty": args.repetition_penalty != 1,
        "--cache_implementation": args.cache_implementation,
    }
    given = [name for name, value in asked.items() if value]
    return f"{given[0]} is given" if given else None


def sample(trainer: Any, prompt_ids: list[list[int]]) -> tuple[list[list[int]], list[list[float]]]:
    """Sample one completion per prompt; token ids, and log-probabilities at the sampling temperature.

    prompt_ids: token ids, the prompts of a group one after another. Random numbers come from torch's generator.
    """
    args = trainer.args
    sampling = Sampling(
        temperature=args.temperature,
        top_p=args.top_p,
        top_k=args.top_k or 0,
        max_new_tokens=args.max_completion_length,
    )
    seeds = torch.randint(0, 2**62, (len(prompt_ids),)).tolist()
    ids: list[list[int]] = []
    logprobs: list[list[float]] = []
    with (
        torch.no_grad(),
        unwrap_model_for_generation(
            trainer.model_wrapped,
            trainer.accelerator,
            gradient_checkpointing_kwargs=args.gradient_checkpointing_kwargs,
        ) as model,
    ):
        for batch in _batches(prompt_ids, sampling.max_new_tokens):
            prompts = [prompt_ids[rows[0]] for rows in batch]
            draws = [
                Draw(prompt=place, max_new_tokens=sampling.max_new_tokens, seed=seeds[row])
                for place, rows in enumerate(batch)
                for row in rows
            ]
            with trainer.accelerator.autocast():
                drawn = decode(
                    model,
                    prompts,
                    draws,
                    sampling=sampling,
                    eos_ids=frozenset(trainer.eos_token_ids),
                    logprobs_at_temperature=True,
                )
            ids += [one.token_ids for one in drawn]
            logprobs += [one.logprobs for one in drawn]
    return ids, logprobs


def _batches(prompt_ids: list[list[int]], budget: int) -> Iterator[list[list[int]]]:
    """Yield batches of whole groups (rows of equal prompts), as many as fit."""
    batch: list[list[int]] = []
    num_rows = longest = 0
    for group in _groups(prompt_ids):
        rows, width = num_rows + len(group), max(longest, len(prompt_ids[group[0]]) + budget)
        if batch and (rows > ROWS_AT_ONCE or rows * width > TOKENS_AT_ONCE):
            yield batch
            batch, rows, width = [], len(group), len(prompt_ids[group[0]]) + budget
        batch.append(group)
        num_rows, longest = rows, width
    if batch:
        yield batch


def _groups(prompt_ids: list[list[int]]) -> list[list[int]]:
    groups: list[list[int]] = []
    for row, ids in enumerate(prompt_ids):
        if row and ids == prompt_ids[row - 1]:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups
