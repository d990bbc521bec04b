"""What `pivotmine view` takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewConfig:
    policy: str | None = None
    """Policy id or a part of it, if the run has several."""
    verifier: str | None = None
    """Verifier id or a part of it, if there are several."""
    name: str = "default"
    """Pivot dataset that the funnel ends in."""
    price_per_hour: float | None = None
    """Price of one hour of the machine that sampled, in any currency."""
    port: int = 0
    """Port on the loopback interface; 0 takes a free one."""
