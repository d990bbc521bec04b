"""Options of `run --adaptive`. Few imports: the command line reads them for its help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pivotmine.options import Option


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveOptions:
    adaptive: Annotated[Literal["exact", "probabilistic"] | None, Option(panel="Adaptive")] = None
    """Sample in rounds and stop a state early: exact (same pivots) or probabilistic (fewer samples)."""
    target_recall: Annotated[float, Option(panel="Adaptive", above=0, max=1)] = 0.95
    """Share of the signal that --num-samples of every state would give (probabilistic)."""
    sample_budget: Annotated[int | None, Option(panel="Adaptive", min=1)] = None
    """Maximum samples in all, stored ones included; by default as many as the target needs (probabilistic)."""
    triage: Annotated[bool, Option(panel="Adaptive")] = False
    """Compute the demonstrations' probabilities first, with one prefill per segment."""
