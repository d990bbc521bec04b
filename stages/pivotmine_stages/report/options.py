"""What `pivotmine report` takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportConfig:
    output: str | None = None
    """File to write; by default RUN/report.html."""
    policy: str | None = None
    """Policy id or a part of it, if the run has several."""
    verifier: str | None = None
    """Verifier id or a part of it, if there are several."""
    name: str = "default"
    """Pivot dataset that the funnel ends in."""
    price_per_hour: float | None = None
    """Price of one hour of the machine that sampled, in any currency."""
    max_states: int = 2000
    """Maximum number of states that the page holds; figures always cover all states."""
