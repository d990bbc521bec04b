"""Sample from a small policy on a CPU: many prompts at once, shared prefixes computed once.

For the desk's own measurements, which also play episodes; mining uses the engines. The decode loop is that of the
transformers engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from pivotmine.sampling.attention import use_grouped_attention
from pivotmine.sampling.decoding import Draw, decode
from pivotmine.sampling.settings import Sampling
from pivotmine_desk.conversation import END_OF_TURN, load_tokenizer
from pivotmine_desk.turn_cache import PrefilledTurn, prefill_turns

MAX_NEW_TOKENS = 64
"""The longest call of the desk takes about 45."""


@dataclass(slots=True, kw_only=True)
class Policy:
    model: Any
    tokenizer: Any


def load_policy(directory: Path) -> Policy:
    """Load a policy in float32, ready to sample."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    use_grouped_attention(model)
    return Policy(model=model, tokenizer=load_tokenizer(directory))


def sample(
    policy: Policy,
    prompts: list[list[int]],
    *,
    num_samples: int = 1,
    temperature: float = 1.0,
    generator: torch.Generator,
    batch: int = 32,
    turns: list[PrefilledTurn | None] | None = None,
) -> list[list[str]]:
    """Sample `num_samples` texts per prompt, without end-of-turn token, in no particular order.

    temperature: 0 is greedy. batch: number of prompts of similar length in one prefill. A sample that does not end
    within MAX_NEW_TOKENS keeps them all. turns: the prefilled prompt of each episode's previous turn, None for its
    first turn; `sample` replaces it with that of this turn.
    """
    end = policy.tokenizer.convert_tokens_to_ids(END_OF_TURN)
    texts: list[list[str]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        seeds = torch.randint(0, 2**62, (len(chosen) * num_samples,), generator=generator).tolist()
        draws = [
            Draw(prompt=place // num_samples, max_new_tokens=MAX_NEW_TOKENS, seed=seed)
            for place, seed in enumerate(seeds)
        ]
        read = None
        if turns is not None:
            read, kept = prefill_turns(policy.model, [prompts[i] for i in chosen], [turns[i] for i in chosen])
            for i, turn in zip(chosen, kept, strict=True):
                turns[i] = turn
        drawn = decode(
            policy.model,
            [prompts[i] for i in chosen],
            draws,
            sampling=Sampling(temperature=temperature, max_new_tokens=MAX_NEW_TOKENS),
            eos_ids=frozenset({end}),
            read=read,
        )
        for draw, one in zip(draws, drawn, strict=True):
            said = one.token_ids[:-1] if one.finish_reason == "stop" else one.token_ids
            texts[chosen[draw.prompt]].append(policy.tokenizer.decode(said))
    return texts
