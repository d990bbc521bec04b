"""Prompts prefilled with each token computed once, against each prompt prefilled alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from pivotmine.sampling import prefix_cache
from pivotmine.sampling.attention import use_grouped_attention
from pivotmine.sampling.decoding import Draw, decode
from pivotmine.sampling.prefix_cache import PrefixCache
from pivotmine.sampling.prefix_tree import sortable, tree_tokens
from pivotmine.sampling.settings import Sampling
from pivotmine_stages.engines.protocol import Engine, Request

SIZE: dict[str, Any] = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "initializer_range": 0.3}
ATTENTION: dict[str, Any] = {"intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
LONG_ROPE = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [2.0] * 4, "rope_theta": 10000.0}
KEEPING: dict[str, Any] = {
    "full attention": lambda: transformers.Qwen3Config(**SIZE, **ATTENTION, head_dim=8),
    "absolute positions": lambda: transformers.GPT2Config(vocab_size=97, n_embd=32, n_layer=2, n_head=2),
}
FORGETTING: dict[str, Any] = {
    "sliding window": lambda: transformers.MistralConfig(**SIZE, **ATTENTION, head_dim=8, sliding_window=6),
    "recurrent": lambda: transformers.MambaConfig(**SIZE),
    "rotations that change with the length": lambda: transformers.Qwen3Config(
        **SIZE,
        **ATTENTION,
        head_dim=8,
        rope_parameters={**LONG_ROPE, "original_max_position_embeddings": 8},
    ),
}


def _model(config: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config.eos_token_id = None
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    use_grouped_attention(model)
    return model


@pytest.fixture(autouse=True)
def short_prompts_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts of a few tokens are read one after another too, as long ones are."""
    monkeypatch.setattr(prefix_cache, "PASS_TOKENS_CPU", 1)


@pytest.fixture(scope="module", params=KEEPING)
def model(request: pytest.FixtureRequest) -> Any:
    return _model(KEEPING[request.param]())


def _segment(length: int = 40) -> list[list[int]]:
    """Prompts as turns give them: each goes on where the one before ended."""
    ids = [(7 * i + i * i) % 97 for i in range(length)]
    return [ids[:end] for end in range(10, length + 1, 6)]


REWRITTEN = [[*prompt, 96, 95] for prompt in _segment()]
"""A template whose generation prompt is not what the next prompt has in its place."""


ORDERS = {
    "grows": _segment(),
    "rewrites": REWRITTEN,
    "both": _segment() + REWRITTEN,
    "begins anew": _segment()[-2:] + _segment(),
}


@pytest.mark.parametrize("prompts", ORDERS.values(), ids=ORDERS)
def test_logits_are_those_of_each_prompt_read_alone(model: Any, prompts: list[list[int]]) -> None:
    prefixes = PrefixCache(model)
    for batch in (prompts[:2], prompts[2:]):
        read = prefixes.read(batch)
        assert read is not None
        with torch.inference_mode():
            alone = torch.stack([model(torch.tensor([prompt])).logits[0, -1] for prompt in batch])
        torch.testing.assert_close(read.logits, alone, atol=1e-4, rtol=1e-4)


def test_rows_are_the_caches_of_each_prompt_read_alone(model: Any) -> None:
    prompts = _segment()
    read = PrefixCache(model).read(prompts)
    assert read is not None
    for row, prompt in enumerate(prompts):
        with torch.inference_mode():
            cache = model(torch.tensor([prompt]), use_cache=True).past_key_values
        for ours, alone in zip(read.cache.layers, cache.layers, strict=True):
            for rows, tokens in ((ours.keys, alone.keys), (ours.values, alone.values)):
                padding = rows.shape[2] - len(prompt)
                torch.testing.assert_close(rows[row, :, padding:], tokens[0], atol=1e-4, rtol=1e-4)
                assert (rows[row, :, :padding] == 0).all()


def test_samples_are_those_of_a_padded_batch(model: Any) -> None:
    prompts = _segment()
    draws = [
        Draw(prompt=place, max_new_tokens=9, seed=place * 3 + i) for place in range(len(prompts)) for i in range(3)
    ]
    options: dict[str, Any] = {"sampling": Sampling(), "eos_ids": frozenset[int]()}
    expected = decode(model, prompts, draws, **options)
    drawn = decode(model, prompts, draws, **options, read=PrefixCache(model).read(prompts))
    assert [one.token_ids for one in drawn] == [one.token_ids for one in expected]
    for ours, theirs in zip(drawn, expected, strict=True):
        assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-4)


def test_each_token_is_computed_once_over_all_batches() -> None:
    """Segments in the order of their prefixes, in batches that cut them anywhere: what is computed is their tree."""
    prefixes = PrefixCache(_model(KEEPING["full attention"]()))
    prompts = [[1, 2, 3, first, *prompt] for first in (4, 5) for prompt in _segment()]
    computed: list[int] = []
    for start in range(0, len(prompts), 5):
        read = prefixes.read(prompts[start : start + 5])
        assert read is not None
        computed += read.num_computed
    assert sum(computed) == tree_tokens(map(sortable, prompts))
    assert computed[:3] == [14, 6, 6]


def test_a_prompt_that_is_known_whole_computes_its_last_token() -> None:
    prefixes = PrefixCache(_model(KEEPING["full attention"]()))
    *_, last = _segment()
    for prompt, expected in ((last, len(last)), (last, 1), (last[:-4], 1), (last, 4)):
        read = prefixes.read([prompt])
        assert read is not None
        assert read.num_computed == [expected]


def test_short_passes_do_not_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two prompts of 16 tokens that share all but their ends: two passes of 32 are no saving over one of 32."""
    monkeypatch.undo()
    prefixes = PrefixCache(_QWEN)
    assert prefixes.read([[*range(15), end] for end in (90, 91)]) is None
    assert prefixes.read([[*range(95), *range(95), end] for end in (90, 91)]) is not None


def test_prompts_that_share_nothing_are_left_to_a_padded_batch() -> None:
    prefixes = PrefixCache(_model(KEEPING["full attention"]()))
    assert prefixes.read([[first, *range(40)] for first in range(50, 55)]) is None
    assert prefixes.read(_segment()) is not None


@pytest.mark.parametrize("architecture", FORGETTING)
def test_what_does_not_keep_every_token_is_left_to_a_padded_batch(architecture: str) -> None:
    assert PrefixCache(_model(FORGETTING[architecture]())).read(_segment()) is None


prompt_lists = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), min_size=1, max_size=4)


@settings(max_examples=20, deadline=None)
@given(st.lists(prompt_lists, min_size=1, max_size=2))
def test_any_prompts_in_any_order_give_their_own_logits(batches: list[list[list[int]]]) -> None:
    prefixes = PrefixCache(_QWEN)
    for batch in batches:
        read = prefixes.read(batch)
        if read is None:
            continue
        with torch.inference_mode():
            alone = torch.stack([_QWEN(torch.tensor([prompt])).logits[0, -1] for prompt in batch])
        torch.testing.assert_close(read.logits, alone, atol=1e-4, rtol=1e-4)
        # None at all for a prompt like the one before it.
        assert all(0 <= computed <= len(prompt) for computed, prompt in zip(read.num_computed, batch, strict=True))


_QWEN = _model(KEEPING["full attention"]())


def test_the_engine_says_what_it_computed_and_samples_as_without(
    transformers_engine: Engine, ask: Callable[..., Request], coin_prompt: list[int]
) -> None:
    """Turns of one segment, together and then each by itself in the other direction, when nothing is left to share."""
    prompts = [coin_prompt[:end] for end in range(60, len(coin_prompt) + 1, 20)]
    requests = [ask(f"s{number}", (0, 1, 2), prompt_ids=prompt) for number, prompt in enumerate(prompts)]
    together = list(transformers_engine.sample([ask("other", prompt_ids=[9, 9, 9]), *requests]))[1:]
    assert sum(reply.num_prefill_tokens or 0 for reply in together) == len(prompts[-1])
    for reply, request in zip(together, requests, strict=True):
        assert (reply.num_prefill_tokens or 0) + (reply.num_cached_tokens or 0) == len(request.prompt_ids)
        list(transformers_engine.sample([ask("other", prompt_ids=[8, 8, 8])]))
        (alone,) = transformers_engine.sample([request])
        assert alone.num_prefill_tokens == len(request.prompt_ids)
        assert [sample.token_ids for sample in reply.samples] == [sample.token_ids for sample in alone.samples]
