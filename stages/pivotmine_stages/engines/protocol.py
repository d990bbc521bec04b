"""The one protocol of all rollout engines: requests in, replies out, streaming and in any order.

An engine is a generator function in a module of its own. It knows nothing of run directories, parsers or rewards.

    replies = engine.sample(requests)      # requests is an iterator: an engine holds only what it has in flight

The K samples of a state are one request. Requests of one trajectory arrive together and in order, so that a prefix
cache pays each shared prefix once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from pivotmine.errors import UserError
from pivotmine.sampling.settings import Prefilled


class EngineDied(UserError):
    """The engine's own process has ended; another one may be opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    state_id: str
    prompt_ids: list[int]
    """The rendered prompt, token for token; empty where a chat server does the rendering."""
    sample_indices: tuple[int, ...]
    """Which samples of the state to draw: all K at first, the missing ones after an interruption."""
    trajectory_id: str = ""
    """Whose prefixes it shares: its requests go to one server or worker. Empty: no other's."""
    messages: list[dict[str, Any]] | None = None
    """The state as OpenAI messages: only chat mode reads it."""
    tools: list[dict[str, Any]] | None = None
    """The state's tools in OpenAI form: only chat mode reads it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    sample_index: int
    text: str
    """Raw text, special tokens kept where the engine can; the end-of-turn token itself is left off."""
    token_ids: list[int] | None
    """Sampled tokens, the end-of-turn token included where it was drawn; null where a server does not tell."""
    logprobs: list[float] | None
    """Natural log-probability of each token under the model's unmodified distribution (temperature 1, before top-p and
    top-k), one per token id; null where a server does not tell."""
    finish_reason: str
    """`stop` (end of turn) or `length` (token budget)."""
    num_tokens: int | None
    """Sampled tokens, the end-of-turn token included; null where a server does not tell."""
    message: str | None = None
    """The assistant message as JSON, where a chat server parsed it; `text` then holds its content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The samples of one request, and why some are missing: never an empty sample that looks like an answer."""

    request: Request
    samples: tuple[Sample, ...] = ()
    failure: str | None = None
    """`engine_error`, `prompt_too_long`, ...: the reject's reason; there may be samples beside it."""
    detail: str = ""
    """The reject's detail: the server's or the engine's own words, one line."""
    num_cached_tokens: int | None = None
    """Prompt tokens that came from a prefix cache (vllm: for the first sample, others share its prompt); null: not
    told."""
    num_prefill_tokens: int | None = None
    """Prompt tokens that were computed, all samples of the request together; null: the engine does not tell."""


class Engine(Protocol):
    max_model_len: int | None
    """Prompt and reply together, in tokens; null where a server does not tell."""

    def sample(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """Draw every request's samples; a failed request is a reply with a failure, the rest goes on."""
        ...

    def prefill(self, sequences: list[list[int]]) -> list[Prefilled]:
        """What the unmodified model says of given tokens; an engine that cannot tell raises UserError."""
        ...

    def close(self) -> None:
        """Free processes and memory; a second call does nothing."""
        ...
