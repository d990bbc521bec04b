"""Engine `transformers`: in this process, with or without a GPU; the default if vLLM cannot run.

A prompt is prefilled once, from the first token that differs from the prompt before it. Its cache is copied for each of
its samples, several states are decoded in one batch, and finished samples leave the batch.

Every sample has its own random numbers, one per token, derived from (seed, state, sample index). They do not depend on
the rest of the batch or on how often the sample's budget grew. An interrupted run therefore draws the same samples as
an uninterrupted one, up to rounding: another batch shape may change the last digit of a logit, in bfloat16 more often
than in float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from pivotmine.errors import UserError
from pivotmine.sampling.attention import use_grouped_attention
from pivotmine.sampling.decoding import Draw, Drawn, decode
from pivotmine.sampling.prefill import prefill
from pivotmine.sampling.prefix_cache import PrefixCache
from pivotmine.sampling.settings import Prefilled, TokenTree, TreeLogprobs
from pivotmine.sampling.token_tree import TreeReader
from pivotmine_stages.engines.options import (
    EngineOptions,
    derive_seed,
    failed,
    one_line,
    refusal,
    sample_from_tokens,
    smaller,
    token_budget,
)
from pivotmine_stages.engines.protocol import Reply, Request
from pivotmine_stages.termination import waiting as waiting_for_more


class TransformersEngine:
    """See `protocol.Engine`. Opening loads the model with its adapter, in bfloat16 on a GPU and float32 on a CPU."""

    def __init__(self, options: EngineOptions) -> None:
        logging.disable_progress_bar()
        self._options = options
        self._tokenizer, self._model = _load(options)
        config = self._model.config.get_text_config()
        self._vocab_size: int = config.vocab_size
        self._eos_ids = _eos_ids(self._model, self._tokenizer)
        self._prefixes, self._trees = PrefixCache(self._model), TreeReader(self._model)
        own_limit: int | None = getattr(config, "max_position_embeddings", None)
        self.max_model_len: int | None = smaller(own_limit, options.max_model_len)

    def sample(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """Sample every request, a batch of whole requests at a time."""
        batch: list[Request] = []
        for request in requests:
            refused = refusal(request, self.max_model_len, self._vocab_size)
            if refused is not None:
                yield refused
                continue
            if _num_samples([*batch, request]) > self._options.batch_size and batch:
                yield from self._answer(batch)
                batch = []
            batch.append(request)
        if batch:
            yield from self._answer(batch)

    def prefill(self, sequences: list[list[int]]) -> list[Prefilled]:
        """See `protocol.Engine`."""
        return [prefill(self._model, token_ids) for token_ids in sequences]

    def prefill_trees(self, trees: list[TokenTree]) -> list[TreeLogprobs]:
        """See `protocol.Engine`; a prefix that replies or successive prompts share is computed once."""
        return [self._trees.read(tree) for tree in trees]

    def close(self) -> None:
        """Free the model."""
        self._model: Any = None
        self._prefixes, self._trees = PrefixCache(None), TreeReader(None)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _answer(self, batch: list[Request]) -> Iterator[Reply]:
        try:
            with waiting_for_more():
                drawn, num_computed = self._decode(batch)
        except torch.OutOfMemoryError as error:
            self._prefixes.clear()
            self._trees.clear()
            if len(batch) == 1:
                yield failed(batch[0], "engine_error", str(error))
                return
            drawn, num_computed = None, None
        if drawn is None or num_computed is None:
            # The batch does not fit the GPU. Seeds are per sample, so its halves draw the same samples. Not inside
            # `except`, where the error would keep the batch's tensors in memory.
            yield from self._answer(batch[: len(batch) // 2])
            yield from self._answer(batch[len(batch) // 2 :])
            return
        rows = iter(drawn)
        for request, computed in zip(batch, num_computed, strict=True):
            samples = tuple(
                sample_from_tokens(self._tokenizer, index, one.token_ids, one.logprobs, one.finish_reason)
                for index, one in zip(request.sample_indices, rows, strict=False)
            )
            num_cached = len(request.prompt_ids) - computed
            yield Reply(request=request, samples=samples, num_cached_tokens=num_cached, num_prefill_tokens=computed)

    def _decode(self, batch: list[Request]) -> tuple[list[Drawn], list[int]]:
        """The samples of all requests, in order, and the number of prompt tokens prefilled for each request."""
        options = self._options
        draws = [
            Draw(
                prompt=place,
                max_new_tokens=token_budget(request, options.sampling, self.max_model_len),
                seed=derive_seed(options.seed, request.state_id, index),
                num_drawn=request.num_continued,
            )
            for place, request in enumerate(batch)
            for index in request.sample_indices
        ]
        prompts = [request.prompt_ids for request in batch]
        read = self._prefixes.read(prompts)
        num_computed = read.num_computed if read else [len(prompt) for prompt in prompts]
        drawn = decode(self._model, prompts, draws, sampling=options.sampling, eos_ids=self._eos_ids, read=read)
        return drawn, num_computed


def _load(options: EngineOptions) -> tuple[Any, Any]:
    on_gpu = torch.cuda.is_available()
    dtype = torch.bfloat16 if on_gpu else torch.float32
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(options.model)
        model: Any = AutoModelForCausalLM.from_pretrained(options.model, dtype=dtype)
    except Exception as error:  # no weights, weights of other shapes, an unknown architecture: a dozen types
        raise UserError(f"model {options.model}: {type(error).__name__}: {one_line(str(error))}") from None
    if options.adapter is not None:
        model = _merge_adapter(model, options.adapter)
    use_grouped_attention(model)
    return tokenizer, model.to("cuda" if on_gpu else "cpu").eval()


def _merge_adapter(model: Any, adapter: str) -> Any:
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, adapter).merge_and_unload()
    except (OSError, ValueError, RuntimeError) as error:  # no weights, or weights of another model
        raise UserError(f"adapter {adapter}: {one_line(str(error))}") from None


def _eos_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """All tokens that end a turn according to the model or its tokenizer."""
    named = (
        model.generation_config.eos_token_id,
        model.config.get_text_config().eos_token_id,
        tokenizer.eos_token_id,
    )
    lists = [ids if isinstance(ids, list) else [ids] for ids in named if ids is not None]
    return frozenset(token for ids in lists for token in ids)


def _num_samples(batch: list[Request]) -> int:
    return sum(len(request.sample_indices) for request in batch)
