"""Prefixes that token ids share, and the nodes of the prefix tree of all prompts: the least that an engine can prefill.

Every node is computed once, and all samples of a prompt share its prefill: the 1.0 of prefill economy. No order beats
it, but samples that happen to repeat what was recorded do: their prefixes are computed already.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence


def shared_length(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the common prefix of two sequences of one type."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if a[low:middle] == b[low:middle] else (low, middle - 1)
    return low


def sortable(token_ids: Iterable[int]) -> bytes:
    """Token ids as bytes, four a token: sorted, those that begin alike lie next to each other."""
    ids = array("I", token_ids)
    assert ids.itemsize == 4
    return ids.tobytes()


def tree_tokens(prompts: Iterable[bytes]) -> int:
    """Nodes of the tree of these prompts, each of them `sortable`."""
    total, before = 0, b""
    for prompt in sorted(prompts):
        total += len(prompt) // 4 - shared_length(before, prompt) // 4
        before = prompt
    return total
