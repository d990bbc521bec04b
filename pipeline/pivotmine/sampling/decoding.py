"""The decode loop of the transformers engine: one prefill per prompt, one row per sample, random numbers per row.

Shapes: S prompts, R rows (samples), V vocabulary, T tokens of the longest row.
"""

# ruff: noqa: N803, N806 - axis letters are capitals
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pivotmine.errors import UserError
from pivotmine.sampling.attention import make_room
from pivotmine.sampling.prefix_cache import ReadPrompts
from pivotmine.sampling.settings import Sampling

KEEP_SHARE = 7 / 8
"""The batch is made smaller when no more than this share of its rows still runs: dropping a row copies the cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """A sample to be drawn."""

    prompt: int
    """Index of its prompt."""
    max_new_tokens: int
    """Token budget, at least 1."""
    seed: int
    """Seeds its random numbers, one a token: the sample does not depend on its batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    token_ids: list[int]
    """Sampled tokens, the end-of-turn token included where it was drawn."""
    logprobs: list[float]
    """Natural log-probability of each token under the unmodified distribution."""
    finish_reason: str
    """`stop` or `length`."""


@torch.inference_mode()
def decode(
    model: Any,
    prompts: Sequence[Sequence[int]],
    draws: Sequence[Draw],
    *,
    sampling: Sampling,
    eos_ids: frozenset[int],
    read: ReadPrompts | None = None,
) -> list[Drawn]:
    """Draw the samples, in the order of `draws`; UserError where the model returns NaN.

    read: the prompts, where they are read already.
    """
    room = max(draw.max_new_tokens for draw in draws)
    uniforms_RT = np.stack([np.random.Generator(np.random.Philox(d.seed)).random(room) for d in draws])
    batch = _Batch(model, prompts, room)
    logits_RV = batch.select(torch.tensor([draw.prompt for draw in draws]), batch.prefill(read))
    drawn = [Drawn(token_ids=[], logprobs=[], finish_reason="length") for _ in draws]
    rows, running = list(range(len(draws))), set(range(len(draws)))
    for step in range(room):
        tokens_R, logprobs_R = pick(logits_RV, uniforms_RT[rows, step], sampling)
        for row, token, logprob in zip(rows, tokens_R.tolist(), logprobs_R.tolist(), strict=True):
            if row in running:
                drawn[row].token_ids.append(token)
                drawn[row].logprobs.append(logprob)
                if token in eos_ids:
                    drawn[row] = Drawn(
                        token_ids=drawn[row].token_ids, logprobs=drawn[row].logprobs, finish_reason="stop"
                    )
                if token in eos_ids or step + 1 == draws[row].max_new_tokens:
                    running.discard(row)
        if not running:
            break
        if len(running) <= KEEP_SHARE * len(rows):
            kept = torch.tensor([place for place, row in enumerate(rows) if row in running])
            rows = [row for row in rows if row in running]
            tokens_R = batch.select(kept, tokens_R)
        logits_RV = batch.step(tokens_R)
    return drawn


def pick(
    logits_RV: torch.Tensor, uniforms_R: np.ndarray[Any, Any], sampling: Sampling
) -> tuple[torch.Tensor, torch.Tensor]:
    """A token per row by inverting the cumulative distribution at one number in [0, 1), and its raw log-probability."""
    logprobs_RV = logits_RV.float().log_softmax(-1)
    if sampling.temperature == 0:
        tokens_R = logprobs_RV.argmax(-1)
    else:
        # doubles: in float32 the tokens late in a vocabulary of 150,000 would be rounded away
        cumulated_RV = shaped(logprobs_RV, sampling).double().cumsum(-1)
        total_R1 = cumulated_RV[:, -1:]
        if not torch.isfinite(total_R1).all():
            raise UserError("the model returns NaN instead of probabilities; its weights or its dtype are broken")
        places_R1 = torch.from_numpy(uniforms_R).to(total_R1.device)[:, None] * total_R1
        tokens_R = torch.searchsorted(cumulated_RV, places_R1, right=True)[:, 0]
    return tokens_R, logprobs_RV.gather(-1, tokens_R[:, None])[:, 0]


def shaped(logprobs_RV: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Probabilities after temperature, then top-k, then top-p: vLLM's order."""
    scores_RV = logprobs_RV / sampling.temperature
    if 0 < sampling.top_k < scores_RV.shape[-1]:
        least_R1 = scores_RV.topk(sampling.top_k).values[:, -1:]
        scores_RV = scores_RV.masked_fill(scores_RV < least_R1, -torch.inf)
    probs_RV = scores_RV.softmax(-1)
    if sampling.top_p < 1:
        sorted_RV, order_RV = probs_RV.sort(-1, descending=True)
        before_RV = sorted_RV.cumsum(-1) - sorted_RV
        # The likeliest stays, also where the mass is too small for float32.
        sorted_RV = sorted_RV.masked_fill((before_RV > 0) & (before_RV >= sampling.top_p), 0.0)
        probs_RV = torch.zeros_like(probs_RV).scatter_(-1, order_RV, sorted_RV)
    return probs_RV


class _Batch:
    """Rows under way: their tokens, left-padded to one width, and the model's cache of them."""

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], room: int) -> None:
        self._model = model
        self._width = max(len(prompt) for prompt in prompts)
        shape = (len(prompts), self._width + room)
        ids, mask = torch.zeros(shape, dtype=torch.long), torch.ones(shape, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            padding = self._width - len(prompt)
            ids[row, padding : self._width] = torch.tensor(prompt)
            mask[row, :padding] = 0
        self._ids, self._mask = ids.to(model.device), mask.to(model.device)
        self._positions = (self._mask.cumsum(-1) - 1).clamp(min=0)
        self._padded = bool((mask == 0).any())
        self._cache: Any = None

    def prefill(self, read: ReadPrompts | None) -> torch.Tensor:
        """Read the prompts, unless they are read; logits of the first new token, [S, V]."""
        if read is None:
            output = self._forward(0, use_cache=True)
            cache, logits_SV = getattr(output, "past_key_values", None), output.logits[:, -1]
        else:
            cache, logits_SV = read.cache, read.logits
        # An architecture whose cache cannot be copied for a prompt's samples reads its whole text at every step.
        self._cache = cache if hasattr(cache, "reorder_cache") else None
        if self._cache is not None:
            make_room(self._cache)
        return logits_SV

    def step(self, tokens_R: torch.Tensor) -> torch.Tensor:
        """Append a token to every row; logits of the next one, [R, V]."""
        self._ids[:, self._width] = tokens_R
        self._width += 1
        cached = self._cache is not None
        return self._forward(self._width - 1 if cached else 0, use_cache=cached).logits[:, -1]

    def select(self, rows: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Keep the given rows, in that order, each as often as it is named; returns `values` selected alike."""
        rows = rows.to(self._ids.device)
        self._ids, self._mask, self._positions = self._ids[rows], self._mask[rows], self._positions[rows]
        if self._cache is not None:
            self._cache.reorder_cache(rows)
        return values[rows]

    def _forward(self, start: int, *, use_cache: bool) -> Any:
        return self._model(
            input_ids=self._ids[:, start : self._width],
            attention_mask=self._mask[:, : self._width] if self._padded else None,
            position_ids=self._positions[:, start : self._width],
            past_key_values=self._cache,
            use_cache=use_cache,
            logits_to_keep=1,
        )
