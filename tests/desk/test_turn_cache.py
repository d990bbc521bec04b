"""Prefilling a turn's new tokens gives what prefilling its whole prompt gives."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from pivotmine_desk.sampling import Policy, load_policy, sample
from pivotmine_desk.turn_cache import PrefilledTurn, prefill_turns

POLICY = Path(__file__).parents[2] / "data" / "desk" / "policy"


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(POLICY)


def growing(chance: random.Random, turns: int) -> list[list[int]]:
    """An episode's prompts: each begins with the one before, but for a few tokens that the template may change."""
    prompts = [[chance.randrange(700) for _ in range(chance.randint(2, 40))]]
    for _ in range(turns - 1):
        kept = prompts[-1][: len(prompts[-1]) - chance.randint(0, 2)]
        prompts.append([*kept, *(chance.randrange(700) for _ in range(chance.randint(1, 30)))])
    return prompts


@pytest.mark.parametrize("seed", range(3))
def test_each_turn_has_the_logits_and_the_cache_of_its_whole_prompt(policy: Policy, seed: int) -> None:
    chance = random.Random(seed)
    episodes = [growing(chance, 4) for _ in range(5)]
    before: list[PrefilledTurn | None] = [None] * len(episodes)
    for turn in range(4):
        prompts = [episode[turn] for episode in episodes]
        read, kept = prefill_turns(policy.model, prompts, before)
        for row, prompt in enumerate(prompts):
            with torch.inference_mode():
                alone = policy.model(input_ids=torch.tensor([prompt]), use_cache=True)
            torch.testing.assert_close(read.logits[row], alone.logits[0, -1], rtol=0, atol=2e-4)
            for ours, theirs in zip(read.cache.layers, alone.past_key_values.layers, strict=True):
                torch.testing.assert_close(ours.keys[row, :, -len(prompt) :], theirs.keys[0], rtol=0, atol=2e-4)
                torch.testing.assert_close(ours.values[row, :, -len(prompt) :], theirs.values[0], rtol=0, atol=2e-4)
        if turn:
            known = [len(one.token_ids) for one in before if one is not None]
            new = [len(prompt) - length for prompt, length in zip(prompts, known, strict=True)]
            assert all(
                n <= computed <= n + 2 or computed == 1 for n, computed in zip(new, read.num_computed, strict=True)
            )
        before = [*kept]


def test_samples_of_turns_are_those_of_whole_prompts(policy: Policy) -> None:
    chance = random.Random(7)
    episodes = [growing(chance, 3) for _ in range(9)]
    turns: list[PrefilledTurn | None] = [None] * len(episodes)
    for turn in range(3):
        prompts = [episode[turn] for episode in episodes]
        whole, kept = (
            sample(policy, prompts, generator=torch.Generator().manual_seed(turn), batch=4, turns=known)
            for known in (None, turns)
        )
        assert kept == whole
    assert [turn and turn.token_ids for turn in turns] == [episode[2] for episode in episodes]
