"""Log-probabilities of given tokens, prefilled piece by piece: the logits of a whole segment would not fit in memory.

Shapes: T tokens of a sequence, V vocabulary.
"""

# ruff: noqa: N806 - axis letters are capitals
from __future__ import annotations

from typing import Any

import torch

from pivotmine.sampling.settings import Prefilled

PIECE_TOKENS = 512
"""Tokens whose logits are held at once: 0.3 GB in float32 with a vocabulary of 150,000."""


@torch.inference_mode()
def prefill(model: Any, token_ids: list[int]) -> Prefilled:
    """Prefill one sequence. A model without a cache prefills it in one pass."""
    ids_1T = torch.tensor([token_ids], device=model.device)
    piece = PIECE_TOKENS
    output = model(input_ids=ids_1T[:, :piece], use_cache=True)
    if ids_1T.shape[1] > piece and getattr(output, "past_key_values", None) is None:
        piece = ids_1T.shape[1]
        output = model(input_ids=ids_1T, use_cache=False)
    logprobs: list[float] = []
    likeliest: list[int] = []
    for start in range(0, ids_1T.shape[1], piece):
        if start:
            cache = output.past_key_values
            output = model(input_ids=ids_1T[:, start : start + piece], past_key_values=cache, use_cache=True)
        logprobs_TV = output.logits[0].float().log_softmax(-1)
        next_T = ids_1T[0, start + 1 : start + piece + 1]
        logprobs += logprobs_TV[: len(next_T)].gather(-1, next_T[:, None])[:, 0].tolist()
        likeliest += logprobs_TV[: len(next_T)].argmax(-1).tolist()
    return Prefilled(logprobs, likeliest)
