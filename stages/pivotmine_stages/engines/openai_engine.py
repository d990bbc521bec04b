"""Engine `openai`: any server that speaks OpenAI's protocol, by completions (token ids) or by chat (messages).

The K samples of a state are one request with `n` = K; a bounded number of requests is in flight, spread over the
servers. Where a server returns fewer samples than asked, or ends one for a reason of its own (a content filter), the
others are kept and the next start samples the missing ones.

vLLM's extensions (token ids, log-probabilities of the sampled tokens, `top_k`, template options) are used only where
`/v1/models` says `owned_by: vllm`, since other servers reject fields they do not know. No seed is sent: a vLLM server
on a CPU dies of it. Log-probabilities are the unmodified distribution's unless the server was started otherwise.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Coroutine, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from typing import Any

import openai

from pivotmine import jsonvalues
from pivotmine.errors import UserError
from pivotmine_stages.engines.options import (
    EngineOptions,
    failed,
    for_all_indices,
    num_drawn,
    one_line,
    refusal,
    smaller,
    token_budget,
)
from pivotmine_stages.engines.protocol import Prefilled, Reply, Request, Sample

FINISH_REASONS = {"stop": "stop", "tool_calls": "stop", "length": "length"}
"""A sample that ended otherwise (`content_filter`, `abort`, ...) is no sample."""

START_TIMEOUT_S = 15.0


def open_openai(options: EngineOptions) -> OpenAIEngine:
    """Ask every server for its models; UserError where one is not there or does not serve the model."""
    return OpenAIEngine(options)


class OpenAIEngine:
    """See `protocol.Engine`."""

    def __init__(self, options: EngineOptions) -> None:
        if not options.base_urls:
            raise UserError("engine openai needs a server: give its address, such as http://127.0.0.1:8000/v1")
        if options.api not in ("completions", "chat"):
            raise UserError(f"api {options.api!r}: choose completions or chat")
        self._options = options
        # A thread of its own, and a daemon: an interrupted program does not wait for the replies in flight.
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="openai-engine", daemon=True)
        self._thread.start()
        self._clients = [_client(url, options) for url in options.base_urls]
        try:
            served = [self._run(_served(client, options)).result() for client in self._clients]
        except UserError:
            self.close()
            raise
        self._models = [model["id"] for model in served]
        self._is_vllm = all(model.get("owned_by") == "vllm" for model in served)
        self.max_model_len = options.max_model_len
        for model in served:
            self.max_model_len = smaller(self.max_model_len, model.get("max_model_len"))
        self._fields = _fields(options, is_vllm=self._is_vllm)

    def sample(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """Send every request; replies come as the servers answer."""
        waiting = enumerate(requests)
        in_flight: set[Future[Reply]] = set()
        try:
            while True:
                while len(in_flight) < self._options.concurrency and (item := next(waiting, None)) is not None:
                    in_flight.add(self._run(self._answer(*item)))
                if not in_flight:
                    return
                answered, in_flight = wait(in_flight, return_when=FIRST_COMPLETED)
                for future in answered:
                    yield future.result()
        finally:
            for future in in_flight:
                future.cancel()

    def prefill(self, sequences: list[list[int]]) -> list[Prefilled]:
        """No server is asked: few give the log-probabilities of a prompt."""
        raise UserError("engine openai gives no log-probabilities of given tokens: use transformers or vllm")

    def close(self) -> None:
        """Close the connections and end the thread."""
        if self._thread.is_alive():
            for client in self._clients:
                self._run(client.close()).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _answer(self, number: int, request: Request) -> Reply:
        if self._options.api == "completions":
            refused = refusal(request, self.max_model_len, None)
            if refused is not None:
                return refused
        server = number % len(self._clients)
        try:
            body = await self._post(self._clients[server], self._models[server], request)
        except openai.APIStatusError as error:
            too_long = error.status_code == 400 and _is_about_length(error.message)
            return failed(request, "prompt_too_long" if too_long else "engine_error", error.message)
        except openai.OpenAIError as error:
            cause = f": {error.__cause__}" if error.__cause__ is not None else ""
            return failed(request, "engine_error", f"{error}{cause}")
        try:
            # The lenient parser: one odd character in one sample must not cost the others.
            reply = _reply(request, json.loads(body))
            return replace(reply, samples=for_all_indices(request, self._options.sampling, reply.samples))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            return failed(request, "engine_error", f"the server's reply cannot be read: {error!r}")

    async def _post(self, client: Any, model: str, request: Request) -> str:
        fields: dict[str, Any] = {"model": model, "n": num_drawn(request, self._options.sampling), **self._fields}
        if self._options.api == "completions":
            budget = token_budget(request, self._options.sampling, self.max_model_len)
            fields |= {"prompt": request.prompt_ids, "max_tokens": budget}
            response = await client.completions.with_raw_response.create(**fields)
        else:
            fields |= {"messages": request.messages}
            if request.tools:
                fields |= {"tools": request.tools, "tool_choice": "auto"}
            response = await client.chat.completions.with_raw_response.create(**fields)
        return response.text


def _client(url: str, options: EngineOptions) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=url,
        api_key=os.environ.get(options.api_key_env) or "none",
        timeout=options.timeout_s,
        max_retries=options.max_retries,
    )


async def _served(client: openai.AsyncOpenAI, options: EngineOptions) -> dict[str, Any]:
    """The server's own description of the model to be sampled."""
    url = str(client.base_url)
    try:
        impatient = client.with_options(timeout=START_TIMEOUT_S, max_retries=0)
        response: Any = await impatient.models.with_raw_response.list()
        models = {str(model["id"]): model for model in jsonvalues.loads(response.text)["data"]}
    except openai.APIStatusError as error:
        raise UserError(f"server {url}: {one_line(error.message)}") from None
    except openai.OpenAIError:
        raise UserError(f"server {url}: no answer; start it, or correct its address") from None
    except (ValueError, TypeError, KeyError):
        raise UserError(f"server {url}: /models is no OpenAI model list; does the address end in /v1?") from None
    wanted = options.served_model or (options.model if options.model in models else None)
    if wanted is None and len(models) == 1:
        wanted = next(iter(models))
    if wanted not in models:
        words = ", ".join(list(models)[:10]) or "nothing"
        raise UserError(f"server {url}: name the served model ({wanted or 'none named'}); it serves {words}")
    return _with_limit(models[wanted], models)


def _with_limit(model: dict[str, Any], models: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """vLLM tells an adapter's context only at its base model."""
    parent = models.get(str(model.get("parent")), {})
    return model if model.get("max_model_len") else {**model, "max_model_len": parent.get("max_model_len")}


def _fields(options: EngineOptions, *, is_vllm: bool) -> dict[str, Any]:
    """What every request says, the prompt and the token budget of completions aside."""
    sampling, chat = options.sampling, options.api == "chat"
    fields: dict[str, Any] = {"temperature": sampling.temperature, "top_p": sampling.top_p}
    if chat:
        fields["max_tokens"] = sampling.max_new_tokens
    if not is_vllm:
        if sampling.top_k > 0 or (chat and options.template_options):
            raise UserError("top_k and template options need a vLLM server; this one takes neither")
        return fields
    fields["logprobs"] = True if chat else 0
    # The neutral values are said too, or vLLM takes those of the model's generation_config.json.
    extra: dict[str, Any] = {"top_k": sampling.top_k, "min_p": 0.0, "repetition_penalty": 1.0}
    extra |= {"return_token_ids": True, "skip_special_tokens": False, "spaces_between_special_tokens": False}
    if chat and options.template_options:
        extra["chat_template_kwargs"] = dict(options.template_options)
    return {**fields, "extra_body": extra}


def _reply(request: Request, body: Any) -> Reply:
    choices = sorted(body["choices"], key=lambda choice: choice["index"])
    samples = tuple(
        _sample(index, choice)
        for index, choice in zip(request.sample_indices, choices, strict=False)
        if choice["finish_reason"] in FINISH_REASONS
    )
    if not samples:
        reasons = ", ".join(sorted({str(choice["finish_reason"]) for choice in choices})) or "no sample at all"
        return failed(request, "engine_error", f"the server ended with {reasons}")
    details = (body.get("usage") or {}).get("prompt_tokens_details") or {}
    return Reply(request=request, samples=samples, num_cached_tokens=details.get("cached_tokens"))


def _sample(sample_index: int, choice: dict[str, Any]) -> Sample:
    message: dict[str, Any] | None = choice.get("message")
    text = choice["text"] if message is None else message.get("content") or ""
    token_ids: list[int] | None = choice.get("token_ids")
    logprobs = _token_logprobs(choice.get("logprobs") or {})
    said = {key: value for key, value in (message or {}).items() if value is not None}
    return Sample(
        sample_index=sample_index,
        text=_storable(text),
        token_ids=token_ids,
        logprobs=logprobs if token_ids is not None and len(logprobs) == len(token_ids) else None,
        finish_reason=FINISH_REASONS[choice["finish_reason"]],
        num_tokens=None if token_ids is None else len(token_ids),
        message=None if message is None else _storable(jsonvalues.dumps(said)),
    )


def _token_logprobs(logprobs: dict[str, Any]) -> list[float]:
    if "token_logprobs" in logprobs:  # completions
        return logprobs["token_logprobs"]
    return [token["logprob"] for token in logprobs.get("content") or ()]  # chat


def _storable(text: str) -> str:
    """Half of a surrogate pair, which JSON can say and UTF-8 cannot, becomes a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _is_about_length(words: str) -> bool:
    return any(clue in words.lower() for clue in ("context length", "context_length", "context window"))
