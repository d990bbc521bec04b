"""The protocol of all rollout engines: requests in, replies out, streamed in any order.

An engine does not know about run directories, parsers or rewards. `EngineSpec` describes an engine; the rest of the
program reads it and never compares engine names.

    replies = engine.sample(requests)      # requests is an iterator: an engine holds only what it has in flight

The K samples of a state are one request. Requests of one trajectory arrive together and in order, so that a prefix
cache prefills each shared prefix once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from pivotmine.errors import UserError
from pivotmine.sampling.settings import Prefilled, TokenTree, TreeLogprobs

if TYPE_CHECKING:
    from pivotmine_stages.engines.options import EngineOptions


class EngineDied(UserError):
    """The engine's process has ended; a new engine can be opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    state_id: str
    prompt_ids: list[int]
    """Tokens of the rendered prompt; empty if a chat server renders the messages."""
    sample_indices: tuple[int, ...]
    """Which samples of the state to draw: all K at first, the missing ones after an interruption."""
    num_continued: int = 0
    """Number of tokens at the end of `prompt_ids` that belong to the samples, which a smaller budget truncated. The
    reply has only the tokens after them, as many as the budget still allows."""
    trajectory_id: str = ""
    """All requests of a trajectory go to one server or worker, since they share prefixes. Empty if it shares none."""
    messages: list[dict[str, Any]] | None = None
    """The state as OpenAI messages; only chat mode reads them."""
    tools: list[dict[str, Any]] | None = None
    """The state's tools in OpenAI form; only chat mode reads them."""

    @property
    def key(self) -> tuple[str, tuple[int, ...]]:
        """Identity among the requests in flight; a state has several requests if samples are continued."""
        return self.state_id, self.sample_indices


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    sample_index: int
    text: str
    """Raw text without the end-of-turn token; other special tokens are kept if the engine can keep them."""
    token_ids: list[int] | None
    """Sampled tokens, with the end-of-turn token if it was sampled; None if a server does not return them."""
    logprobs: list[float] | None
    """Natural log-probability of each token under the model's unmodified distribution (temperature 1, before top-p and
    top-k), one per token id; None if a server does not return them."""
    finish_reason: str
    """`stop` (end of turn) or `length` (token budget)."""
    num_tokens: int | None
    """Number of sampled tokens, the end-of-turn token included; None if a server does not report it."""
    message: str | None = None
    """The assistant message as JSON if a chat server parsed it; `text` then holds its content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The samples of one request, and the reason if some are missing; a missing sample is never an empty one."""

    request: Request
    samples: tuple[Sample, ...] = ()
    failure: str | None = None
    """The reject's reason (`engine_error`, `prompt_too_long`, ...); the reply may have samples as well."""
    detail: str = ""
    """The reject's detail: the error message of the server or engine, on one line."""
    num_cached_tokens: int | None = None
    """Prompt tokens that came from a prefix cache (vllm: for the first sample only); None if not reported."""
    num_prefill_tokens: int | None = None
    """Prompt tokens that were prefilled, summed over the request's samples; None if the engine does not report it."""


class Engine(Protocol):
    max_model_len: int | None
    """Maximum tokens of prompt and reply together; None if a server does not report it."""

    def sample(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """Sample every request. A request that fails gives a reply with a failure; the others go on."""
        ...

    def prefill(self, sequences: list[list[int]]) -> list[Prefilled]:
        """Log-probabilities of given tokens under the unmodified model; UserError if the engine cannot compute them."""
        ...

    def prefill_trees(self, trees: list[TokenTree]) -> list[TreeLogprobs]:
        """Log-probabilities of several replies to each prompt, under the unmodified model; errors as in `prefill`."""
        ...

    def close(self) -> None:
        """Free processes and memory; a second call does nothing."""
        ...


def trees_by_sequence(engine: Engine, trees: list[TokenTree]) -> list[TreeLogprobs]:
    """Implement `Engine.prefill_trees` with `Engine.prefill`: each distinct reply is a sequence, after its prompt."""
    distinct = [list(dict.fromkeys(tuple(branch) for branch in tree.branches)) for tree in trees]
    sequences = [[*tree.prompt, *branch] for tree, branches in zip(trees, distinct, strict=True) for branch in branches]
    answers = iter(engine.prefill(sequences) if sequences else ())
    found: list[TreeLogprobs] = []
    for tree, branches in zip(trees, distinct, strict=True):
        start = len(tree.prompt) - 1
        read = {branch: answer.logprobs[start:] for branch, answer in zip(branches, answers, strict=False)}
        computed = sum(len(tree.prompt) + len(branch) for branch in branches)
        found.append(TreeLogprobs([read[tuple(branch)] for branch in tree.branches], computed))
    return found


def _never(_: EngineOptions) -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """The description of an engine; each engine's package ends with its `ENGINE`."""

    open: Callable[[EngineOptions], Engine]
    """Opens the engine. Heavy packages are imported inside this function, not together with the description."""
    summary: str
    """What it samples with, in a few words, for `pivotmine doctor`."""
    packages: tuple[str, ...]
    """Packages that must be installed."""
    adapter_packages: tuple[str, ...] = ()
    """Additional packages for a LoRA adapter."""
    install: str = ""
    """Advice on installing it, in addition to the extra of the engine's name."""
    is_remote: bool = False
    """Whether a server holds the weights: they cannot be hashed, and the policy needs a name and a server's URL."""
    renders: Callable[[EngineOptions], bool] = _never
    """Whether the engine, with these options, takes messages and renders them itself instead of taking token ids."""
    can_prefill: bool = True
    """Whether it can compute the log-probabilities of given tokens (`Engine.prefill`)."""
    can_be_replica: bool = False
    """Whether a worker of a hosting engine can run it."""
    hosts_replicas: bool = False
    """Whether it only runs workers; `EngineOptions.replica_engine` then determines the policy."""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """Environment variables to set before its packages are imported, if they are unset."""
