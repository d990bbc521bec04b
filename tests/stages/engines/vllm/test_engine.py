"""The vllm engine, in process; on vLLM's CPU build if there is no GPU."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from benchmarks.paged_cache import paged_tokens

from pivotmine_stages.engines.protocol import Engine, EngineDied, Reply, Request

Ask = Callable[..., Request]


def _by_state(replies: Any) -> dict[str, Reply]:
    return {reply.request.state_id: reply for reply in replies}


def test_samples_carry_the_indices_that_were_asked_for(vllm_engine: Engine, ask: Ask) -> None:
    (reply,) = vllm_engine.sample([ask("coin", (1, 5, 6))])
    assert reply.failure is None
    assert [sample.sample_index for sample in reply.samples] == [1, 5, 6]
    for sample in reply.samples:
        assert sample.token_ids is not None
        assert sample.logprobs is not None
        assert sample.finish_reason == "stop"
        assert sample.token_ids[-1] == 2
        assert sample.num_tokens == len(sample.token_ids) == len(sample.logprobs)
        assert sample.text.startswith("<tool_call>")
        assert "<|im_end|>" not in sample.text


def test_a_sample_is_continued_from_its_tokens(
    vllm_engine: Engine, ask: Ask, policies: ModuleType, coin_policy: Path, coin_prompt: list[int]
) -> None:
    """Each call from its middle: the rest is that call's, and both together are no longer than the budget."""
    for text in (policies.RIGHT_CALL, policies.WRONG_CALL):
        said = policies.token_ids(coin_policy, text)
        start = said[: len(said) * 3 // 4]
        request = ask("coin", tuple(range(4)), prompt_ids=coin_prompt + start, num_continued=len(start))
        (reply,) = vllm_engine.sample([request])
        assert [[*start, *(sample.token_ids or ())] for sample in reply.samples] == [[*said, 2]] * 4
    (cut,) = vllm_engine.sample([ask("long", prompt_ids=coin_prompt + [5] * 61, num_continued=61)])
    assert [(sample.num_tokens or 0) <= 3 for sample in cut.samples] == [True]


def test_requests_that_cannot_be_sampled_are_replies_and_the_rest_goes_on(
    vllm_engine: Engine, ask: Ask, coin_prompt: list[int]
) -> None:
    requests = [
        ask("too long", prompt_ids=[5] * 1024),
        ask("good", (0, 1)),
        ask("empty", prompt_ids=[]),
        ask("foreign", prompt_ids=[5, 100_000]),
        ask("nearly too long", (4,), prompt_ids=[5] * 1020),
    ]
    replies = _by_state(vllm_engine.sample(iter(requests)))
    assert {state: reply.failure for state, reply in replies.items()} == {
        "too long": "prompt_too_long",
        "good": None,
        "empty": "engine_error",
        "foreign": "engine_error",
        "nearly too long": None,
    }
    (cut,) = replies["nearly too long"].samples
    assert (cut.sample_index, cut.num_tokens, cut.finish_reason) == (4, 4, "length")


def test_a_prompt_met_before_comes_from_the_prefix_cache(vllm_engine: Engine, ask: Ask, coin_prompt: list[int]) -> None:
    long_prompt = (coin_prompt * 5)[:900]
    for _ in vllm_engine.sample([ask("first", prompt_ids=long_prompt)]):
        pass
    (again,) = vllm_engine.sample([ask("again", prompt_ids=[*long_prompt, 7])])
    assert again.num_cached_tokens is not None
    assert again.num_cached_tokens >= 512


def test_prompt_tokens_are_counted_over_all_samples_as_a_paged_cache_computes_them(
    vllm_engine: Engine, ask: Ask, coin_prompt: list[int]
) -> None:
    """Turns of a segment and one prompt of whole blocks: each sample finds the full blocks before its last token."""
    text = [11, *(coin_prompt * 5)]
    prompts = [text[:length] for length in (130, 300, 512, 700)]
    requests = [ask(f"s{number}", (0, 1, 2), prompt_ids=prompt) for number, prompt in enumerate(prompts)]
    replies = list(vllm_engine.sample(requests))
    asked = [(prompt, 3) for prompt in prompts]
    block_size: int = vllm_engine.block_size  # type: ignore[attr-defined]
    assert sum(reply.num_prefill_tokens or 0 for reply in replies) == paged_tokens(asked, block_size)
    again = _by_state(vllm_engine.sample(requests))
    for number, prompt in enumerate(prompts):
        found = (len(prompt) - 1) // block_size * block_size
        assert again[f"s{number}"].num_cached_tokens == found
        assert again[f"s{number}"].num_prefill_tokens == 3 * (len(prompt) - found)


def test_leaving_early_leaves_nothing_behind(vllm_engine: Engine, ask: Ask) -> None:
    replies = iter(vllm_engine.sample(ask(f"s{number}", (0, 1)) for number in range(30)))
    next(replies)
    replies.close()  # type: ignore[attr-defined]
    (reply,) = vllm_engine.sample([ask("next")])
    assert reply.request.state_id == "next"


def test_a_process_that_ends_is_one_line_whatever_notices_it(opened: Callable[..., Any], ask: Ask) -> None:
    before = set(multiprocessing.active_children())
    with opened("vllm", concurrency=4) as engine:
        replies = iter(engine.sample(ask(f"s{number}", (0, 1)) for number in range(30)))
        next(replies)
        for process in set(multiprocessing.active_children()) - before:
            process.kill()
            process.join()
        ended = pytest.raises(EngineDied, match="vLLM's process ended")
        with ended:
            list(replies)
        for _ in range(3):  # each by itself: vLLM tells of it once
            with ended:
                list(engine.sample([ask("next")]))
        with ended:
            engine.prefill([[1, 2, 3]])
