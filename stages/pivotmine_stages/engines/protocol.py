"""The one protocol of all rollout engines: requests in, replies out, streaming and in any order.

An engine does not know about run directories, parsers or rewards. `EngineSpec` says what the engine is; the rest of the
program reads that and never compares an engine's name.

    replies = engine.sample(requests)      # requests is an iterator: an engine holds only what it has in flight

The K samples of a state are one request. Requests of one trajectory arrive together and in order, so that a prefix
cache pays each shared prefix once.
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
    """The engine's own process has ended; another one may be opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    state_id: str
    prompt_ids: list[int]
    """The rendered prompt, token for token; empty where a chat server does the rendering."""
    sample_indices: tuple[int, ...]
    """Which samples of the state to draw: all K at first, the missing ones after an interruption."""
    num_continued: int = 0
    """So many tokens at the end of `prompt_ids` belong to the samples, which a smaller budget cut. The reply has only
    the tokens behind them, within what they leave of the budget."""
    trajectory_id: str = ""
    """Whose prefixes it shares: its requests go to one server or worker. Empty: no other's."""
    messages: list[dict[str, Any]] | None = None
    """The state as OpenAI messages: only chat mode reads it."""
    tools: list[dict[str, Any]] | None = None
    """The state's tools in OpenAI form: only chat mode reads it."""

    @property
    def key(self) -> tuple[str, tuple[int, ...]]:
        """Tells the requests in flight apart: a state has several where samples are continued."""
        return self.state_id, self.sample_indices


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
    """`engine_error`, `prompt_too_long`, ...: the reject's reason; the reply may hold samples, too."""
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

    def prefill_trees(self, trees: list[TokenTree]) -> list[TreeLogprobs]:
        """What the unmodified model says of several replies to each prompt; else as `prefill`."""
        ...

    def close(self) -> None:
        """Free processes and memory; a second call does nothing."""
        ...


def trees_by_sequence(engine: Engine, trees: list[TokenTree]) -> list[TreeLogprobs]:
    """`Engine.prefill_trees` of an engine that reads sequences: each distinct reply with its prompt."""
    asked = [list(dict.fromkeys(tuple(branch) for branch in tree.branches)) for tree in trees]
    sequences = [[*tree.prompt, *branch] for tree, branches in zip(trees, asked, strict=True) for branch in branches]
    answers = iter(engine.prefill(sequences) if sequences else ())
    found: list[TreeLogprobs] = []
    for tree, branches in zip(trees, asked, strict=True):
        start = len(tree.prompt) - 1
        read = {branch: answer.logprobs[start:] for branch, answer in zip(branches, answers, strict=False)}
        computed = sum(len(tree.prompt) + len(branch) for branch in branches)
        found.append(TreeLogprobs([read[tuple(branch)] for branch in tree.branches], computed))
    return found


def _never(_: EngineOptions) -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """What an engine is; each engine's package ends with its `ENGINE`."""

    open: Callable[[EngineOptions], Engine]
    """Opens the engine. Heavy packages are imported inside this function, not on import of the declaration."""
    summary: str
    """What it samples with, in a few words, for `pivotmine doctor`."""
    packages: tuple[str, ...]
    """Packages that must be installed."""
    adapter_packages: tuple[str, ...] = ()
    """Packages that it needs in addition for a LoRA adapter."""
    install: str = ""
    """Words on how to install it beyond its extra, which has the engine's name."""
    is_remote: bool = False
    """Whether the weights are on a server: they cannot be hashed, and the policy needs a name and a server's URL."""
    renders: Callable[[EngineOptions], bool] = _never
    """Whether the engine renders messages itself and takes no token ids, with these options."""
    can_prefill: bool = True
    """Whether it gives the log-probabilities of given tokens (`Engine.prefill`)."""
    can_be_replica: bool = False
    """Whether a worker of a hosting engine can run it."""
    hosts_replicas: bool = False
    """Whether it only runs workers: the policy is then that of `EngineOptions.replica_engine`."""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """Environment variables to set, where they are unset, before its packages are imported."""
