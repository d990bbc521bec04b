"""Options of `export`. Light: the command line reads them for its help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pivotmine.options import Option
from pivotmine_stages.command import Command


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig:
    name: Annotated[str, Option()] = "default"
    """Name of the pivot dataset."""
    format: Annotated[Literal["nemo_gym", "verl", "verifiers"], Option(flag="to", was="format")] = "nemo_gym"
    """Form to write: nemo_gym (JSON lines), verl (Parquet and options), or verifiers (an environment package)."""
    agent: Annotated[str | None, Option()] = None
    """Name in agent_ref for rows whose source names no agent; by default such rows have no agent_ref (nemo_gym)."""


COMMAND = Command(
    help="Write a pivot dataset in the form of another trainer, next to the TRL one.",
    stage="pivotmine_stages.export.stage:export",
    report="pivotmine_stages.cli.reports:export_report",
    options=(ExportConfig,),
    examples=("pivotmine export runs/mine --name default --to verl",),
)
