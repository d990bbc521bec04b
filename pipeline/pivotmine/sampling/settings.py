"""How an action is drawn, and what one forward pass tells of a sequence. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How an action is drawn: part of the policy (hashed into `policy_id`)."""

    temperature: float = 1.0
    """0 is greedy."""
    top_p: float = 1.0
    """Nucleus mass in (0, 1]."""
    top_k: int = 0
    """Most likely tokens kept; 0 keeps all."""
    max_new_tokens: int = 512
    """Token budget of one action, in tokens."""


class Prefilled(NamedTuple):
    """What a model says of a sequence of T tokens."""

    logprobs: list[float]
    """Natural log-probability of each token but the first, given those before it: T - 1 values."""
    likeliest: list[int]
    """The most likely token at each of these places."""
