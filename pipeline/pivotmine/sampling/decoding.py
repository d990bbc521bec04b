"""The decode loop of the transformers engine, the trainer and the desk. It computes once what samples share.

It needs one prefill per prompt and one row per distinct text so far. Each sample has its own random numbers.

Shapes: S prompts, N running samples, R rows, V vocabulary, T tokens of the longest row.
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
"""Finished rows are dropped only if at most this share of the rows is still running, because dropping copies the
cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """A sample to be drawn."""

    prompt: int
    """Index of its prompt."""
    max_new_tokens: int
    """Token budget, at least 1."""
    seed: int
    """Seed of its random numbers, one per token. So the sample does not depend on its batch."""
    num_drawn: int = 0
    """Number of the sample's tokens at the end of its prompt; the random numbers continue behind theirs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    token_ids: list[int]
    """Sampled tokens, including the end-of-turn token if it was sampled."""
    logprobs: list[float]
    """Natural log-probability of each token, of the unmodified distribution unless `decode` got
    `logprobs_at_temperature`."""
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
    logprobs_at_temperature: bool = False,
) -> list[Drawn]:
    """Draw the samples, in the order of `draws`; UserError if the model returns NaN.

    Samples of a prompt with the same tokens so far share one row of the forward pass.

    read: the prompts, if they are already prefilled. logprobs_at_temperature: return log-probabilities of the logits
    divided by the temperature, as TRL computes them, instead of the unmodified ones.
    """
    room = max(draw.max_new_tokens for draw in draws)
    uniforms_NT = np.stack([_uniforms(draw, room) for draw in draws])
    batch = _Batch(model, prompts, room)
    logits_RV = batch.prefill(read)
    drawn = [Drawn(token_ids=[], logprobs=[], finish_reason="length") for _ in draws]
    running, rows = list(range(len(draws))), [draw.prompt for draw in draws]  # samples, and the row of each
    scale = sampling.temperature if logprobs_at_temperature and sampling.temperature > 0 else 1.0
    for step in range(room):
        logits_NV = logits_RV[torch.tensor(rows, device=logits_RV.device)]
        tokens_N, logprobs_N = pick(logits_NV, uniforms_NT[running, step], sampling, scale)
        tokens = tokens_N.tolist()
        going_on: list[tuple[int, int, int]] = []  # sample, its row, its token
        for sample, row, token, logprob in zip(running, rows, tokens, logprobs_N.tolist(), strict=True):
            drawn[sample].token_ids.append(token)
            drawn[sample].logprobs.append(logprob)
            if token in eos_ids:
                one = drawn[sample]
                drawn[sample] = Drawn(token_ids=one.token_ids, logprobs=one.logprobs, finish_reason="stop")
            elif step + 1 < draws[sample].max_new_tokens:
                going_on.append((sample, row, token))
        if not going_on:
            break
        running = [sample for sample, _, _ in going_on]
        rows = batch.grow([(row, token) for _, row, token in going_on])
        logits_RV = batch.step()
    return drawn


def _uniforms(draw: Draw, room: int) -> np.ndarray[Any, Any]:
    """The sample's random numbers for its next `room` tokens."""
    numbers = np.random.Generator(np.random.Philox(draw.seed)).random(draw.num_drawn + room)
    return numbers[draw.num_drawn :]


def pick(
    logits_RV: torch.Tensor, uniforms_R: np.ndarray[Any, Any], sampling: Sampling, scale: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """A token per row by inverting the cumulative distribution at one number in [0, 1), and its log-probability.

    scale: the logits are divided by it for the log-probability only.
    """
    logprobs_RV = logits_RV.float().log_softmax(-1)
    if sampling.temperature == 0:
        tokens_R = logprobs_RV.argmax(-1)
    else:
        # doubles: float32 would round away the tokens late in a vocabulary of 150,000
        cumulated_RV = shaped(logprobs_RV, sampling).double().cumsum(-1)
        total_R1 = cumulated_RV[:, -1:]
        if not torch.isfinite(total_R1).all():
            raise UserError("the model returns NaN instead of probabilities; its weights or its dtype are broken")
        places_R1 = torch.from_numpy(uniforms_R).to(total_R1.device)[:, None] * total_R1
        tokens_R = torch.searchsorted(cumulated_RV, places_R1, right=True)[:, 0]
    if scale != 1:
        logprobs_RV = (logprobs_RV / scale).log_softmax(-1)
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
        # The most likely token stays, even if top_p is too small for float32.
        sorted_RV = sorted_RV.masked_fill((before_RV > 0) & (before_RV >= sampling.top_p), 0.0)
        probs_RV = torch.zeros_like(probs_RV).scatter_(-1, order_RV, sorted_RV)
    return probs_RV


class _Batch:
    """The running rows: their tokens, left-padded to one width, and the model's cache of them."""

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
        """Prefill the prompts, unless `read` has them; logits of the first new token, [S, V]."""
        if read is None:
            output = self._forward(0, use_cache=True)
            cache, logits_SV = getattr(output, "past_key_values", None), output.logits[:, -1]
        else:
            cache, logits_SV = read.cache, read.logits
        # If the cache cannot be copied for a prompt's samples, every step computes the whole text again.
        self._cache = cache if hasattr(cache, "reorder_cache") else None
        if self._cache is not None:
            make_room(self._cache)
        return logits_SV

    def grow(self, wanted: list[tuple[int, int]]) -> list[int]:
        """Append a token to rows, given as (row, token) of each sample; returns the new row of each sample.

        Finished rows stay while they are few: dropping one copies the cache.
        """
        distinct = list(dict.fromkeys(wanted))
        parents = [row for row, _ in distinct]
        num_rows = len(self._ids)
        if len(set(parents)) == len(parents) > KEEP_SHARE * num_rows:
            tokens = dict(distinct)
            distinct = [(row, tokens.get(row, 0)) for row in range(num_rows)]
        elif parents != list(range(num_rows)):
            self._select(torch.tensor(parents))
        self._ids[:, self._width] = torch.tensor([token for _, token in distinct], device=self._ids.device)
        self._width += 1
        place = {key: index for index, key in enumerate(distinct)}
        return [place[key] for key in wanted]

    def step(self) -> torch.Tensor:
        """Compute the token appended last; logits of the next one, [R, V]."""
        cached = self._cache is not None
        return self._forward(self._width - 1 if cached else 0, use_cache=cached).logits[:, -1]

    def _select(self, rows: torch.Tensor) -> None:
        """Keep these rows in this order; a row may occur several times."""
        rows = rows.to(self._ids.device)
        self._ids, self._mask, self._positions = self._ids[rows], self._mask[rows], self._positions[rows]
        if self._cache is not None:
            self._cache.reorder_cache(rows)

    def _forward(self, start: int, *, use_cache: bool) -> Any:
        return self._model(
            input_ids=self._ids[:, start : self._width],
            attention_mask=self._mask[:, : self._width] if self._padded else None,
            position_ids=self._positions[:, start : self._width],
            past_key_values=self._cache,
            use_cache=use_cache,
            logits_to_keep=1,
        )
