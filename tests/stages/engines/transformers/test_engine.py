"""The transformers engine: samples depend only on seed, state and sample index."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pivotmine.sampling.settings import Sampling
from pivotmine_stages.engines.protocol import Engine, Reply, Request, Sample

Ask = Callable[..., Request]


def _samples(replies: list[Reply]) -> dict[tuple[str, int], Sample]:
    return {(reply.request.state_id, sample.sample_index): sample for reply in replies for sample in reply.samples}


def _state_id(reply: Reply) -> str:
    return reply.request.state_id


def _states(ask: Ask, count: int, indices: tuple[int, ...], prompt: list[int]) -> list[Request]:
    """States whose prompts differ in length, so that they are padded together."""
    return [ask(f"s{number}", indices, prompt_ids=prompt[number * 3 :]) for number in range(count)]


def test_samples_are_the_same_whatever_shares_their_batch(
    opened: Callable[..., Any], transformers_engine: Engine, ask: Ask, coin_prompt: list[int]
) -> None:
    whole = _samples(list(transformers_engine.sample(_states(ask, 6, tuple(range(8)), coin_prompt))))
    assert sorted(whole) == [(f"s{state}", index) for state in range(6) for index in range(8)]
    assert len({tuple(sample.token_ids or ()) for sample in whole.values()}) > 1
    with opened("transformers", batch_size=5) as small:
        rest = _samples(list(small.sample(_states(ask, 6, (1, 6, 7), coin_prompt)[::-1])))
    assert sorted(rest) == [(f"s{state}", index) for state in range(6) for index in (1, 6, 7)]
    for key, sample in rest.items():
        assert (sample.text, sample.token_ids) == (whole[key].text, whole[key].token_ids)
        assert sample.logprobs == pytest.approx(whole[key].logprobs, abs=1e-4)


def test_another_seed_draws_other_samples(opened: Callable[..., Any], transformers_engine: Engine, ask: Ask) -> None:
    requests = [ask("coin", tuple(range(32)))]
    first = _samples(list(transformers_engine.sample(requests)))
    with opened("transformers", seed=1) as engine:
        other = _samples(list(engine.sample(requests)))
    assert [sample.text for sample in first.values()] != [sample.text for sample in other.values()]


def test_a_sample_keeps_its_end_of_turn_token_and_its_text_does_not(transformers_engine: Engine, ask: Ask) -> None:
    (reply,) = transformers_engine.sample([ask("coin", tuple(range(16)))])
    assert {sample.finish_reason for sample in reply.samples} == {"stop"}
    for sample in reply.samples:
        assert sample.token_ids is not None
        assert sample.logprobs is not None
        assert sample.token_ids[-1] == 2
        assert 2 not in sample.token_ids[:-1]
        assert sample.num_tokens == len(sample.token_ids) == len(sample.logprobs)
        assert "<|im_end|>" not in sample.text
        assert sample.text.startswith("<tool_call>")


def test_the_token_budget_ends_a_sample(opened: Callable[..., Any], ask: Ask) -> None:
    with opened("transformers", sampling=Sampling(max_new_tokens=5)) as engine:
        (reply,) = engine.sample([ask("coin", (3, 4))])
    assert [sample.sample_index for sample in reply.samples] == [3, 4]
    assert {(sample.finish_reason, sample.num_tokens) for sample in reply.samples} == {("length", 5)}


def test_samples_are_continued_from_their_tokens_within_the_whole_budget(
    opened: Callable[..., Any], transformers_engine: Engine, ask: Ask, coin_prompt: list[int]
) -> None:
    whole = _samples(list(transformers_engine.sample([ask("coin", tuple(range(12)))])))
    with opened("transformers", sampling=Sampling(max_new_tokens=14)) as engine:
        (cut,) = engine.sample([ask("coin", tuple(range(12)))])
        assert {sample.finish_reason for sample in cut.samples} == {"length"}
    groups: dict[tuple[int, ...], list[int]] = {}
    for sample in cut.samples:
        groups.setdefault(tuple(sample.token_ids or ()), []).append(sample.sample_index)
    assert len(groups) > 1
    rest = [
        ask("coin", tuple(indices), prompt_ids=coin_prompt + list(ids), num_continued=14)
        for ids, indices in groups.items()
    ]
    continued = _samples(list(transformers_engine.sample(rest)))
    first = {sample.sample_index: sample for sample in cut.samples}
    assert continued.keys() == whole.keys()
    for key, sample in continued.items():
        assert [*(first[key[1]].token_ids or ()), *(sample.token_ids or ())] == whole[key].token_ids
        assert sample.finish_reason == "stop"
    with opened("transformers", sampling=Sampling(max_new_tokens=20)) as engine:
        (few,) = engine.sample(rest[:1])
    assert {(sample.finish_reason, sample.num_tokens) for sample in few.samples} == {("length", 6)}


def test_the_context_ends_a_sample_and_a_prompt_that_fills_it_is_refused(
    opened: Callable[..., Any], ask: Ask, coin_prompt: list[int]
) -> None:
    room = len(coin_prompt) + 3
    with opened("transformers", max_model_len=room) as engine:
        assert engine.max_model_len == room
        replies = engine.sample([ask("tight"), ask("full", prompt_ids=[5] * room)])
        full, tight = sorted(replies, key=_state_id)
    assert [(sample.finish_reason, sample.num_tokens) for sample in tight.samples] == [("length", 3)]
    assert (full.failure, full.samples) == ("prompt_too_long", ())
    assert full.detail == f"{room} tokens leave no room in a context of {room}"


def test_a_request_that_cannot_be_sampled_is_a_reply_and_the_rest_goes_on(
    transformers_engine: Engine, ask: Ask
) -> None:
    requests = [ask("empty", prompt_ids=[]), ask("good"), ask("foreign", prompt_ids=[5, 640]), ask("also good")]
    replies = {reply.request.state_id: reply for reply in transformers_engine.sample(requests)}
    assert {state: reply.failure for state, reply in replies.items()} == {
        "empty": "engine_error",
        "good": None,
        "foreign": "engine_error",
        "also good": None,
    }
    assert replies["empty"].detail == "the prompt is empty"
    assert replies["foreign"].detail == "token 640 is not in the vocabulary of 640"


def test_requests_are_read_a_batch_ahead_and_no_further(opened: Callable[..., Any], ask: Ask) -> None:
    read: list[str] = []

    def requests() -> Any:
        for number in range(10):
            read.append(f"s{number}")
            yield ask(f"s{number}", (0, 1))

    with opened("transformers", batch_size=4) as engine:
        next(iter(engine.sample(requests())))
    assert read == ["s0", "s1", "s2"]


def test_closing_twice_is_closing_once(opened: Callable[..., Any]) -> None:
    with opened("transformers") as engine:
        engine.close()
