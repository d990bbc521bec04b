"""The stages as functions: `run_extract(ExtractConfig(...), Path("run"))`, and so on for each of them.

Each takes the dataclass of its options and the run's folder, and returns the summary that its command prints.
A function or a dataclass is imported when it is first asked for: `import pivotmine_stages` is light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pivotmine_stages.audit.stage import AuditConfig
    from pivotmine_stages.audit.stage import audit as run_audit
    from pivotmine_stages.engines.options import EngineOptions
    from pivotmine_stages.export.stage import ExportConfig
    from pivotmine_stages.export.stage import export as run_export
    from pivotmine_stages.extract.stage import ExtractConfig
    from pivotmine_stages.extract.stage import extract as run_extract
    from pivotmine_stages.record.stage import RecordConfig
    from pivotmine_stages.record.stage import record as run_record
    from pivotmine_stages.rollout.stage import RolloutConfig
    from pivotmine_stages.rollout.stage import rollout as run_rollout
    from pivotmine_stages.score.stage import ScoreConfig
    from pivotmine_stages.score.stage import score as run_score
    from pivotmine_stages.select.rule import SelectConfig
    from pivotmine_stages.select.stage import select as run_select

__all__ = [
    "AuditConfig",
    "EngineOptions",
    "ExportConfig",
    "ExtractConfig",
    "RecordConfig",
    "RolloutConfig",
    "ScoreConfig",
    "SelectConfig",
    "run_audit",
    "run_export",
    "run_extract",
    "run_record",
    "run_rollout",
    "run_score",
    "run_select",
]

# The functions are not called `extract`, `score`, ...: those are the names of the folders.
_PLACES = {
    "AuditConfig": "audit.stage:AuditConfig",
    "EngineOptions": "engines.options:EngineOptions",
    "ExportConfig": "export.stage:ExportConfig",
    "ExtractConfig": "extract.stage:ExtractConfig",
    "RecordConfig": "record.stage:RecordConfig",
    "RolloutConfig": "rollout.stage:RolloutConfig",
    "ScoreConfig": "score.stage:ScoreConfig",
    "SelectConfig": "select.rule:SelectConfig",
    "run_audit": "audit.stage:audit",
    "run_export": "export.stage:export",
    "run_extract": "extract.stage:extract",
    "run_record": "record.stage:record",
    "run_rollout": "rollout.stage:rollout",
    "run_score": "score.stage:score",
    "run_select": "select.stage:select",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _PLACES[name].partition(":")
    return getattr(import_module(f"{__name__}.{module}"), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
