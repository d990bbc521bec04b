"""One attention function for decoding many rows and for packed groups, and a cache that grows in place. All are exact.

- transformers repeats a padded batch's whole cache once per query head (`repeat_kv`) at every step. The heads of a
  group use the same keys, so they can be computed as queries of one head: the same numbers without a copy.
- A packed group is one sequence: a prompt, then its actions. Its mask covers the actions only. The prompt's queries
  take the causal kernel, which needs no mask.
- transformers makes a new cache tensor, one token longer, at every step. With room at the end, a token is written in
  place.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

ROOM = 64
"""Tokens by which a full cache grows."""

_NAME = "pivotmine_grouped"


def use_grouped_attention(model: Any) -> bool:
    """Make a model with torch's `scaled_dot_product_attention` use grouped attention; False if it has another kind."""
    if model.config._attn_implementation == "sdpa":
        AttentionInterface.register(_NAME, _attend)
        AttentionMaskInterface.register(_NAME, sdpa_mask)
        model.set_attn_implementation(_NAME)
    return model.config._attn_implementation == _NAME


def make_room(cache: Any) -> None:
    """Let ordinary cache layers grow in place; sliding, recurrent and other layers stay as they are."""
    cache.layers = [_RoomyLayer(layer) if type(layer) is DynamicLayer else layer for layer in cache.layers]


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    rows, num_heads, num_queries, width = query.shape
    if attention_mask is not None and attention_mask.shape[2] < num_queries:
        return _attend_packed(module, query, key, value, attention_mask, **kwargs), None
    num_groups = key.shape[1]
    per_row_mask = attention_mask is not None and attention_mask.shape[1] == 1
    if num_queries > 1 or num_heads == num_groups or not per_row_mask or kwargs.get("position_bias") is not None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    side_by_side = query.reshape(rows, num_groups, num_heads // num_groups, width)
    output = torch.nn.functional.scaled_dot_product_attention(
        side_by_side, key, value, attn_mask=attention_mask, scale=kwargs.get("scaling")
    )
    return output.reshape(rows, 1, num_heads, value.shape[-1]), None


def _attend_packed(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    **kwargs: Any,
) -> torch.Tensor:
    """Attention if the mask covers only the last queries. Those before it are a prompt, causal among themselves."""
    prompt = query.shape[2] - attention_mask.shape[2]
    before, _ = sdpa_attention_forward(
        module, query[:, :, :prompt], key[:, :, :prompt], value[:, :, :prompt], None, **kwargs
    )
    behind, _ = sdpa_attention_forward(module, query[:, :, prompt:], key, value, attention_mask, **kwargs)
    return torch.cat([before, behind], dim=1)


class _RoomyLayer(DynamicLayer):
    """`keys` and `values` are the filled fronts of two longer tensors, until a selection of rows replaces them."""

    def __init__(self, layer: DynamicLayer) -> None:
        super().__init__()
        if layer.keys is not None and layer.values is not None:
            self.lazy_initialization(layer.keys, layer.values)
            self.keys, self.values = layer.keys, layer.values
        self._behind = [torch.empty(0), torch.empty(0)]

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self.keys is None or self.values is None or self.get_seq_length() == 0:
            return super().update(key_states, value_states)
        self.keys, self._behind[0] = _append(self.keys, key_states, self._behind[0])
        self.values, self._behind[1] = _append(self.values, value_states, self._behind[1])
        return self.keys, self.values


def _append(front: torch.Tensor, new: torch.Tensor, behind: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`front` with `new` appended along tokens, and the longer tensor that holds both.

    That tensor is `behind` if it belongs to `front` and has room, else a new one.
    """
    rows, heads, length, width = front.shape
    grown = length + new.shape[2]
    if behind.data_ptr() != front.data_ptr() or behind.shape[2] < grown:
        behind = front.new_empty(rows, heads, grown + ROOM, width)
        behind[:, :, :length] = front
    behind[:, :, length:grown] = new
    return behind[:, :, :grown], behind
