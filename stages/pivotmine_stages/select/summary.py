"""What `select` says when it is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pivotmine_stages.select.draw import Drawn
from pivotmine_stages.select.samples import SampleCost


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinSummary:
    """The control that `--twin` writes."""

    name: str
    train: int
    validation: int
    left_out: dict[str, int]
    """States that were drawn and cannot be a row, by reason; others were drawn in their place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectSummary:
    """One selection."""

    name: str
    policy_id: str
    verifier_id: str | None
    """None: nothing was scored (`--strategy all` only)."""
    candidates: int
    train: int
    """Rows; 0 and no validation row: no dataset was written."""
    validation: int
    demonstrations: Drawn
    twin: TwinSummary | None
    cost: SampleCost
    """Of the profiles that the choice needs."""
    rejects: dict[str, int]
    """Candidates that are no row, by reason."""
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectPreview:
    """What `--dry-run` counted."""

    rows: list[dict[str, Any]]
    """{num_samples, max_mean, train, validation}, K from 2 in powers of two."""
    dry_run: bool = True
