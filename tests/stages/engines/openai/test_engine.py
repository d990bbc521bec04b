"""The openai engine against a real vLLM server, and against a server of our own that misbehaves like real ones."""

from __future__ import annotations

import http.server
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engine_fixtures import OddServer

from pivotmine.errors import UserError
from pivotmine.sampling.settings import Sampling
from pivotmine_stages.engines.protocol import Reply, Request

Ask = Callable[..., Request]
Opened = Callable[..., Any]


def _by_state(replies: Any) -> dict[str, Reply]:
    return {reply.request.state_id: reply for reply in replies}


def test_completions_take_token_ids_and_give_them(opened: Opened, vllm_server: str, ask: Ask) -> None:
    with opened("openai", base_urls=(vllm_server,), served_model="coin") as engine:
        assert engine.max_model_len == 1024
        requests = [ask("good", (2, 3)), ask("too long", prompt_ids=[5] * 1024), ask("empty", prompt_ids=[])]
        replies = _by_state(engine.sample(iter(requests)))
    assert [sample.sample_index for sample in replies["good"].samples] == [2, 3]
    for sample in replies["good"].samples:
        assert sample.token_ids is not None
        assert sample.logprobs is not None
        assert sample.token_ids[-1] == 2
        assert sample.num_tokens == len(sample.token_ids) == len(sample.logprobs)
        assert sample.text.startswith("<tool_call>")
        assert "<|im_end|>" not in sample.text
    assert {state: reply.failure for state, reply in replies.items()} == {
        "good": None,
        "too long": "prompt_too_long",
        "empty": "engine_error",
    }


def test_completions_continue_a_sample_from_its_tokens(
    opened: Opened, vllm_server: str, ask: Ask, policies: Any, coin_policy: Path, coin_prompt: list[int]
) -> None:
    said = policies.token_ids(coin_policy, policies.RIGHT_CALL)
    start = said[: len(said) * 3 // 4]
    request = ask("coin", (1, 4), prompt_ids=coin_prompt + start, num_continued=len(start))
    with opened("openai", base_urls=(vllm_server,), served_model="coin") as engine:
        (reply,) = engine.sample([request])
    assert [(one.sample_index, [*start, *(one.token_ids or ())]) for one in reply.samples] == [
        (1, [*said, 2]),
        (4, [*said, 2]),
    ]


def test_a_server_without_token_ids_continues_nothing(opened: Opened, ask: Ask, odd_server: OddServer) -> None:
    odd_server.answers = [(200, {"choices": [_choice(0, " and on")]})]
    with opened("openai", base_urls=(odd_server.address,)) as engine:
        (reply,) = engine.sample([ask("s", (3,), prompt_ids=[5, 6, 7], num_continued=2)])
    assert (reply.samples, reply.failure) == ((), "engine_error")
    assert reply.detail == "this server returns no token ids, and continuing needs them"
    assert odd_server.asked[0]["max_tokens"] == 64 - 2


def test_chat_takes_messages_and_gives_the_parsed_message(
    opened: Opened, vllm_server: str, ask: Ask, policies: Any
) -> None:
    long_talk = policies.COIN.messages * 90
    with opened("openai", base_urls=(vllm_server,), served_model="coin", api="chat") as engine:
        requests = [ask("good", tuple(range(8)), prompt_ids=[]), ask("too long", prompt_ids=[], messages=long_talk)]
        replies = _by_state(engine.sample(iter(requests)))
    for sample in replies["good"].samples:
        message = json.loads(sample.message or "")
        (call,) = message["tool_calls"]
        assert call["function"]["name"] in ("cancel_order", "find_order")
        assert (sample.text, sample.finish_reason) == ("", "stop")
        assert sample.num_tokens == len(sample.token_ids or ()) == len(sample.logprobs or ())
    assert replies["too long"].failure == "prompt_too_long"
    assert "maximum context length is 1024 tokens" in replies["too long"].detail


def test_chat_hands_on_the_template_options(opened: Opened, vllm_server: str, ask: Ask) -> None:
    options: dict[str, Any] = {"base_urls": (vllm_server,), "served_model": "coin", "api": "chat"}
    with opened("openai", **options, template_options={"enable_thinking": False}) as engine:
        (without_thinking,) = engine.sample([ask("s", (0,), prompt_ids=[])])
    assert without_thinking.failure is None
    with opened("openai", **options, template_options={"chat_template": "{{ nonsense( }}"}) as engine:
        (refused,) = engine.sample([ask("s", (0,), prompt_ids=[])])
    assert refused.failure == "engine_error"


def test_shaped_sampling_is_asked_for(opened: Opened, vllm_server: str, ask: Ask, policies: Any) -> None:
    for sampling in (Sampling(temperature=0, max_new_tokens=64), Sampling(top_k=1, max_new_tokens=64)):
        with opened("openai", base_urls=(vllm_server,), served_model="coin", sampling=sampling) as engine:
            (reply,) = engine.sample([ask("s", tuple(range(16)))])
        assert {sample.text for sample in reply.samples} == {policies.RIGHT_CALL}


def test_an_adapter_is_a_served_model_and_has_its_base_models_context(opened: Opened, vllm_server: str) -> None:
    with opened("openai", base_urls=(vllm_server,), served_model="adapter") as engine:
        assert engine.max_model_len == 1024


def test_several_servers_share_the_requests(opened: Opened, vllm_server: str, ask: Ask, odd_server: OddServer) -> None:
    """One server cannot stand in for two here: the second one is ours, and answers with nothing but failures."""
    odd_server.answers = [(400, {"error": {"message": "no"}})]
    with opened("openai", base_urls=(odd_server.address, odd_server.address), concurrency=2) as engine:
        replies = list(engine.sample(ask(f"s{number}") for number in range(5)))
    assert [reply.failure for reply in replies] == ["engine_error"] * 5
    with pytest.raises(UserError, match=r"serves coin, adapter"):
        opened("openai", base_urls=(odd_server.address, vllm_server))


def test_a_chat_server_without_a_parser_of_calls_is_told_how_to_start_it(
    opened: Opened, ask: Ask, odd_server: OddServer
) -> None:
    """The refusal is vLLM's own; no server is started again for it here."""
    words = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
    odd_server.answers = [(400, {"error": {"message": words}})]
    with opened("openai", base_urls=(odd_server.address,), api="chat") as engine:
        (reply,) = engine.sample([ask("s")])
    assert (reply.failure, reply.samples) == ("engine_error", ())
    assert words in reply.detail
    assert reply.detail.endswith(
        "; start the server with --enable-auto-tool-choice --tool-call-parser NAME, or sample with --api completions, "
        "which needs neither"
    )


def test_a_model_that_is_not_served_is_told_what_is(opened: Opened, vllm_server: str) -> None:
    with pytest.raises(UserError, match=r"does not serve other \(it serves coin, adapter\); set --served-model"):
        opened("openai", base_urls=(vllm_server,), served_model="other")


@pytest.mark.parametrize("url", ["nonsense", "ftp://x/v1"])
def test_an_address_that_is_none_is_refused_at_once(opened: Opened, url: str) -> None:
    with pytest.raises(UserError, match=f"^server {url}: not an http\\(s\\) address such as http://127"):
        opened("openai", base_urls=("http://127.0.0.1:9/v1", url))


def test_no_server_is_a_user_error(opened: Opened, free_port: int) -> None:
    with pytest.raises(UserError, match=rf"server http://127.0.0.1:{free_port}/v1/: no answer; start it"):
        opened("openai", base_urls=(f"http://127.0.0.1:{free_port}/v1",))
    with pytest.raises(UserError, match="engine openai needs a server"):
        opened("openai")
    with pytest.raises(UserError, match="choose completions or chat"):
        opened("openai", base_urls=("http://127.0.0.1:1/v1",), api="responses")


@pytest.fixture
def free_port() -> int:
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        return server.server_port


def _choice(index: int, text: str, finish_reason: str = "stop", **fields: Any) -> dict[str, Any]:
    return {"index": index, "text": text, "finish_reason": finish_reason, "logprobs": None, **fields}


def _sample_one(
    opened: Opened, ask: Ask, odd_server: OddServer, indices: tuple[int, ...] = (4, 5, 6), **options: Any
) -> Reply:
    with opened("openai", base_urls=(odd_server.address,), **options) as engine:
        (reply,) = engine.sample([request := ask("s", indices)])
    assert reply.request == request
    return reply


def _texts(reply: Reply) -> dict[int, str]:
    return {sample.sample_index: sample.text for sample in reply.samples}


def test_a_server_that_is_not_vllm_gets_no_field_of_vllms(opened: Opened, ask: Ask, odd_server: OddServer) -> None:
    odd_server.answers = [(200, {"choices": [_choice(0, "a"), _choice(1, "b"), _choice(2, "c", "length")]})]
    reply = _sample_one(opened, ask, odd_server)
    said = ("model", "prompt", "n", "temperature", "top_p", "max_tokens")
    assert sorted(odd_server.asked[0]) == sorted(said)
    assert [(s.sample_index, s.text, s.finish_reason) for s in reply.samples] == [
        (4, "a", "stop"),
        (5, "b", "stop"),
        (6, "c", "length"),
    ]
    assert {(s.token_ids, s.logprobs, s.num_tokens) for s in reply.samples} == {(None, None, None)}
    with pytest.raises(UserError, match="--top-k and --template-options need a vLLM server"):
        opened("openai", base_urls=(odd_server.address,), sampling=Sampling(top_k=5))


def _choices(*texts: str) -> tuple[int, dict[str, Any]]:
    return 200, {"choices": [_choice(index, text) for index, text in enumerate(texts)]}


def _asked(odd_server: OddServer) -> list[int]:
    return [body["n"] for body in odd_server.asked]


@pytest.mark.parametrize(
    ("answers", "asked"), [([["a"], ["b"], ["c"]], [3, 2, 1]), ([["a", "b"], ["c"]], [3, 1]), ([["a", "b", "c"]], [3])]
)
def test_a_server_that_gives_fewer_samples_than_asked_is_asked_for_the_others(
    answers: list[list[str]], asked: list[int], opened: Opened, ask: Ask, odd_server: OddServer
) -> None:
    odd_server.answers = [*(_choices(*texts) for texts in answers), _choices("not", "asked", "for")]
    reply = _sample_one(opened, ask, odd_server)
    assert (_texts(reply), reply.failure, reply.detail) == ({4: "a", 5: "b", 6: "c"}, None, "")
    assert _asked(odd_server) == asked


def test_samples_beyond_those_asked_for_are_left(opened: Opened, ask: Ask, odd_server: OddServer) -> None:
    odd_server.answers = [_choices("a", "b", "c", "d", "e")]
    reply = _sample_one(opened, ask, odd_server)
    assert (_texts(reply), reply.failure) == ({4: "a", 5: "b", 6: "c"}, None)
    odd_server.answers = [_choices("a"), _choices("b", "c", "d")]
    assert _texts(_sample_one(opened, ask, odd_server)) == {4: "a", 5: "b", 6: "c"}
    assert _asked(odd_server) == [3, 3, 2]


def test_what_a_server_still_does_not_give_is_a_reject_beside_the_samples_that_came(
    opened: Opened, ask: Ask, odd_server: OddServer
) -> None:
    odd_server.answers = [_choices("a"), _choices()]
    reply = _sample_one(opened, ask, odd_server, max_retries=1)
    assert (_texts(reply), reply.failure) == ({4: "a"}, "engine_error")
    assert reply.detail == "the server ended with no sample at all"
    odd_server.answers = [_choices("a"), (400, {"error": {"message": "enough"}})]
    reply = _sample_one(opened, ask, odd_server)
    assert (_texts(reply), reply.failure, "enough" in reply.detail) == ({4: "a"}, "engine_error", True)
    assert _asked(odd_server) == [3, 2, 2, 3, 2]


def test_one_greedy_sample_is_all_that_is_asked_for(opened: Opened, ask: Ask, odd_server: OddServer) -> None:
    filtered = 200, {"choices": [_choice(0, "", "content_filter")]}
    odd_server.answers = [_choices("a"), filtered]
    greedy = Sampling(temperature=0, max_new_tokens=8)
    assert _texts(_sample_one(opened, ask, odd_server, sampling=greedy)) == {4: "a", 5: "a", 6: "a"}
    reply = _sample_one(opened, ask, odd_server, sampling=greedy)
    assert (reply.samples, reply.detail) == ((), "the server ended with content_filter")
    assert _asked(odd_server) == [1, 1]


def test_a_sample_that_ended_for_another_reason_is_no_sample(opened: Opened, ask: Ask, odd_server: OddServer) -> None:
    filtered = _choice(0, "", "content_filter")
    odd_server.answers = [(200, {"choices": [filtered, _choice(1, "b"), _choice(2, "", "abort")]})]
    reply = _sample_one(opened, ask, odd_server)
    assert (_texts(reply), reply.failure) == ({5: "b"}, "engine_error")
    assert reply.detail == "the server ended with abort, content_filter"
    odd_server.answers = [_choices("a"), (200, {"choices": [filtered]}), _choices("c")]
    reply = _sample_one(opened, ask, odd_server)
    assert (_texts(reply), reply.detail) == ({4: "a", 6: "c"}, "the server ended with content_filter")
    odd_server.answers = [(200, {"choices": [filtered]})]
    reply = _sample_one(opened, ask, odd_server)
    assert (reply.samples, reply.failure, reply.detail) == ((), "engine_error", "the server ended with content_filter")
    odd_server.answers = [_choices()]
    assert _sample_one(opened, ask, odd_server, max_retries=1).detail == "the server ended with no sample at all"


def test_a_chat_reply_that_ends_in_tool_calls_is_an_end_of_turn(
    opened: Opened, ask: Ask, odd_server: OddServer
) -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}], "reasoning": "half \ud800 a pair"}
    odd_server.answers = [(200, {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]})]
    (sample,) = _sample_one(opened, ask, odd_server, (4,), api="chat").samples
    assert (sample.text, sample.finish_reason) == ("", "stop")
    stored = '{"role":"assistant","tool_calls":[{"id":"1"}],"reasoning":"half ? a pair"}'
    assert sample.message == stored


@pytest.mark.parametrize("body", ["no json", "[]", '{"choices": 3}', '{"choices": [{"index": 0}]}', "[" * 5000])
def test_a_reply_that_is_none_is_a_failure(body: str, opened: Opened, ask: Ask, odd_server: OddServer) -> None:
    odd_server.answers = [(200, body)]
    reply = _sample_one(opened, ask, odd_server, max_retries=1)
    assert reply.failure == "engine_error"
    assert reply.detail.startswith("the server's reply cannot be read: ")
    assert len(odd_server.asked) == 2


def test_a_busy_server_is_asked_again(opened: Opened, ask: Ask, odd_server: OddServer) -> None:
    busy, good = (429, {"error": {"message": "busy"}}), (200, {"choices": [_choice(0, "a")]})
    odd_server.answers = [busy, (503, {"error": {"message": "loading"}}), good]
    assert [sample.text for sample in _sample_one(opened, ask, odd_server, (4,)).samples] == ["a"]
    assert len(odd_server.asked) == 3


def test_a_server_that_stays_broken_is_a_failure_in_its_own_words(
    opened: Opened, ask: Ask, odd_server: OddServer
) -> None:
    odd_server.answers = [(500, {"error": {"message": "the GPU\nis on fire"}})]
    reply = _sample_one(opened, ask, odd_server, max_retries=2)
    assert reply.failure == "engine_error"
    assert "the GPU is on fire" in reply.detail
    assert len(odd_server.asked) == 3


def test_an_address_without_its_v1_is_told_so(opened: Opened, odd_server: OddServer) -> None:
    for address in (odd_server.address.removesuffix("/v1"), odd_server.address.removesuffix("v1")):
        with pytest.raises(UserError, match=f"^server {address.rstrip('/')}/?: .*404.*; add /v1 to the address$"):
            opened("openai", base_urls=(address,))
    with pytest.raises(UserError, match=r"404[^;]*$"):
        opened("openai", base_urls=(f"{odd_server.address}/more/v1",))


def test_a_models_page_that_is_none_is_a_user_error(opened: Opened, odd_server: OddServer) -> None:
    odd_server.models = "<html>welcome</html>"
    with pytest.raises(UserError, match="/models is not an OpenAI model list; does the address end in /v1"):
        opened("openai", base_urls=(odd_server.address,))
