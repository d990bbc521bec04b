"""Reasons why a finished stage left nothing usable: then the exit code is 1, so that a chain of jobs stops."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pivotmine.counts import counted
from pivotmine.errors import UserError

if TYPE_CHECKING:
    from pivotmine_stages.adaptive.summary import CostEstimate
    from pivotmine_stages.audit.calibration import Calibration
    from pivotmine_stages.audit.stage import AuditSummary
    from pivotmine_stages.rollout.stage import RolloutSummary
    from pivotmine_stages.score.stage import ScoreSummary
    from pivotmine_stages.select.summary import SelectPreview, SelectSummary
    from pivotmine_stages.verify.stage import VerifySummary


def require_usable(command: str, summary: Any) -> None:
    """Raise UserError with the reason if the stage left nothing that a later one can use."""
    if command in _REASONS and (reason := _REASONS[command](summary)):
        raise UserError(reason)


def _rollout(s: RolloutSummary | CostEstimate) -> str | None:
    from pivotmine_stages.adaptive.summary import CostEstimate

    if isinstance(s, CostEstimate):
        return None
    # A rerun is done if only states without a sample are left that can never be sampled (prompt too long).
    if s.stored.samples and (s.sampled or "engine_error" not in s.rejects):
        return None
    if not s.rejects:
        return "nothing was sampled: the run has no demonstration; the rejects of extract say why"
    cause = "".join(f"; the first {reason}: {detail}" for reason, detail in list(s.causes.items())[:1])
    return f"nothing was sampled: {_listed(s.rejects)}{cause}"


def _score(s: ScoreSummary) -> str | None:
    if s.scored:
        return None
    outcomes = ", ".join(f"{name} {number:,}" for name, number in s.outcomes.items())
    why = outcomes or _listed(s.rejects)
    return f"0 of {counted(s.samples, 'sample is', 'samples are')} scored by {s.verifier_id}: {why}"


def _select(s: SelectSummary | SelectPreview) -> str | None:
    from pivotmine_stages.select.summary import SelectPreview

    if isinstance(s, SelectPreview) or s.train + s.validation:
        return None
    return f"no row is selected, no dataset is written: {_listed(s.rejects)}"


def _audit(s: AuditSummary | Calibration) -> str | None:
    from pivotmine_stages.audit.calibration import Calibration

    if isinstance(s, Calibration):
        return None if s.decided else f"{s.verifier_id} decides none of {counted(s.pairs, 'pair')}: none has a reward"
    return None if s.states else "nothing to try: the run has no demonstration; the rejects of extract say why"


def _verify(s: VerifySummary) -> str | None:
    return f"{len(s.broken):,} of {counted(s.files, 'file is', 'files are')} broken" if s.broken else None


def _listed(rejects: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in rejects.items()) or "nothing was there to begin with"


_REASONS: dict[str, Callable[[Any], str | None]] = {
    "rollout": _rollout,
    "score": _score,
    "select": _select,
    "audit": _audit,
    "verify": _verify,
}
