"""Log-probabilities of given tokens: both engines that tell them say the same."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from pivotmine.errors import UserError
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


def test_a_server_is_not_asked(opened: Callable[..., contextlib.closing[Engine]], vllm_server: str) -> None:
    with opened("openai", base_urls=(vllm_server,), served_model="coin") as server, pytest.raises(UserError):
        server.prefill([[1, 2]])
