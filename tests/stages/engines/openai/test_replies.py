"""A server's answers become samples, token for token, or a reason why there are none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pivotmine_stages.engines.openai.replies import Trouble, read_reply
from pivotmine_stages.engines.protocol import Reply, Request, Sample

REQUEST = Request(state_id="s", prompt_ids=[1, 2], sample_indices=(4, 5))


def test_completions_are_read_whole_and_in_the_order_of_their_indices() -> None:
    first = {"text": "a\ud800", "token_ids": [7, 2], "logprobs": {"token_logprobs": [-0.5, -0.25]}}
    second = {"text": "b", "token_ids": [8, 9, 2], "logprobs": {"token_logprobs": [-0.5]}}
    choices = [{"index": 1, "finish_reason": "length", **second}, {"index": 0, "finish_reason": "stop", **first}]
    usage = {"completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 16}}
    assert read_reply(REQUEST, {"choices": choices, "usage": usage}) == Reply(
        request=REQUEST,
        samples=(
            Sample(
                sample_index=4, text="a?", token_ids=[7, 2], logprobs=[-0.5, -0.25], finish_reason="stop", num_tokens=2
            ),
            # Log-probabilities of other tokens than those that are told are none.
            Sample(sample_index=5, text="b", token_ids=[8, 9, 2], logprobs=None, finish_reason="length", num_tokens=3),
        ),
        num_cached_tokens=16,
    )


def test_a_chat_reply_is_read_whole() -> None:
    message = {"role": "assistant", "content": "a", "tool_calls": None}
    logprobs = {"content": [{"token": "a", "logprob": -0.5}, {"token": "", "logprob": -0.25}]}
    choice = {"index": 0, "message": message, "token_ids": [7, 2], "logprobs": logprobs, "finish_reason": "stop"}
    assert read_reply(REQUEST, {"choices": [choice]}) == Reply(
        request=replace(REQUEST, sample_indices=(4,)),
        samples=(
            Sample(
                sample_index=4,
                text="a",
                token_ids=[7, 2],
                logprobs=[-0.5, -0.25],
                finish_reason="stop",
                num_tokens=2,
                message='{"role":"assistant","content":"a"}',
            ),
        ),
    )


def _ended(*reasons: str) -> dict[str, Any]:
    return {"choices": [{"index": i, "text": "half", "finish_reason": reason} for i, reason in enumerate(reasons)]}


@pytest.mark.parametrize("reason", ["abort", "error"])
def test_samples_that_the_server_broke_off_are_worth_another_try(reason: str) -> None:
    with pytest.raises(Trouble, match=f"^the server ended with {reason}$"):
        read_reply(REQUEST, _ended(reason, reason))


def test_a_state_that_the_server_refuses_in_part_is_not_asked_for_for_ever() -> None:
    reply = read_reply(REQUEST, _ended("content_filter", "abort"))
    assert (reply.samples, reply.failure) == ((), "engine_error")
    assert reply.detail == "the server ended with abort, content_filter"


def test_a_sample_that_is_missing_has_its_reason_and_one_that_was_not_answered_is_not_named() -> None:
    request = Request(state_id="s", prompt_ids=[1, 2], sample_indices=(4, 5, 6))
    choices = [{"index": 0, "text": "", "finish_reason": "abort"}, {"index": 1, "text": "b", "finish_reason": "stop"}]
    assert read_reply(request, {"choices": choices}) == Reply(
        request=REQUEST,
        samples=(
            Sample(sample_index=5, text="b", token_ids=None, logprobs=None, finish_reason="stop", num_tokens=None),
        ),
        failure="engine_error",
        detail="the server ended with abort",
    )


EMPTY: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    ({"text": "", "finish_reason": "stop"}, {}, []),
    ({"text": "", "finish_reason": "stop"}, {"completion_tokens": 0}, []),
    ({"text": "", "finish_reason": "length"}, {"completion_tokens": 3}, []),
    ({"text": "", "finish_reason": "stop", "token_ids": []}, {"completion_tokens": 1}, []),
    ({"message": {"role": "assistant", "content": ""}, "finish_reason": "stop"}, {"completion_tokens": 0}, []),
    # The model ended its turn at once: that is what it did.
    ({"text": "", "finish_reason": "stop"}, {"completion_tokens": 1}, [""]),
    ({"text": "", "finish_reason": "stop", "token_ids": [2]}, {}, [""]),
]


@pytest.mark.parametrize(("choice", "usage", "texts"), EMPTY)
def test_an_empty_completion_is_a_sample_only_where_a_token_was_drawn(
    choice: dict[str, Any], usage: dict[str, Any], texts: list[str]
) -> None:
    reply = read_reply(REQUEST, {"choices": [{"index": 0, **choice}], "usage": usage})
    assert [sample.text for sample in reply.samples] == texts
    ended = f"the server ended with {choice['finish_reason']} and generated nothing"
    assert (reply.failure, reply.detail) == ((None, "") if texts else ("engine_error", ended))
