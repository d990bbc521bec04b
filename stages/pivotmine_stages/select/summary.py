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
class Deferred:
    """States that are never solved."""

    states: int
    expected: float
    """How many of them are expected to have a success rate above 1 %."""
    commands: list[str]
    """What samples them again at a higher temperature; empty: an imported policy cannot be sampled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A demonstration that is rather a fault of format or verifier than a hard state."""

    state_id: str
    logprob: float
    """Natural log-probability."""


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
    deferred: Deferred | None
    """What the states of class `never` still hold; None: no state is of this class."""
    suspects: list[Suspect]
    """Profiled states whose demonstrations are nearly impossible, worst first."""
    rejects: dict[str, int]
    """Candidates that are not a row, by reason."""
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectPreview:
    """What `--dry-run` counted."""

    rows: list[dict[str, Any]]
    """{num_samples, max_mean, train, validation}, K from 2 in powers of two."""
    dry_run: bool = True
