"""The stages as functions: `run_extract(ExtractConfig(...), Path("run"))`, and so on for each of them.

Each takes the dataclass of its options and the run's folder, and returns the summary that its command prints. A
function or a dataclass is imported on first use, so `import pivotmine_stages` is light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pivotmine_stages.audit.options import AuditConfig
    from pivotmine_stages.audit.stage import audit as run_audit
    from pivotmine_stages.compare.options import CompareConfig
    from pivotmine_stages.compare.stage import compare as run_compare
    from pivotmine_stages.engines.options import EngineOptions
    from pivotmine_stages.export.options import ExportConfig
    from pivotmine_stages.export.stage import export as run_export
    from pivotmine_stages.extract.options import ExtractConfig
    from pivotmine_stages.extract.stage import extract as run_extract
    from pivotmine_stages.policy.options import PolicyConfig
    from pivotmine_stages.record.options import RecordConfig
    from pivotmine_stages.record.stage import record as run_record
    from pivotmine_stages.report.options import ReportConfig
    from pivotmine_stages.report.stage import report as run_report
    from pivotmine_stages.rollout.options import RolloutConfig
    from pivotmine_stages.rollout.stage import rollout as run_rollout
    from pivotmine_stages.score.options import ScoreConfig
    from pivotmine_stages.score.stage import score as run_score
    from pivotmine_stages.select.options import SelectConfig
    from pivotmine_stages.select.stage import select as run_select
    from pivotmine_stages.show.options import ShowConfig
    from pivotmine_stages.show.stage import show as run_show
    from pivotmine_stages.status.stage import status as run_status

__all__ = [
    "AuditConfig",
    "CompareConfig",
    "EngineOptions",
    "ExportConfig",
    "ExtractConfig",
    "PolicyConfig",
    "RecordConfig",
    "ReportConfig",
    "RolloutConfig",
    "ScoreConfig",
    "SelectConfig",
    "ShowConfig",
    "run_audit",
    "run_compare",
    "run_export",
    "run_extract",
    "run_record",
    "run_report",
    "run_rollout",
    "run_score",
    "run_select",
    "run_show",
    "run_status",
]


def __getattr__(name: str) -> Any:
    """`ScoreConfig` is from `score/options.py`, `run_score` from `score/stage.py`: `score` itself is the folder."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name.startswith("run_"):
        stage = name.removeprefix("run_")
        return getattr(import_module(f"{__name__}.{stage}.stage"), stage)
    folder = "engines" if name == "EngineOptions" else name.removesuffix("Config").lower()
    return getattr(import_module(f"{__name__}.{folder}.options"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
