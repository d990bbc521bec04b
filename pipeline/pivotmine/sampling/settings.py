"""How an action is sampled, and the results of one forward pass. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple

from pivotmine.options import Option

MIN_TEMPERATURE = 0.01
"""vLLM samples at this temperature if a lower one is requested; far below it, dividing logits by it overflows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How an action is sampled: everything except the token budget is part of the policy (hashed into `policy_id`)."""

    temperature: Annotated[float, Option(panel="Sampling", min=0)] = 1.0
    """Sampling temperature; 0 is greedy, else at least 0.01."""
    top_p: Annotated[float, Option(panel="Sampling", above=0, max=1)] = 1.0
    """Nucleus mass."""
    top_k: Annotated[int, Option(panel="Sampling", min=0)] = 0
    """Number of most likely tokens to sample from; 0 keeps all."""
    max_new_tokens: Annotated[int, Option(panel="Sampling", min=1)] = 512
    """Token budget of one action. A larger one continues the samples that a smaller one cut."""


class Prefilled(NamedTuple):
    """A model's predictions for a sequence of T tokens."""

    logprobs: list[float]
    """Natural log-probability of each token but the first, given those before it: T - 1 values."""
    likeliest: list[int]
    """The most likely token at each of these places."""


class TokenTree(NamedTuple):
    """A prompt and replies to it, token for token."""

    prompt: list[int]
    """At least one token."""
    branches: list[list[int]]


class TreeLogprobs(NamedTuple):
    """A model's predictions for a tree."""

    logprobs: list[list[float]]
    """By branch, the natural log-probability of each of its tokens, given the prompt and those before it."""
    num_computed: int
    """Tokens computed."""
