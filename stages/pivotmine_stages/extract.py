"""extract: sources -> trajectories, segments, messages, tools, turns (and rejects).

Everything is written into a folder of its own and moved into the run when it is whole; the manifest comes last.
"""

from __future__ import annotations

import math
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from pivotmine import messages, rundir, sql
from pivotmine.errors import UserError
from pivotmine.inert import one_line
from pivotmine.json_records import Record
from pivotmine.progress import track
from pivotmine.readers import READERS, detect, grouped
from pivotmine.readers.openai_messages import tool_definitions
from pivotmine.readers.trajectory import BadTrajectory, Trajectory
from pivotmine.sources import content_hash, find_sources, read_source
from pivotmine_stages.demonstrations import least_outcome, settle_turns
from pivotmine_stages.trajectory_rows import Place, Tables, num_assistant, store_trajectory

Labels = Counter[tuple[float | None, float]]
"""Trajectories by (outcome, the format's failure label)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractConfig:
    sources: tuple[Path, ...]
    """Files, or folders of files."""
    tools_file: Path | None = None
    """JSON list of tool definitions for trajectories that carry none."""
    format: str | None = None
    """Reader's name; None: chosen by looking at each record."""
    domain: str | None = None
    """Domain of every trajectory; None: the source's own."""
    domain_column: str | None = None
    """Key of a record that names its domain."""
    min_outcome: float | None = None
    """Least outcome label of a demonstration; None: the best label among all sources, never the failure label."""
    limit: int | None = None
    """Most records read; None: all."""


def extract(config: ExtractConfig, run: Path) -> dict[str, Any]:
    """Run the stage; returns the summary that the command prints. The same command again does nothing."""
    if config.min_outcome is not None and math.isnan(config.min_outcome):
        raise UserError("--min-outcome nan: a number, such as 1")
    rundir.check_new_run(run)
    inside = run.resolve()
    files = [path for path in find_sources(config.sources) if not path.resolve().is_relative_to(inside)]
    tools = _read_tools(config.tools_file)
    identity = _identity(config, files, tools)
    with rundir.stage_lock(run, "extract"):
        done = rundir.read_manifests(run, "extract")
        if done and done[-1]["config"] != identity:
            difference = rundir.difference(identity, done[-1]["config"])
            raise UserError(f"{run} was extracted with other settings ({difference}): choose another --run")
        return done[-1]["summary"] if done else _extract(config, run, files, tools, identity)


def _read_tools(path: Path | None) -> list[Any] | None:
    if path is None:
        return None
    try:
        tools = tool_definitions(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--tools {path} cannot be read: {error}") from None
    except BadTrajectory as bad:
        raise UserError(f"--tools {path} holds no JSON list of tool definitions: {bad.detail}") from None
    if not tools:
        raise UserError(f"--tools {path} holds no tool: a JSON list of tool definitions is needed")
    return tools


def _identity(config: ExtractConfig, files: list[Path], tools: list[Any] | None) -> dict[str, Any]:
    """What decides the result: settings, and the sources by name and content, wherever they lie."""
    settings = {k: v for k, v in asdict(config).items() if k not in ("sources", "tools_file")}
    sources = [f"{_readable(path.name)} {content_hash(path)}" for path in files]
    return {**settings, "sources": sources, "tools": messages.tools_id(tools) if tools else None}


def _readable(name: str) -> str:
    """A file's name may hold bytes that are no text: no table could store them."""
    return name.encode("utf-8", "backslashreplace").decode()


def _extract(
    config: ExtractConfig, run: Path, files: list[Path], tools: list[Any] | None, identity: dict[str, Any]
) -> dict[str, Any]:
    started = time.monotonic()
    folder = run / rundir.UNFINISHED
    shutil.rmtree(folder, ignore_errors=True)
    tables = Tables(folder)
    labels, num_records = _read_all(config, files, tools, tables)
    tables.close()
    if not labels:
        raise UserError(_nothing_left(folder, num_records))
    min_outcome = least_outcome(labels) if config.min_outcome is None else config.min_outcome
    turns = settle_turns(folder, min_outcome)
    _move_in(run, folder, identity)
    summary = {
        **{name: tables.counts[name] for name in rundir.EXTRACT_TABLES},
        **_summary(turns, labels, min_outcome),
        "rejects": _reject_counts(rundir.scan(run, "rejects")),
        "seconds": round(time.monotonic() - started, 2),
    }
    rundir.write_manifest(run, "extract", identity, {"summary": summary})
    sql.write_views(run)
    return summary


def _read_all(config: ExtractConfig, files: list[Path], tools: list[Any] | None, tables: Tables) -> tuple[Labels, int]:
    """Add the rows of every record; returns the labels of the trajectories, and the number of records."""
    labels, num_records = Labels(), 0
    for place, record in track(_records(files, config), "extract", "records"):
        num_records += 1
        try:
            found, reader = _trajectory(record, config, tools)
        except BadTrajectory as bad:
            tables.reject(bad.reason, place, num_turns=_num_turns(record.value), detail=bad.detail)
            continue
        if store_trajectory(tables, found, reader=reader, place=place):
            labels[found.outcome, found.failure_outcome] += 1
    return labels, num_records


def _records(files: list[Path], config: ExtractConfig) -> Iterator[tuple[Place, Record]]:
    count = 0
    for path in files:
        for record in grouped(read_source(path), config.format):
            if config.limit is not None and count >= config.limit:
                return
            count += 1
            yield Place(_readable(str(path)), record.index), record


def _trajectory(record: Record, config: ExtractConfig, tools: list[Any] | None) -> tuple[Trajectory, str]:
    if record.problem:
        raise BadTrajectory(*record.problem)
    name = config.format or detect(record.value)
    found = READERS[name].read(record.value)
    segments = tuple(replace(segment, tools=segment.tools or tools) for segment in found.segments)
    column = record.value.get(config.domain_column) if config.domain_column and isinstance(record.value, dict) else None
    domain = config.domain or (str(column) if column is not None else found.domain)
    return replace(found, segments=segments, domain=domain), name


def _num_turns(record: Any) -> int | None:
    """Assistant messages of a record that became no trajectory; None where it holds no messages."""
    found = record.get("messages", record.get("traj")) if isinstance(record, dict) else record
    return num_assistant(found) if isinstance(found, list) else None


def _nothing_left(folder: Path, num_records: int) -> str:
    """Everything rejected is an error: the first reason says why."""
    rejects = rundir.scan(folder, "rejects", sorted((folder / "rejects").iterdir())).collect()
    shutil.rmtree(folder)
    if rejects.is_empty():
        return "the sources hold no record at all"
    first = rejects.row(0, named=True)
    place = first["source"] if first["source_index"] is None else f"{first['source']}, record {first['source_index']}"
    why = one_line(f"{place}: {first['reason']}: {first['detail']}")
    return f"all {num_records:,} records were rejected; the first, {why}"


def _move_in(run: Path, folder: Path, identity: dict[str, Any]) -> None:
    for table in rundir.EXTRACT_TABLES:
        shutil.rmtree(run / table, ignore_errors=True)
        (folder / table).rename(run / table)
    rejects = rundir.rejects_dir(run, "extract", identity)
    shutil.rmtree(rejects.parent, ignore_errors=True)
    rejects.parent.mkdir()
    (folder / "rejects").rename(rejects)
    folder.rmdir()


def _summary(turns: pl.DataFrame, labels: Labels, min_outcome: float | None) -> dict[str, Any]:
    demonstrated = turns.filter(pl.col("reject_reason").is_null())
    outcomes = Counter[float | None]()
    for (outcome, _), number in labels.items():
        outcomes[outcome] += number
    ordered = sorted(outcomes, key=lambda label: (label is None, label or 0.0))
    return {
        "states": turns["state_id"].n_unique(),
        "demonstrations": len(demonstrated),
        "demonstrated_states": demonstrated["state_id"].n_unique(),
        "outcomes": {str(label): outcomes[label] for label in ordered},
        "min_outcome": None if min_outcome == math.inf else min_outcome,
        "all_failed": min_outcome == math.inf,
    }


def _reject_counts(rejects: pl.LazyFrame) -> dict[str, dict[str, int | None]]:
    """Per reason: rejected rows, and turns lost with them (None: unknown of every row)."""
    known = pl.col("num_turns").count() > 0
    turns = pl.when(known).then(pl.col("num_turns").sum()).alias("turns")
    counted = rejects.group_by("reason").agg(pl.len().alias("rows"), turns).sort("reason").collect()
    return {r["reason"]: {"rows": r["rows"], "turns": r["turns"]} for r in counted.iter_rows(named=True)}
