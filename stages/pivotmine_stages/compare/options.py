"""What `pivotmine compare` takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareConfig:
    one: str
    """POLICY, POLICY/VERIFIER or pivots/NAME; parts of ids do."""
    other: str
    """The same, to compare with."""
    num_examples: int = 3
    """Maximum number of states named for each transition."""
