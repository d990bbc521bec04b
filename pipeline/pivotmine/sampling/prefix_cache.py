"""Prefill prompts that share prefixes, each shared token once. It is exact, and the prompts may come in any order.

The keys and values of the last prompt are kept. The next prompt reuses the prefix that both share and computes the
rest. If each prompt begins with the one before (the turns of a segment), one pass over the last one is enough: by
causality, its front has the keys and values of the others. So prompts in the order of their segments cost the nodes of
their prefix tree. Prompts that share little are faster in a padded batch.

This needs layers that keep the keys and values of every token, independent of later tokens. Sliding windows, recurrent
layers and rotations that change with the length (`dynamic`, `longrope`) need the padded batch too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from pivotmine.sampling.prefix_tree import shared_length

WORTH = 0.75
"""Prompts are prefilled one after another if that costs at most this share of a padded batch's tokens."""
PASS_TOKENS_CPU, PASS_TOKENS_GPU = 32, 256
"""A pass over fewer tokens takes as long, because it reads all weights from memory (roofline: arithmetic operations per
byte of memory, about 300 tokens on an H100 in bfloat16)."""

Tokens = Sequence[int]


class ReadPrompts(NamedTuple):
    """S prefilled prompts, left-padded to the longest one's length."""

    logits: torch.Tensor
    """Logits of the first new token, [S, V]."""
    cache: Any
    """transformers' cache of S rows."""
    num_computed: list[int]
    """Tokens computed for each prompt."""


class PrefixCache:
    """Prefills prompts, and keeps the keys and values of the last one."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._suits: bool | None = None
        self._token_ids: Tokens = ()
        self._cache: Any = None

    def clear(self) -> None:
        """Free the memory."""
        self._token_ids, self._cache = (), None

    @torch.inference_mode()
    def read(self, prompts: Sequence[Tokens]) -> ReadPrompts | None:
        """Prefill the prompts; None, with nothing done, if a padded batch is at least as fast."""
        if self._suits is None:
            self._suits = keeps_every_token(self._model, prompts[0][0])
        chains = list(_chains(prompts))
        if not self._suits or not self._pays(chains):
            self.clear()
            return None
        batch = _Rows(prompts)
        for chain in chains:
            logits, start = self._pass(chain)
            batch.add(chain, logits, start, self._cache)
        return batch.read_prompts()

    def _pays(self, chains: list[list[Tokens]]) -> bool:
        """Whether it is faster than a padded batch. A single pass always is: it computes at most as many tokens."""
        before, cost = self._token_ids, 0
        least = PASS_TOKENS_CPU if self._model.device.type == "cpu" else PASS_TOKENS_GPU
        for chain in chains:
            cost += max(least, len(chain[-1]) - _start(before, chain))
            before = chain[-1]
        prompts = [prompt for chain in chains for prompt in chain]
        return len(chains) == 1 or cost <= WORTH * len(prompts) * max(map(len, prompts))

    def _pass(self, chain: list[Tokens]) -> tuple[torch.Tensor, int]:
        """Compute the new tokens of a chain's last prompt.

        Returns the logits at the end of each prompt, [chain, V], and the index of the first new token.
        """
        start, ids = _start(self._token_ids, chain), chain[-1]
        if self._cache is None:
            self._cache = DynamicCache()
        for layer in self._cache.layers:
            layer.keys, layer.values = layer.keys[:, :, :start], layer.values[:, :, :start]
        device = self._model.device
        output = self._model(
            input_ids=torch.tensor([ids[start:]], device=device),
            position_ids=torch.arange(start, len(ids), device=device)[None],
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=torch.tensor([len(prompt) - 1 - start for prompt in chain], device=device),
        )
        self._token_ids = ids
        return output.logits[0], start


def _chains(prompts: Sequence[Tokens]) -> Iterator[list[Tokens]]:
    """The prompts in order, as chains in which each prompt begins with the one before."""
    chain: list[Tokens] = []
    for prompt in prompts:
        if chain and shared_length(chain[-1], prompt) < len(chain[-1]):
            yield chain
            chain = []
        chain.append(prompt)
    yield chain


def _start(known: Tokens, chain: list[Tokens]) -> int:
    """The first token to compute; at most the last one of the chain's first prompt, whose logits are needed."""
    return min(shared_length(known, chain[-1]), len(chain[0]) - 1)


def keeps_every_token(model: Any, token: int) -> bool:
    """Whether the model's cache keeps the keys and values of every token, independent of later tokens."""
    rope = getattr(model.config.get_text_config(), "rope_parameters", None) or {}
    kinds = [str(part.get("rope_type")) for part in (rope, *rope.values()) if isinstance(part, dict)]
    if any("dynamic" in kind or kind == "longrope" for kind in kinds):
        return False
    output = model(input_ids=torch.tensor([[token]], device=model.device), use_cache=True)
    layers = getattr(getattr(output, "past_key_values", None), "layers", ())
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


class _Rows:
    """The padded batch, put together from the cache."""

    def __init__(self, prompts: Sequence[Tokens]) -> None:
        self._num_rows, self._width = len(prompts), max(map(len, prompts))
        self._logits: list[torch.Tensor] = []
        self._layers: list[DynamicLayer] = []
        self._num_computed: list[int] = []

    def add(self, chain: list[Tokens], logits: torch.Tensor, start: int, cache: Any) -> None:
        """Add a chain's rows: each is a copy of the cache's front, as long as its prompt."""
        if not self._layers:
            self._layers = [self._empty(layer) for layer in cache.layers]
        for prompt in chain:
            row, padding = len(self._num_computed), self._width - len(prompt)
            for ours, read in zip(self._layers, cache.layers, strict=True):
                for rows, tokens in ((ours.keys, read.keys), (ours.values, read.values)):
                    assert rows is not None
                    rows[row, :, padding:] = tokens[0, :, : len(prompt)]
            self._num_computed.append(len(prompt) - start)
            start = len(prompt)
        self._logits.append(logits)

    def read_prompts(self) -> ReadPrompts:
        cache: Any = DynamicCache()
        cache.layers = list(self._layers)
        return ReadPrompts(torch.cat(self._logits), cache, self._num_computed)

    def _empty(self, layer: Any) -> DynamicLayer:
        """Zeros, not stale memory: padding is masked, but zero times NaN is NaN."""
        ours = DynamicLayer()
        ours.lazy_initialization(layer.keys, layer.values)
        ours.keys, ours.values = (
            kept.new_zeros(self._num_rows, kept.shape[1], self._width, kept.shape[3])
            for kept in (layer.keys, layer.values)
        )
        return ours
