"""Log-probabilities of given tokens: the two engines that report them agree."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from pivotmine.errors import UserError
from pivotmine.sampling.settings import TokenTree
from pivotmine_stages.engines.protocol import Engine


def test_vllm_and_transformers_agree(
    vllm_engine: Engine, transformers_engine: Engine, policies: ModuleType, coin_policy: Path, coin_prompt: list[int]
) -> None:
    answers = [policies.token_ids(coin_policy, f"{text}<|im_end|>") for text in (policies.RIGHT_CALL, "Hello.")]
    sequences = [coin_prompt + answer for answer in answers]
    ours, theirs = transformers_engine.prefill(sequences), vllm_engine.prefill(sequences)
    for token_ids, answer, a, b in zip(sequences, answers, ours, theirs, strict=True):
        assert len(a.logprobs) == len(b.logprobs) == len(token_ids) - 1
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-2)
        first = len(token_ids) - len(answer) - 1
        assert a.likeliest[first:] == b.likeliest[first:]


def test_both_engines_read_replies_as_they_read_whole_sequences(
    vllm_engine: Engine, transformers_engine: Engine, policies: ModuleType, coin_policy: Path, coin_prompt: list[int]
) -> None:
    said = (policies.RIGHT_CALL, policies.WRONG_CALL, "Hello.", policies.RIGHT_CALL)
    branches = [policies.token_ids(coin_policy, f"{text}<|im_end|>") for text in said]
    trees = [TokenTree(coin_prompt, branches), TokenTree(coin_prompt[:-1], branches[2:3]), TokenTree([1, 2], [])]
    expected = transformers_engine.prefill([[*tree.prompt, *branch] for tree in trees for branch in tree.branches])
    for engine in (transformers_engine, vllm_engine):
        found = engine.prefill_trees(trees)
        assert [len(one.logprobs) for one in found] == [4, 1, 0]
        for branch, one, whole in zip(
            [*branches, branches[2]], [*found[0].logprobs, *found[1].logprobs], expected, strict=True
        ):
            assert one == pytest.approx(whole.logprobs[-len(branch) :], abs=1e-2)


def test_a_server_is_not_asked(opened: Callable[..., contextlib.closing[Engine]], vllm_server: str) -> None:
    with opened("openai", base_urls=(vllm_server,), served_model="coin") as server, pytest.raises(UserError):
        server.prefill([[1, 2]])
    with opened("openai", base_urls=(vllm_server,), served_model="coin") as server, pytest.raises(UserError):
        server.prefill_trees([TokenTree([1], [[2]])])
