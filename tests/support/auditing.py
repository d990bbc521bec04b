"""`audit` and `calibrate` with the exact type of their summary."""

from __future__ import annotations

from pathlib import Path

from pivotmine_stages.audit import stage
from pivotmine_stages.audit.calibration import Calibration
from pivotmine_stages.audit.options import AuditConfig
from pivotmine_stages.audit.stage import AuditSummary


def audit(config: AuditConfig, run: Path) -> AuditSummary:
    found = stage.audit(config, run)
    assert isinstance(found, AuditSummary)
    return found


def calibrate(config: AuditConfig, run: Path) -> Calibration:
    found = stage.audit(config, run)
    assert isinstance(found, Calibration)
    return found
