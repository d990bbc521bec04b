"""Sampling from a small policy on a CPU: many prompts at once, and what samples share is computed once.

For the desk's own measurements, which need episodes as well as states; mining goes through the engines.
"""

# Capital suffixes name the axes: R rows, T tokens, V vocabulary.
# ruff: noqa: N803, N806

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, DynamicCache

from pivotmine_desk.conversation import END_OF_TURN, load_tokenizer

MAX_NEW_TOKENS = 64
"""The longest call of the desk takes about 45."""


@dataclass(slots=True, kw_only=True)
class Policy:
    model: Any
    tokenizer: Any


def load_policy(directory: Path) -> Policy:
    """A policy in float32, ready to sample."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    return Policy(model=model, tokenizer=load_tokenizer(directory))


@dataclass(frozen=True, slots=True)
class _Row:
    prompt: int
    """Which prompt of the batch it goes on from."""
    tokens: tuple[int, ...]
    """Drawn so far."""
    count: int
    """How many samples of the prompt have drawn exactly these."""


def sample(
    policy: Policy,
    prompts: list[list[int]],
    *,
    num_samples: int = 1,
    temperature: float = 1.0,
    generator: torch.Generator,
    batch: int = 32,
) -> list[list[str]]:
    """Texts per prompt, in no particular order, the end-of-turn token left off.

    `temperature` 0 is greedy. A sample that has not ended after MAX_NEW_TOKENS keeps them all. `batch`
    prompts of similar length are read at once.
    """
    texts: list[list[str]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        for row in _decode(policy, [prompts[i] for i in chosen], num_samples, temperature, generator):
            texts[chosen[row.prompt]] += [policy.tokenizer.decode(row.tokens)] * row.count
    return texts


@torch.inference_mode()
def _decode(
    policy: Policy, prompts: list[list[int]], num_samples: int, temperature: float, generator: torch.Generator
) -> list[_Row]:
    """All samples; samples that have drawn the same tokens so far share one row, as they share their
    distribution."""
    end = policy.tokenizer.convert_tokens_to_ids(END_OF_TURN)
    longest, device = max(map(len, prompts)), policy.model.device
    ids_RT = torch.tensor([[0] * (longest - len(p)) + p for p in prompts], device=device)
    mask_RT = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=device)
    position_RT = (mask_RT.cumsum(1) - 1).clamp(min=0)
    cache = DynamicCache(config=policy.model.config)
    rows = [_Row(i, (), num_samples) for i in range(len(prompts))]
    done: list[_Row] = []
    for _ in range(MAX_NEW_TOKENS):
        logits_RV = policy.model(
            input_ids=ids_RT,
            attention_mask=mask_RT,
            position_ids=position_RT,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        parents, rows = _grow(rows, logits_RV, temperature, generator, end, done)
        if not rows:
            return done
        if parents != list(range(len(mask_RT))):
            chosen = torch.tensor(parents, device=device)
            cache.batch_select_indices(chosen)
            mask_RT, position_RT = mask_RT[chosen], position_RT[chosen]
        ids_RT = torch.tensor([[row.tokens[-1]] for row in rows], device=device)
        mask_RT = torch.cat([mask_RT, torch.ones_like(mask_RT[:, :1])], 1)
        position_RT = position_RT[:, -1:] + 1
    return done + rows


def _grow(
    rows: list[_Row],
    logits_RV: torch.Tensor,
    temperature: float,
    generator: torch.Generator,
    end: int,
    done: list[_Row],
) -> tuple[list[int], list[_Row]]:
    """Draw a token for every sample: the rows that go on, each with its parent's index; what ended joins
    `done`."""
    if temperature == 0:
        drawn = logits_RV.argmax(-1, keepdim=True).expand(-1, max(row.count for row in rows)).tolist()
    else:
        probabilities = (logits_RV.float() / temperature).softmax(-1)
        most = max(row.count for row in rows)
        drawn = torch.multinomial(probabilities, most, replacement=True, generator=generator).tolist()
    parents: list[int] = []
    grown: list[_Row] = []
    for index, (row, tokens) in enumerate(zip(rows, drawn, strict=True)):
        for token, count in Counter(tokens[: row.count]).items():
            if token == end:
                done.append(_Row(row.prompt, row.tokens, count))
            else:
                parents.append(index)
                grown.append(_Row(row.prompt, (*row.tokens, token), count))
    return parents, grown
