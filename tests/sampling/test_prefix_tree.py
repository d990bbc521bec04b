"""The limits of prefill economy against simulated caches, token by token and block by block."""

from __future__ import annotations

from benchmarks.paged_cache import paged_tokens
from hypothesis import given, settings
from hypothesis import strategies as st

from pivotmine.sampling.prefix_tree import shared_length, sortable, tree_tokens

Requests = list[tuple[list[int], int]]

ids = st.lists(st.sampled_from([0, 1, 255, 256, 65536, 150_000]), max_size=6)
prompts = st.lists(st.integers(0, 1), min_size=1, max_size=12)
asked = st.lists(st.tuples(prompts, st.integers(0, 3)), max_size=12)


@given(ids, ids)
def test_the_shared_length_is_where_two_sequences_part(a: list[int], b: list[int]) -> None:
    expected = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    assert shared_length(a, b) == shared_length(b, a) == expected


@given(st.lists(ids, max_size=12))
def test_the_tree_has_a_node_a_distinct_prefix(prompts: list[list[int]]) -> None:
    prefixes = {tuple(prompt[: i + 1]) for prompt in prompts for i in range(len(prompt))}
    assert tree_tokens(sortable(prompt) for prompt in prompts) == len(prefixes)


@settings(max_examples=60)
@given(asked, st.integers(1, 4), st.randoms(use_true_random=False))
def test_an_endless_paged_cache_reaches_its_limit_in_order_and_never_beats_it(
    requests: Requests, block_size: int, random: object
) -> None:
    limit = paged_tokens(requests, block_size)
    assert _computed(sorted(requests), block_size) == limit
    shuffled = sorted(requests, key=lambda _: random.random())  # type: ignore[attr-defined]
    assert _computed(shuffled, block_size) >= limit


@given(asked)
def test_blocks_of_one_token_leave_only_the_last_token_of_each_sample(requests: Requests) -> None:
    """The tree, each sampled prompt's last token once for each of its samples."""
    sampled = [(prompt, count) for prompt, count in requests if count]
    ends = {tuple(prompt) for prompt, _ in sampled}
    inner = {tuple(prompt[: i + 1]) for prompt, _ in sampled for i in range(len(prompt))} - ends
    assert paged_tokens(requests, 1) == len(inner) + sum(count for _, count in sampled)


def test_by_hand() -> None:
    a, b = list(range(10)), [*range(8), 99]
    # Blocks of 4: a and b share two blocks; each sample computes what is after them: 2 and 1 tokens.
    assert paged_tokens([(a, 3), (b, 2)], 4) == 8 + 3 * 2 + 2 * 1
    # A prompt that ends with its block computes that block for each sample; a longer one finds it there.
    assert paged_tokens([(a[:8], 3), (a, 1)], 4) == 4 + 3 * 4 + 2


def _computed(requests: Requests, block_size: int) -> int:
    """A cache that forgets nothing: each sample takes the known full blocks before its last token, and no more."""
    known, computed = set[tuple[int, ...]](), 0
    for prompt, num_samples in requests:
        for _ in range(num_samples):
            cached = 0
            while cached + block_size < len(prompt) and tuple(prompt[: cached + block_size]) in known:
                cached += block_size
            computed += len(prompt) - cached
            known.update(tuple(prompt[:end]) for end in range(block_size, len(prompt) + 1, block_size))
    return computed
