"""The summary of `select`."""

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
    """States that were drawn but cannot be a row, by reason; other states replaced them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferred:
    """States that are never solved."""

    states: int
    expected: float
    """How many of them are expected to have a success rate above 1 %."""
    commands: list[str]
    """Commands that sample them at a higher temperature; empty for an imported policy, which cannot be sampled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A demonstration so unlikely that a fault of format or verifier is likelier than a hard state."""

    state_id: str
    logprob: float
    """Natural log-probability."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectSummary:
    """One selection."""

    name: str
    policy_id: str
    verifier_id: str | None
    """None if nothing was scored (`--strategy all` only)."""
    candidates: int
    train: int
    """Training rows. Without training and validation rows no dataset was written."""
    validation: int
    demonstrations: Drawn
    twin: TwinSummary | None
    cost: SampleCost
    """Cost of the profiles that the choice needs."""
    deferred: Deferred | None
    """The states of class `never`; None if there are none."""
    suspects: list[Suspect]
    """Profiled states whose demonstrations are nearly impossible, worst first."""
    rejects: dict[str, int]
    """Candidates that are not a row, by reason."""
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectPreview:
    """The counts of `--dry-run`."""

    rows: list[dict[str, Any]]
    """{num_samples, max_mean, train, validation}, for num_samples 2, 4, 8, ... up to all."""
    dry_run: bool = True
