"""Shared prefixes of token ids, and the size of the prefix tree of all prompts: the minimum that an engine prefills.

It computes every node once, and all samples of a prompt share its prefill: prefill economy 1.0. No order of the prompts
costs less. Only samples that repeat what was recorded can, because their tokens are cached already.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence


def shared_length(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the common prefix of two sequences of the same type, by bisection."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if a[low:middle] == b[low:middle] else (low, middle - 1)
    return low


def sortable(token_ids: Iterable[int]) -> bytes:
    """Token ids as bytes, four per token. Sorting them puts ids with a shared prefix next to each other."""
    ids = array("I", token_ids)
    assert ids.itemsize == 4
    return ids.tobytes()


def tree_tokens(prompts: Iterable[bytes]) -> int:
    """Number of nodes of the prefix tree of these prompts (from `sortable`)."""
    total, before = 0, b""
    for prompt in sorted(prompts):
        total += len(prompt) // 4 - shared_length(before, prompt) // 4
        before = prompt
    return total
