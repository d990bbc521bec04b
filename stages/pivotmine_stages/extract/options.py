"""Options of `extract`. Light: the command line reads them for its help."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pivotmine.options import Option
from pivotmine_stages.command import Command


def format_names() -> list[str]:
    """Return the names of all readable formats, including those of other packages."""
    from pivotmine.readers import all_readers

    return list(all_readers())


def action_format_names() -> list[str]:
    """Return `native` and the text conventions."""
    from pivotmine.actions.conventions import CONVENTIONS

    return ["native", *CONVENTIONS]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractConfig:
    sources: Annotated[tuple[Path | str, ...], Option(is_set=False)]
    """Files, folders of files, globs, URLs."""
    tools_file: Annotated[Path | None, Option(flag="tools")] = None
    """JSON list of tool definitions, for trajectories that carry none."""
    format: Annotated[str | None, Option(choices=format_names, metavar="NAME")] = None
    """Format of the sources (see `pivotmine formats`); by default recognised for each record."""
    domain: Annotated[str | None, Option()] = None
    """Domain of every trajectory; by default the source's own."""
    domain_column: Annotated[str | None, Option()] = None
    """Key of a record that names its domain."""
    messages_column: Annotated[str | None, Option()] = None
    """Column or key that holds the messages; by default the names that the readers know."""
    outcome_column: Annotated[str | None, Option()] = None
    """Key of a record that holds its outcome label; dots lead into objects (info.reward)."""
    outcome_words: Annotated[str | None, Option()] = None
    """Numbers for words under --outcome-column, such as pass=1,fail=0."""
    action_format: Annotated[str | None, Option(choices=action_format_names, metavar="NAME")] = None
    """Action format of segments without one in their source: native or a text convention. By default it is recognised
    from the segment."""
    calls: Annotated[Literal["native", "verbatim"] | None, Option()] = None
    """native: turn every call in text into a tool call. verbatim: turn none. By default the convention decides."""
    min_outcome: Annotated[float | None, Option()] = None
    """Minimum outcome label of a demonstration; by default the best label of all sources, never a failure label."""
    limit: Annotated[int | None, Option(flag="max_records", was="limit", min=1)] = None
    """Maximum number of records to read; by default all."""
    num_processes: Annotated[int | None, Option(min=1)] = None
    """Number of worker processes; by default one per core. The result does not depend on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CountOptions:
    """Options of `extract --dry-run`."""

    dry_run: Annotated[bool, Option(panel="Cost")] = False
    """Only count, and write nothing into the run."""
    tokenizer: Annotated[str | None, Option(panel="Cost")] = None
    """Folder or hub id of the tokenizer for --dry-run; by default it counts characters."""


SOURCES = "Files, folders or globs, or hf://, s3://, gs:// or http(s):// URLs."

COMMAND = Command(
    help="Read trajectories into tables: turns, states, demonstrations, and every reject with its reason.",
    stage="pivotmine_stages.extract.dry_run:extract_or_count",
    report="pivotmine_stages.cli.reports:extract_report",
    options=(ExtractConfig, CountOptions),
    sources=SOURCES,
    examples=(
        "pivotmine extract my.jsonl --run runs/mine --dry-run",
        "pivotmine extract 'logs/*.json' hf://datasets/org/name --run runs/mine --tools tools.json",
    ),
)
