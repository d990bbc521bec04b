"""What `pivotmine show` takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowConfig:
    state: str | None = None
    """A state_id, or its beginning."""
    reward_class: Literal["never", "sometimes", "always", "constant", "unscored"] | None = None
    """Class of the states."""
    num_states: int = 1
    """Maximum number of states shown."""
    domain: str | None = None
    """Domain of the states."""
    tool: str | None = None
    """Tool of the demonstrated call."""
    outcome: str | None = None
    """Outcome that at least one sample has."""
    sort: Literal["variance", "mean", "depth", "prompt tokens"] = "variance"
    """Order of the states."""
    policy: str | None = None
    """Policy id or a part of it, if the run has several."""
    verifier: str | None = None
    """Verifier id or a part of it, if there are several."""
