"""How few prompt tokens a paged prefix cache can compute, in exact counts: what vLLM is measured against.

Notation: a request set asks for K_s samples of each prompt s, which has L_s tokens; B tokens a block.

A paged prefix cache (vLLM: Kwon et al. 2023, section 4; "automatic prefix caching") shares full blocks only, and each
sample is a request of its own that computes at least its last token, hence what follows the last block before it:
t_s = L_s - B * floor((L_s - 1) / B) tokens, K_s times. Beyond these tails each distinct full block is computed once,
and none where it is itself the tail of a prompt: `paged_tokens` = sum of K_s * t_s + B * |blocks before a tail that
are nobody's tail|. With B = 1 this is the tree, each prompt's last token K_s times.

No order beats it; `pivotmine.sampling.prefix_tree` has the same of a cache that shares single tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from pivotmine.sampling.prefix_tree import sortable


def paged_tokens(requests: Iterable[tuple[Sequence[int], int]], block_size: int) -> int:
    """Prompt tokens that an endless paged cache must compute for (token ids, number of samples) of each state."""
    tails, before, at_end = 0, set[bytes](), set[bytes]()
    for token_ids, num_samples in requests:
        if num_samples:
            known = (len(token_ids) - 1) // block_size
            tails += num_samples * (len(token_ids) - block_size * known)
            blocks = _blocks(token_ids, block_size)
            before.update(blocks[:known])
            at_end.update(blocks[known:])
    return tails + block_size * len(before - at_end)


def _blocks(token_ids: Sequence[int], block_size: int) -> list[bytes]:
    """The full blocks, each named by all tokens up to its end."""
    digest, text, step = hashlib.blake2b(digest_size=16), sortable(token_ids), 4 * block_size
    names: list[bytes] = []
    for end in range(step, len(text) + 1, step):
        digest.update(text[end - step : end])
        names.append(digest.copy().digest())
    return names
