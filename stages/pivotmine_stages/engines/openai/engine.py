"""Engine `openai`: any server that speaks OpenAI's protocol, by completions (token ids) or by chat (messages).

The K samples of a state are one request with `n` = K. The number of requests in flight is bounded. Several servers form
a fleet (`fleet.py`), in which each trajectory stays with one server.

Connection errors, time-outs, 429, 5xx and unreadable replies are retried, on another server if this one is left out.
After the last retry the state is a reject with the last error. If a server returns fewer samples than requested, the
engine requests the rest; a server that ignores `n` gets one request per sample. If a server ends a sample for its own
reason (a content filter), the other samples are kept and the state is a reject with that reason. The next start samples
the missing ones. An empty sample counts only if the server shows that it generated a token.

vLLM's extensions (token ids, log-probabilities of the sampled tokens, `top_k`, template options) are used only if
`/v1/models` says `owned_by: vllm`, since other servers reject unknown fields. No seed is sent, because it crashes a
vLLM server on a CPU. Log-probabilities are of the unmodified distribution unless the server is set to another mode.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import os
import random
import threading
import time
from collections.abc import Coroutine, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from typing import Any

import openai

from pivotmine import strict_json
from pivotmine.errors import UserError
from pivotmine.escape import public_address
from pivotmine.sampling.settings import Prefilled, TokenTree, TreeLogprobs
from pivotmine_stages.engines.openai.fleet import Fleet, Server, pause_s
from pivotmine_stages.engines.openai.replies import ServedModel, Trouble, put_together, read_models, read_reply
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
from pivotmine_stages.engines.protocol import Reply, Request
from pivotmine_stages.termination import is_asked
from pivotmine_stages.termination import waiting as waiting_for_more

START_TIMEOUT_S = 15.0
"""Maximum wait for a server's list of models."""
FREE_BYTES, BYTES_PER_TOKEN = 64 << 20, 1 << 10
"""Maximum size of an answer: a fixed part, and a part per requested token (its text, id and log-probability)."""
LONGEST_WAIT_S = 3600.0
"""Maximum wait that a server's `Retry-After` can demand."""
LOOK_AGAIN_S = 1.0
"""How often a request without a server looks for one."""


class _NoAnswer(UserError):
    """The server does not answer now; it may answer later."""


class OpenAIEngine:
    """See `protocol.Engine`. Opening asks every server for its models.

    UserError if no server answers, or if one does not serve the model.
    """

    def __init__(self, options: EngineOptions) -> None:
        if not options.base_urls:
            raise UserError("engine openai needs a server: give --base-url, such as http://127.0.0.1:8000/v1")
        for url in options.base_urls:
            if not url.startswith(("http://", "https://")):
                address = public_address(url)
                raise UserError(f"server {address}: not an http(s) address such as http://127.0.0.1:8000/v1")
            if "?" in url or "#" in url:
                words = "an address without a query; a key is read from the environment variable of --api-key-env"
                raise UserError(f"server {public_address(url)}: give {words}")
        if options.api not in ("completions", "chat"):
            raise UserError(f"api {options.api!r}: choose completions or chat")
        self._options = options
        # A daemon thread, so that an interrupted program does not wait for the replies in flight.
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="openai-engine", daemon=True)
        self._thread.start()
        self._fleet = Fleet(options.base_urls)
        self._probes: set[asyncio.Task[None]] = set()
        self.max_model_len = options.max_model_len
        try:
            self._run(self._meet_all()).result()
        except UserError:
            self.close()
            raise

    def sample(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """Send every request; yield replies as the servers answer."""
        waiting = iter(requests)
        in_flight: set[Future[Reply]] = set()
        most = self._options.concurrency * len(self._fleet.servers)
        try:
            while True:
                while not is_asked() and len(in_flight) < most and (request := next(waiting, None)) is not None:
                    in_flight.add(self._run(self._answer(request)))
                if not in_flight:
                    return
                # Take finished replies first, since SIGTERM may end the program in `waiting_for_more`.
                answered, in_flight = wait(in_flight, 0, FIRST_COMPLETED)
                if not answered:
                    with waiting_for_more():
                        answered, in_flight = wait(in_flight, return_when=FIRST_COMPLETED)
                for future in answered:
                    yield future.result()
        finally:
            for future in in_flight:
                future.cancel()

    def prefill(self, sequences: list[list[int]]) -> list[Prefilled]:
        """Raise UserError, since few servers give the log-probabilities of a prompt."""
        raise UserError("engine openai gives no log-probabilities of given tokens: use transformers or vllm")

    def prefill_trees(self, trees: list[TokenTree]) -> list[TreeLogprobs]:
        """Raise UserError, as `prefill` does."""
        raise UserError("engine openai gives no log-probabilities of given tokens: use transformers or vllm")

    def close(self) -> None:
        """Close the connections and end the thread."""
        if self._thread.is_alive():
            self._run(self._close()).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _close(self) -> None:
        for probe in self._probes:
            probe.cancel()
        for server in self._fleet.servers:
            if server.client is not None:
                await server.client.close()

    async def _meet_all(self) -> None:
        """Ask every server for its models. Those that do not answer are left out at first, if at least one answers."""
        servers = self._fleet.servers
        found = await asyncio.gather(*(self._meet(server) for server in servers), return_exceptions=True)
        wrong = [error for error in found if error is not None and not isinstance(error, _NoAnswer)]
        if wrong or all(found):
            raise wrong[0] if wrong else found[0] or AssertionError
        for server, error in zip(servers, found, strict=True):
            if error is not None:
                self._fleet.leave_out(server, one_line(str(error)))

    async def _meet(self, server: Server) -> None:
        """Ask a server for its models; UserError if it does not serve the policy or does not answer."""
        if server.client is None:
            server.client = _client(server.url, self._options)
        served = await _served(server.client, self._options)
        server.fields = _fields(self._options, is_vllm=served.owned_by == "vllm")
        server.model = served.id
        self.max_model_len = smaller(self.max_model_len, served.max_model_len or None)

    async def _probe(self, server: Server) -> None:
        try:
            await self._meet(server)
            self._fleet.take_back(server)
        except UserError as error:
            self._fleet.leave_out(server, one_line(str(error)))

    async def _answer(self, request: Request) -> Reply:
        if self._options.api == "completions":
            refused = refusal(request, self.max_model_len, None)
            if refused is not None:
                return refused
        replies: list[Reply] = []
        left = request.sample_indices
        while left:
            replies.append(await self._try(replace(request, sample_indices=left)))
            left = left[len(replies[-1].request.sample_indices) :]
        return put_together(request, replies)

    async def _try(self, request: Request) -> Reply:
        """A reply with as many samples as a server gives at once, at least one; or a failed reply about all of them."""
        words = ""
        for num_tries in range(1, self._options.max_retries + 2):
            server = await self._server(request.trajectory_id or request.state_id)
            if server is None:
                words = (
                    f"no server has taken requests for {self._fleet.seconds_all_down():.0f} s: {self._fleet.troubles()}"
                )
                break
            try:
                return await self._ask(server, request)
            except Trouble as trouble:
                words = str(trouble)
                if num_tries <= self._options.max_retries:
                    await asyncio.sleep(max(trouble.wait_s, pause_s(num_tries)))
        return failed(request, "engine_error", words)

    async def _server(self, key: str) -> Server | None:
        """Wait until the trajectory's server takes requests; None if no server has taken any for `timeout_s`."""
        while True:
            for due in self._fleet.due():
                probe = asyncio.create_task(self._probe(due))
                self._probes.add(probe)
                probe.add_done_callback(self._probes.discard)
            server, wait_s = self._fleet.choose(key)
            if server is not None and wait_s == 0:
                return server
            if server is None and self._fleet.seconds_all_down() + min(wait_s, LOOK_AGAIN_S) > self._options.timeout_s:
                return None
            # Random, or all requests that wait for one server would reach it at the same moment.
            await asyncio.sleep(min(wait_s, LOOK_AGAIN_S) * random.uniform(1.0, 1.2))

    async def _ask(self, server: Server, request: Request) -> Reply:
        """Send the request once. Raise Trouble if another try may succeed; return a failed reply if none can."""
        try:
            async with asyncio.timeout(self._options.timeout_s):  # the client's own limit is per piece of an answer
                body = await self._post(server, request)
        except openai.APIStatusError as error:
            if error.status_code == 400 and _is_about_length(error.message):
                return failed(request, "prompt_too_long", error.message)
            if not _may_pass(error.status_code):
                return failed(request, "engine_error", error.message + _remedy(error.message))
            wait_s = _retry_after_s(error.response.headers.get("retry-after"))
            if error.status_code == 429:
                self._fleet.busy(server, wait_s, error.message)
                raise Trouble(error.message) from None
            self._fleet.failed(server, one_line(error.message))
            raise Trouble(error.message, min(wait_s, self._options.timeout_s)) from None
        except (openai.OpenAIError, TimeoutError, NotWhole) as error:
            words = f"{error}: {error.__cause__!r}" if error.__cause__ is not None else str(error)
            if isinstance(error, TimeoutError):
                words = f"no whole answer within {self._options.timeout_s:g} s"
            self._fleet.failed(server, one_line(words))
            raise Trouble(words) from None
        try:
            # Not `strict_json`: one odd character in a sample must not cost the others.
            reply = read_reply(request, json.loads(body.decode("utf-8", "replace")))
            if self._options.sampling.temperature == 0:
                samples = for_all_indices(request, self._options.sampling, reply.samples)
                reply = replace(reply, request=request, samples=samples)
            if request.num_continued and any(sample.token_ids is None for sample in reply.samples):
                return failed(request, "engine_error", "this server returns no token ids, and continuing needs them")
        except (ValueError, RecursionError) as error:
            words = f"the server's reply cannot be read: {error}"
            self._fleet.failed(server, one_line(words))
            raise Trouble(words) from None
        self._fleet.answered(server)
        return reply

    async def _post(self, server: Server, request: Request) -> bytes:
        assert server.fields is not None, server.url
        drawn = num_drawn(request, self._options.sampling)
        fields: dict[str, Any] = {"model": server.model, "n": drawn, **server.fields}
        if self._options.api == "completions":
            budget = token_budget(request, self._options.sampling, self.max_model_len)
            fields |= {"prompt": request.prompt_ids, "max_tokens": budget}
            ask = server.client.completions.with_streaming_response.create
        else:
            fields |= {"messages": request.messages}
            if request.tools:
                fields |= {"tools": request.tools, "tool_choice": "auto"}
            ask = server.client.chat.completions.with_streaming_response.create
        most = FREE_BYTES + drawn * fields.get("max_tokens", 0) * BYTES_PER_TOKEN
        async with ask(**fields) as response:
            return await _whole(response, most)


class NotWhole(Exception):
    """The reply broke off, or is larger than the requested tokens can be."""


async def _whole(response: Any, most: int) -> bytes:
    """Read the answer as bytes, not as text: a header may name an encoding that does not exist."""
    body = bytearray()
    try:
        async for block in response.iter_bytes():
            body += block
            if len(body) > most:
                raise NotWhole(f"an answer of more than {most:,} bytes")
    except NotWhole:
        raise
    except Exception as error:  # from the HTTP transport, which the package `openai` chooses
        raise NotWhole(f"the answer broke off: {error}") from error
    return bytes(body)


def _client(url: str, options: EngineOptions) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=url,
        api_key=os.environ.get(options.api_key_env) or "none",
        timeout=options.timeout_s,
        max_retries=0,  # `_try` retries: another server may answer
    )


async def _served(client: openai.AsyncOpenAI, options: EngineOptions) -> ServedModel:
    """The server's description of the model to sample; UserError if there is none."""
    url = public_address(str(client.base_url))
    try:
        impatient: Any = client.with_options(timeout=START_TIMEOUT_S)
        async with asyncio.timeout(START_TIMEOUT_S), impatient.models.with_streaming_response.list() as response:
            models = read_models(strict_json.loads(await _whole(response, FREE_BYTES)))
    except openai.APIStatusError as error:
        kind = _NoAnswer if error.status_code >= 500 else UserError
        hint = "; add /v1 to the address" if error.status_code == 404 and not url.rstrip("/").endswith("/v1") else ""
        raise kind(f"server {url}: {one_line(error.message)}{hint}") from None
    except (openai.OpenAIError, TimeoutError, NotWhole):
        raise _NoAnswer(f"server {url}: no answer; start it, or correct its address") from None
    except (ValueError, RecursionError) as error:
        words = f"/models is not an OpenAI model list; does the address end in /v1? ({one_line(str(error))})"
        raise UserError(f"server {url}: {words}") from None
    wanted = options.served_model or (options.model if options.model in models else None)
    if wanted is None and len(models) == 1:
        wanted = next(iter(models))
    if wanted not in models:
        words = one_line(", ".join(list(models)[:10]) or "nothing")
        raise UserError(
            f"server {url} does not serve {wanted or options.model} (it serves {words}); set --served-model"
        )
    return _with_limit(models[wanted], models)


def _with_limit(model: ServedModel, models: dict[str, ServedModel]) -> ServedModel:
    """The model with its context length, which vLLM lists for an adapter's base model only."""
    parent = models.get(model.parent or "")
    if model.max_model_len or parent is None:
        return model
    return model.model_copy(update={"max_model_len": parent.max_model_len})


def _fields(options: EngineOptions, *, is_vllm: bool) -> dict[str, Any]:
    """The fields that all requests share; UserError if the policy needs fields of vLLM that this server lacks."""
    sampling, chat = options.sampling, options.api == "chat"
    fields: dict[str, Any] = {"temperature": sampling.temperature, "top_p": sampling.top_p}
    if chat:
        fields["max_tokens"] = sampling.max_new_tokens
    if not is_vllm:
        if sampling.top_k > 0 or (chat and options.template_options):
            raise UserError("--top-k and --template-options need a vLLM server; this one takes neither")
        return fields
    fields["logprobs"] = True if chat else 0
    # Neutral values are sent too, or vLLM takes those of the model's generation_config.json.
    extra: dict[str, Any] = {"top_k": sampling.top_k, "min_p": 0.0, "repetition_penalty": 1.0}
    extra |= {"return_token_ids": True, "skip_special_tokens": False, "spaces_between_special_tokens": False}
    if chat and options.template_options:
        extra["chat_template_kwargs"] = dict(options.template_options)
    return {**fields, "extra_body": extra}


def _is_about_length(words: str) -> bool:
    return any(clue in words.lower() for clue in ("context length", "context_length", "context window"))


def _remedy(words: str) -> str:
    """Advice for an error that only other start options of the server can fix; empty for other errors."""
    if "--enable-auto-tool-choice" not in words:
        return ""
    return (
        "; start the server with --enable-auto-tool-choice --tool-call-parser NAME, or sample with --api completions, "
        "which needs neither"
    )


def _may_pass(status_code: int) -> bool:
    """Whether another try or server may succeed; a refused key or an unknown model concerns one server only."""
    return status_code in (401, 403, 404, 408, 409, 429) or status_code >= 500


def _retry_after_s(header: str | None) -> float:
    """Seconds to wait by `Retry-After` (seconds or a date), at most an hour; 0 if it cannot be read."""
    try:
        wait_s = float(header or 0)
    except ValueError:
        try:
            date = email.utils.parsedate_tz(header)
            wait_s = 0.0 if date is None else email.utils.mktime_tz(date) - time.time()
        except (ValueError, TypeError, OverflowError):
            wait_s = 0.0
    return min(wait_s, LONGEST_WAIT_S) if wait_s > 0 else 0.0
