"""The transformers engine's decode loop against `model.generate` on the same prompts, both sampling K rows a prompt."""

from __future__ import annotations

import argparse
from typing import Any

import torch
from benchmarks.measuring import paired_ratio
from transformers import Qwen3Config, Qwen3ForCausalLM

from pivotmine.sampling.attention import use_grouped_attention
from pivotmine.sampling.decoding import Draw, decode
from pivotmine.sampling.settings import Sampling

NUM_STATES, NUM_SAMPLES, PROMPT_TOKENS, NEW_TOKENS = 8, 8, 300, 32


def model() -> Any:
    """Random weights, 3 M parameters, nothing that ends a turn: both sides draw every token of their budget."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4, "head_dim": 32}
    heads: dict[str, Any] = {"num_attention_heads": 8, "num_key_value_heads": 2, "tie_word_embeddings": True}
    config = Qwen3Config(vocab_size=2048, eos_token_id=None, pad_token_id=0, **sizes, **heads)
    return Qwen3ForCausalLM(config).eval()


def main(_: argparse.Namespace) -> None:
    """Print tokens a second and the ratio."""
    plain, grouped = model(), model()
    use_grouped_attention(grouped)
    # Prompts of unequal length, as states are: both sides pad them on the left.
    prompts = [torch.randint(1, 2048, (PROMPT_TOKENS - 8 * i,)).tolist() for i in range(NUM_STATES)]
    draws = [
        Draw(prompt=prompt, max_new_tokens=NEW_TOKENS, seed=prompt * NUM_SAMPLES + sample)
        for prompt in range(NUM_STATES)
        for sample in range(NUM_SAMPLES)
    ]

    def ours() -> None:
        decode(grouped, prompts, draws, sampling=Sampling(max_new_tokens=NEW_TOKENS), eos_ids=frozenset())

    ids = torch.tensor([[0] * (PROMPT_TOKENS - len(prompt)) + prompt for prompt in prompts])
    mask = (torch.arange(PROMPT_TOKENS) >= torch.tensor([[PROMPT_TOKENS - len(prompt)] for prompt in prompts])).long()

    def theirs() -> None:
        plain.generate(
            ids,
            attention_mask=mask,
            do_sample=True,
            top_k=0,
            num_return_sequences=NUM_SAMPLES,
            max_new_tokens=NEW_TOKENS,
        )

    seconds, generate, ratio = paired_ratio(ours, theirs, repeats=3)
    tokens = NUM_STATES * NUM_SAMPLES * NEW_TOKENS
    print(
        f"rollout  {tokens / seconds:,.0f} tokens/s, model.generate {tokens / generate:,.0f} tokens/s, ratio {ratio:.2f} of its time"
    )
