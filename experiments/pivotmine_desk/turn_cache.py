"""Prompts of an episode's turns: each begins with the one before, so only its new tokens are prefilled. Exact."""

# Capital suffixes name the axes: S prompts, H heads, T tokens, W width of a head.
# ruff: noqa: N806

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from pivotmine.sampling.prefix_cache import ReadPrompts
from pivotmine.sampling.prefix_tree import shared_length


class PrefilledTurn(NamedTuple):
    """A prompt and its keys and values."""

    token_ids: list[int]
    layers: list[tuple[torch.Tensor, torch.Tensor]]
    """Keys and values of each layer, [H, T, W]."""


@torch.inference_mode()
def prefill_turns(
    model: Any, prompts: Sequence[list[int]], before: Sequence[PrefilledTurn | None]
) -> tuple[ReadPrompts, list[PrefilledTurn]]:
    """Prefill prompts in one batch, each from where it differs from the prompt of the turn before.

    Returns what `decode` takes, and what the next turn takes. The model must keep keys and values of every token, as
    the desk's does.
    """
    starts = [
        0 if old is None else min(shared_length(old.token_ids, prompt), len(prompt) - 1)
        for prompt, old in zip(prompts, before, strict=True)
    ]
    front = max(starts)
    rest = max(len(prompt) - start for prompt, start in zip(prompts, starts, strict=True))
    # Known tokens end at `front` and new ones at the end. The mask covers the gaps before both.
    ids_ST, mask_ST = (torch.zeros((len(prompts), size), dtype=torch.long) for size in (rest, front + rest))
    for row, (prompt, start) in enumerate(zip(prompts, starts, strict=True)):
        new = prompt[start:]
        ids_ST[row, rest - len(new) :] = torch.tensor(new)
        mask_ST[row, front - start : front] = 1
        mask_ST[row, front + rest - len(new) :] = 1
    cache = _known_tokens(before, starts, front) if front else DynamicCache()
    output = model(
        input_ids=ids_ST,
        attention_mask=mask_ST,
        position_ids=(mask_ST.cumsum(-1) - 1).clamp(min=0)[:, front:],
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    places = [mask_ST[row].nonzero()[:, 0] for row in range(len(prompts))]
    layers: list[Any] = list(cache.layers)
    kept = [
        PrefilledTurn(prompt, [(layer.keys[row][:, place], layer.values[row][:, place]) for layer in layers])
        for row, (prompt, place) in enumerate(zip(prompts, places, strict=True))
    ]
    width = max(map(len, prompts))
    packed: Any = DynamicCache()
    packed.layers = [_layer(kept, [width] * len(kept), number, width) for number in range(len(layers))]
    computed = [len(prompt) - start for prompt, start in zip(prompts, starts, strict=True)]
    return ReadPrompts(output.logits[:, -1], packed, computed), kept


def _known_tokens(before: Sequence[PrefilledTurn | None], starts: list[int], front: int) -> Any:
    known: Any = DynamicCache()
    one = next(old for old in before if old is not None)
    known.layers = [_layer(before, starts, number, front) for number in range(len(one.layers))]
    return known


def _layer(turns: Sequence[PrefilledTurn | None], counts: list[int], number: int, width: int) -> DynamicLayer:
    """A cache's layer of one row a turn, left-padded: at most the first `counts` tokens of each."""
    keys, _ = next(turn for turn in turns if turn is not None).layers[number]
    rows_SHTW = [keys.new_zeros(len(turns), len(keys), width, keys.shape[-1]) for _ in range(2)]
    for row, (turn, count) in enumerate(zip(turns, counts, strict=True)):
        for filled, tokens in zip(rows_SHTW, turn.layers[number] if turn else (), strict=False):
            used = tokens[:, :count]
            filled[row, :, width - used.shape[1] :] = used
    layer = DynamicLayer()
    layer.lazy_initialization(*rows_SHTW)
    layer.keys, layer.values = rows_SHTW
    return layer
