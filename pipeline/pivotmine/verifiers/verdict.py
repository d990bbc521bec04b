"""The words every verifier answers in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pivotmine.run.outcomes import Outcome

__all__ = ["Outcome", "State", "Verdict"]


@dataclass(frozen=True, slots=True)
class Verdict:
    reward: float | None
    """In [0, 1]; null where the machinery failed."""
    outcome: Outcome
    """Why."""
    detail: str = ""
    """One line for a person: which argument, which tool, which exception."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a verifier may know of the state: hostile text, to be compared and never executed."""

    tools: tuple[dict[str, Any], ...] = ()
    """Tool definitions in OpenAI form (`{"type": "function", "function": {"name", "parameters"}}`)."""
    messages: tuple[dict[str, Any], ...] = field(default=())
    """The messages before the turn; empty where the verifier does not ask for them."""
