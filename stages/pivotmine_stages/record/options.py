"""Options of `record`. Light: the command line reads them for its help."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pivotmine.options import Option
from pivotmine_stages.command import Command
from pivotmine_stages.extract.options import SOURCES, action_format_names, format_names


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordConfig:
    sources: Annotated[tuple[Path | str, ...], Option(is_set=False)]
    """Files, folders of files, globs, URLs."""
    policy_name: Annotated[str, Option()]
    """Name of the policy that acted, since the log does not identify its weights."""
    state_key: Annotated[Literal["exact", "actions"], Option()] = "exact"
    """When two histories are the same state: exact, or actions (the environment's answers may differ)."""
    format: Annotated[str | None, Option(choices=format_names, metavar="NAME")] = None
    """Format of the sources (see `pivotmine formats`); by default recognised for each record."""
    tools_file: Annotated[Path | None, Option(flag="tools")] = None
    """JSON list of tool definitions for sources that carry none: the list that `extract` used."""
    action_format: Annotated[str | None, Option(choices=action_format_names, metavar="NAME")] = None
    """Action format of segments without one in their source: native or a text convention. By default it is recognised
    from the segment."""
    calls: Annotated[Literal["native", "verbatim"] | None, Option()] = None
    """native: turn every call in text into a tool call. verbatim: turn none. By default the convention decides."""


COMMAND = Command(
    help="Import actions that were sampled elsewhere: rollouts and, if they come with rewards, scores.",
    stage="pivotmine_stages.record.stage:record",
    report="pivotmine_stages.cli.reports:record_report",
    options=(RecordConfig,),
    sources=SOURCES,
    examples=("pivotmine record logs.jsonl --run runs/mine --policy-name gpt-4o",),
)
