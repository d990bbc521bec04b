"""The decode loop against transformers' own `generate`, and sampled tokens against their probabilities."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from pivotmine.errors import UserError
from pivotmine.sampling.attention import use_grouped_attention
from pivotmine.sampling.decoding import Draw, decode, pick, shaped
from pivotmine.sampling.settings import Sampling

PROMPTS = [[5, 6, 7, 8, 9, 10, 11, 12, 13], [20, 21, 22], [30, 31, 32, 33, 34]]

SIZE: dict[str, Any] = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "initializer_range": 0.3}
ATTENTION: dict[str, Any] = {"intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
LINEAR: dict[str, Any] = {
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
}
EXPERTS: dict[str, Any] = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
}
ARCHITECTURES: dict[str, Any] = {
    "full attention": lambda: transformers.Qwen3Config(**SIZE, **ATTENTION, head_dim=8),
    "absolute positions": lambda: transformers.GPT2Config(vocab_size=97, n_embd=32, n_layer=2, n_head=2),
    "sliding window": lambda: transformers.MistralConfig(**SIZE, **ATTENTION, head_dim=8, sliding_window=6),
    "linear and full attention": lambda: transformers.Qwen3NextConfig(
        **SIZE, **ATTENTION, **LINEAR, **EXPERTS, head_dim=8, layer_types=["linear_attention", "full_attention"]
    ),
    "a cache that cannot be copied": lambda: transformers.MambaConfig(**SIZE),
}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_greedy_rows_of_a_padded_batch_equal_generate_on_each_prompt_alone(architecture: str) -> None:
    model = _model(architecture)
    use_grouped_attention(model)
    # Budgets differ, so that rows leave the batch on the way.
    draws = [Draw(prompt=prompt, max_new_tokens=budget, seed=0) for prompt in range(3) for budget in (2, 9, 70)]
    drawn = decode(model, PROMPTS, draws, sampling=Sampling(temperature=0), eos_ids=frozenset())
    reference = _model(architecture)
    for draw, one in zip(draws, drawn, strict=True):
        assert one.token_ids == _generate(reference, PROMPTS[draw.prompt], draw.max_new_tokens)
        assert one.finish_reason == "length"


def test_log_probabilities_are_the_unmodified_distributions() -> None:
    model = _model("full attention")
    draws = [Draw(prompt=prompt, max_new_tokens=12, seed=prompt) for prompt in range(3)]
    sampling = Sampling(temperature=0.5, top_p=0.8, top_k=20)
    for prompt, one in zip(PROMPTS, decode(model, PROMPTS, draws, sampling=sampling, eos_ids=frozenset()), strict=True):
        with torch.inference_mode():
            logprobs = model(torch.tensor([prompt + one.token_ids])).logits[0].log_softmax(-1)
        expected = [logprobs[len(prompt) + step - 1, token].item() for step, token in enumerate(one.token_ids)]
        assert one.logprobs == pytest.approx(expected, abs=1e-4)


def test_any_end_of_turn_token_ends_a_row_and_only_that_row() -> None:
    model = _model("full attention")
    draws = [Draw(prompt=0, max_new_tokens=40, seed=seed) for seed in range(30)]
    free = decode(model, PROMPTS[:1], draws, sampling=Sampling(), eos_ids=frozenset())
    ends = frozenset({free[0].token_ids[3], free[1].token_ids[7]})
    ended = decode(model, PROMPTS[:1], draws, sampling=Sampling(), eos_ids=ends)
    for before, after in zip(free, ended, strict=True):
        end = next((place for place, token in enumerate(before.token_ids) if token in ends), None)
        length = 40 if end is None else end + 1
        assert after.token_ids == before.token_ids[:length]
        assert after.finish_reason == ("length" if end is None else "stop")


def test_a_sample_that_goes_on_from_its_tokens_is_the_one_that_a_larger_budget_draws() -> None:
    """Token for token: its random numbers go on behind those that drew the tokens, which must not draw twice."""
    model, ends = _model("full attention"), frozenset(range(0, 97, 20))
    draws = [Draw(prompt=0, max_new_tokens=12, seed=seed) for seed in range(60)]
    whole = decode(model, PROMPTS[:1], draws, sampling=Sampling(), eos_ids=ends)
    cut = decode(
        model, PROMPTS[:1], [replace(draw, max_new_tokens=3) for draw in draws], sampling=Sampling(), eos_ids=ends
    )
    open_seeds = [draw.seed for draw, one in zip(draws, cut, strict=True) if one.finish_reason == "length"]
    assert 20 < len(open_seeds) < 60
    prompts = [PROMPTS[0] + cut[seed].token_ids for seed in open_seeds]
    rest = [Draw(prompt=i, max_new_tokens=9, seed=seed, num_drawn=3) for i, seed in enumerate(open_seeds)]
    for seed, one in zip(open_seeds, decode(model, prompts, rest, sampling=Sampling(), eos_ids=ends), strict=True):
        assert cut[seed].token_ids + one.token_ids == whole[seed].token_ids
        assert one.finish_reason == whole[seed].finish_reason
        assert cut[seed].logprobs + one.logprobs == pytest.approx(whole[seed].logprobs, abs=1e-4)


def test_a_model_that_returns_nan_is_told() -> None:
    with pytest.raises(UserError, match="the model returns NaN"):
        pick(torch.full((1, 4), torch.nan), np.array([0.5]), Sampling())


def test_evenly_spread_numbers_draw_each_token_in_proportion() -> None:
    probabilities = [0.5, 0.0, 0.3, 0.15, 0.05]
    numbers = (np.arange(1000) + 0.5) / 1000
    logits = torch.tensor(probabilities).log().expand(1000, -1)
    tokens, logprobs = pick(logits, numbers, Sampling())
    assert Counter(tokens.tolist()) == {0: 500, 2: 300, 3: 150, 4: 50}
    assert logprobs[0].item() == pytest.approx(np.log(0.5), abs=1e-6)


@given(st.floats(-5, 5), st.floats(-5, 5))
def test_the_extreme_numbers_draw_the_first_and_last_possible_token(first: float, last: float) -> None:
    logits = torch.tensor([[-torch.inf, first, last, -torch.inf]]).expand(2, -1)
    tokens, _ = pick(logits, np.array([0.0, np.nextafter(1.0, 0.0)]), Sampling())
    assert tokens.tolist() == [1, 2]


weights = st.lists(st.integers(1, 1000), min_size=2, max_size=12, unique=True)


@given(weights, st.integers(1, 12), st.floats(0.2, 3.0))
def test_top_k_keeps_the_likeliest_in_proportion(weights: list[int], top_k: int, temperature: float) -> None:
    probs = np.array(weights) / sum(weights)
    kept = shaped(torch.tensor(probs).log()[None], Sampling(top_k=top_k, temperature=temperature))[0].numpy()
    expected = probs ** (1 / temperature)
    expected[np.argsort(-probs)[top_k:]] = 0
    assert kept == pytest.approx(expected / expected.sum(), abs=1e-6)


@given(weights, st.floats(0.05, 0.999))
def test_top_p_keeps_the_fewest_tokens_that_reach_the_mass(weights: list[int], top_p: float) -> None:
    probs = np.array(weights) / sum(weights)
    kept = shaped(torch.tensor(probs).log()[None], Sampling(top_p=top_p))[0].numpy() > 0
    mass, least = probs[kept].sum(), probs[kept].min()
    assert mass >= top_p - 1e-6
    assert mass - least < top_p + 1e-6
    assert not (probs[~kept] > least).any()


@pytest.mark.parametrize("top_p", [1e-9, 1e-46, 1e-300])
def test_the_smallest_mass_keeps_the_likeliest_token(top_p: float) -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0, -torch.inf]]).expand(3, -1)
    tokens, _ = pick(logits, np.array([0.0, 0.5, np.nextafter(1.0, 0.0)]), Sampling(top_p=top_p))
    assert tokens.tolist() == [1, 1, 1]


def _model(architecture: str) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = ARCHITECTURES[architecture]()
        config.eos_token_id = None
        return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def _generate(model: Any, prompt: list[int], max_new_tokens: int) -> list[int]:
    ids = torch.tensor([prompt])
    options: dict[str, Any] = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    output = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_new_tokens, **options)
    return output[0, len(prompt) :].tolist()
