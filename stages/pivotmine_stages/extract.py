"""extract: sources -> trajectories, segments, messages, tools, turns (and rejects).

Every assistant message becomes a turn or is counted in a reject. A message is stored once; a turn names its state by
(segment, position). Which turns are demonstrations depends on the best outcome label of all sources, so the turns
settle last.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import polars as pl

from pivotmine import jsonvalues, messages, rundir, sql
from pivotmine.actions import action_from_message, action_to_json
from pivotmine.errors import UserError
from pivotmine.progress import track
from pivotmine.readers import READERS, detect
from pivotmine.readers.openai_messages import tool_definitions
from pivotmine.readers.trajectory import BadTrajectory, Segment, Trajectory
from pivotmine.sources import Record, find_sources, read_source
from pivotmine.tables import TABLES

ROWS_PER_PART = 20_000
LOW_OUTCOME = "low_outcome"


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


@dataclass(slots=True)
class _Tables:
    """Rows on their way to part files; what was stored once is not stored again."""

    folder: Path
    rows: dict[str, list[dict[str, Any]]] = field(
        default_factory=lambda: {name: [] for name in (*rundir.EXTRACT_TABLES, "rejects")}
    )
    counts: Counter[str] = field(default_factory=Counter)
    seen: set[str] = field(default_factory=set)

    def add(self, table: str, row: dict[str, Any]) -> None:
        self.rows[table].append(row)
        self.counts[table] += 1
        if len(self.rows[table]) >= ROWS_PER_PART:
            self.flush(table)

    def add_once(self, table: str, key: str, row: dict[str, Any]) -> None:
        if key not in self.seen:
            self.seen.add(key)
            self.add(table, row)

    def flush(self, table: str) -> None:
        number = sum(1 for _ in (self.folder / table).glob("part-*"))
        rundir.write_rows(self.folder / table / f"part-{number:05d}.parquet", table, self.rows[table])
        self.rows[table].clear()


def extract(config: ExtractConfig, run: Path) -> dict[str, Any]:
    """Run the stage; returns the summary that the command prints. The same command again does nothing."""
    files = find_sources(config.sources)
    tools = _read_tools(config.tools_file)
    identity = _identity(config, files, tools)
    _check_target(run)
    with rundir.stage_lock(run, "extract"):
        done = rundir.read_manifests(run, "extract")
        if done and done[-1]["config"] != identity:
            difference = rundir.difference(identity, done[-1]["config"])
            raise UserError(f"{run} was extracted with other settings ({difference}): choose another --run")
        return done[-1]["summary"] if done else _extract(config, run, files, tools, identity)


def _extract(
    config: ExtractConfig, run: Path, files: list[Path], tools: list[Any] | None, identity: dict[str, Any]
) -> dict[str, Any]:
    started = time.monotonic()
    folder = run / ".extract.tmp"
    shutil.rmtree(folder, ignore_errors=True)
    tables, labels = _Tables(folder), Counter[float | None]()
    failures: set[float] = set()
    for name, record in track(_records(files, config.limit), "extract", "records"):
        try:
            trajectory, reader = _trajectory(record, config, tools)
            if not _store(tables, trajectory, reader, name, record.index or 0):
                continue
        except BadTrajectory as bad:
            _reject(
                tables,
                bad.reason,
                name,
                record.index,
                detail=bad.detail,
                num_turns=_count_turns(record.value),
            )
            continue
        labels[trajectory.outcome] += 1
        failures.add(trajectory.failure_outcome)
    min_outcome = _min_outcome(config, labels, failures)
    for table in tables.rows:
        if tables.rows[table] or not (folder / table).exists():
            tables.flush(table)
    turns = _settle_turns(folder, min_outcome)
    _check_something_left(tables, folder)
    _move_in(run, folder, identity)
    summary = _summary(tables, turns, labels, min_outcome, run, identity, time.monotonic() - started)
    rundir.write_manifest(run, "extract", identity, {"summary": summary})
    sql.write_views(run)
    return summary


def _identity(config: ExtractConfig, files: list[Path], tools: list[Any] | None) -> dict[str, Any]:
    """What decides the result: settings, and the sources by name and content."""
    settings = {k: v for k, v in asdict(config).items() if k not in ("sources", "tools_file")}
    sources = {path.name: _file_hash(path) for path in files}
    if len(sources) < len(files):
        sources = {str(path): _file_hash(path) for path in files}
    return {**settings, "sources": sources, "tools": messages.tools_id(tools) if tools else None}


def _file_hash(path: Path) -> str:
    digest = blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _check_target(run: Path) -> None:
    """Nothing that is not ours is written into."""
    ours = {*rundir.EXTRACT_TABLES, "rejects", "manifests", ".locks", ".extract.tmp", "views.sql"}
    if run.exists() and not run.is_dir():
        raise UserError(f"--run {run} is a file: name a folder")
    if run.is_dir() and not rundir.is_run(run) and (strange := [p.name for p in run.iterdir() if p.name not in ours]):
        raise UserError(f"--run {run} holds {strange[0]!r} and is no run: name a new or an empty folder")


def _read_tools(path: Path | None) -> list[Any] | None:
    if path is None:
        return None
    try:
        return tool_definitions(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--tools {path} cannot be read: {error}") from None
    except BadTrajectory as bad:
        raise UserError(f"--tools {path} holds no JSON list of tool definitions: {bad.detail}") from None


def _records(files: list[Path], limit: int | None) -> Iterator[tuple[str, Record]]:
    count = 0
    for path in files:
        for record in read_source(path):
            if limit is not None and count >= limit:
                return
            count += 1
            yield str(path), record


def _trajectory(record: Record, config: ExtractConfig, tools: list[Any] | None) -> tuple[Trajectory, str]:
    if record.problem:
        raise BadTrajectory(*record.problem)
    name = config.format or detect(record.value)
    found = READERS[name].read(record.value)
    segments = tuple(replace(segment, tools=segment.tools or tools) for segment in found.segments)
    column = record.value.get(config.domain_column) if config.domain_column and isinstance(record.value, dict) else None
    domain = config.domain or (str(column) if column is not None else found.domain)
    return replace(found, segments=segments, domain=domain), name


def _count_turns(record: Any) -> int | None:
    """Assistant messages of a record that became no trajectory; None where it holds no messages."""
    found = record.get("messages", record.get("traj")) if isinstance(record, dict) else record
    if not isinstance(found, list):
        return None
    return sum(isinstance(m, dict) and m.get("role") == "assistant" for m in found)


def _reject(
    tables: _Tables,
    reason: str,
    source: str,
    index: int | None,
    *,
    num_turns: int | None,
    detail: str = "",
    **ids: Any,
) -> None:
    row = {
        "stage": "extract",
        "reason": reason,
        "source": source,
        "source_index": index,
        "num_turns": num_turns,
    }
    tables.add("rejects", {**row, "detail": detail or None, **ids})


def _store(tables: _Tables, found: Trajectory, reader: str, source: str, index: int) -> bool:
    """Add a trajectory's rows; False (and a reject) where it is stored already."""
    usable = [_usable(tables, segment, source, index) for segment in found.segments]
    trajectory_id = _trajectory_id(found)
    num_turns = sum(m["role"] == "assistant" for s in usable for m in s.messages[s.num_inherited :])
    if not num_turns:
        raise BadTrajectory("no_turns", "no assistant message that can be used")
    if trajectory_id in tables.seen:
        detail = f"the same as trajectory {trajectory_id}"
        _reject(tables, "duplicate_trajectory", source, index, num_turns=num_turns, detail=detail)
        return False
    tables.seen.add(trajectory_id)
    turn_index = 0
    for number, segment in enumerate(usable):
        turn_index = _store_segment(tables, found, segment, trajectory_id, number, turn_index, (source, index))
    tables.add(
        "trajectories",
        {
            "trajectory_id": trajectory_id,
            "source": source,
            "source_index": index,
            "format": reader,
            "task_id": found.task_id,
            "domain": found.domain,
            "outcome": found.outcome,
            "num_segments": len(usable),
            "num_turns": turn_index,
            "metadata": jsonvalues.dumps(found.metadata) if found.metadata else None,
        },
    )
    return True


def _trajectory_id(found: Trajectory) -> str:
    content = [[s.messages, s.tools, s.num_inherited] for s in found.segments]
    return messages.digest(jsonvalues.canonical([content, found.task_id, found.outcome, found.metadata]))


def _usable(tables: _Tables, segment: Segment, source: str, index: int) -> Segment:
    """The segment up to its first message that no state can hold; the turns after it are one counted reject."""
    for position, message in enumerate(segment.messages):
        if problem := messages.problem(message):
            lost = _count_turns(segment.messages[max(position, segment.num_inherited) :])
            detail = f"message {position}: {problem[1]}"
            _reject(tables, problem[0], source, index, num_turns=lost, detail=detail)
            return replace(segment, messages=segment.messages[:position])
    return segment


def _store_segment(
    tables: _Tables,
    found: Trajectory,
    segment: Segment,
    trajectory_id: str,
    number: int,
    turn_index: int,
    place: tuple[str, int],
) -> int:
    segment_id, tools_id = f"{trajectory_id}/{number}", None
    if segment.tools:
        tools_id, text = messages.tools_id(segment.tools), jsonvalues.dumps(segment.tools)
        tables.add_once("tools", tools_id, {"tools_id": tools_id, "tools": text, "num_tools": len(segment.tools)})
    state, ids = messages.StateHash(tools_id), list[str]()
    for position, message in enumerate(segment.messages):
        if message["role"] == "assistant" and position >= segment.num_inherited:
            action = action_from_message(message)
            reason, detail = _turn_problem(message, action, segment.messages[position + 1 :])
            turn = {
                "turn_id": f"{trajectory_id}:{turn_index}",
                "trajectory_id": trajectory_id,
                "segment_id": segment_id,
                "turn_index": turn_index,
                "position": position,
                "state_id": state.state_id(),
                "tools_id": tools_id,
                "kind": action.kind,
                "demonstration": action_to_json(action),
                "domain": found.domain,
                "outcome": found.outcome,
                "reject_reason": reason,
            }
            tables.add("turns", turn)
            if reason:
                known = {k: turn[k] for k in ("trajectory_id", "turn_id", "state_id")}
                _reject(tables, reason, *place, num_turns=1, detail=detail, **known)
            turn_index += 1
        identity = messages.message_id(message)
        row = {"message_id": identity, "role": message["role"], "message": jsonvalues.dumps(message)}
        tables.add_once("messages", identity, row)
        ids.append(identity)
        state.add(message)
    row = {"segment_id": segment_id, "trajectory_id": trajectory_id, "segment_index": number}
    tables.add("segments", {**row, "tools_id": tools_id, "message_ids": ids})
    return turn_index


def _turn_problem(message: dict[str, Any], action: Any, after: list[dict[str, Any]]) -> tuple[str | None, str]:
    """Why a turn is not worth imitating, whatever its trajectory's outcome: (reason or None, detail)."""
    if message.get("weight") == 0 or message.get("is_demo") is True:
        return "masked", "the source excludes it from training"
    if action.unparsed:
        return "bad_arguments", action.unparsed[0].reason
    if not action.tool_calls and not action.message:
        return "empty_turn", "neither text nor call"
    reply = next((i for i, m in enumerate(after) if m["role"] not in ("tool", "function")), len(after))
    if action.tool_calls and messages.call_failed(after[:reply]):
        return "failed_call", "the recorded result reports a failure"
    return None, ""


def _min_outcome(config: ExtractConfig, labels: Counter[float | None], failures: set[float]) -> float | None:
    """The least label that makes a demonstration; infinity where all are failures; None where nothing is labelled."""
    if config.min_outcome is not None:
        return config.min_outcome
    best = max((label for label in labels if label is not None), default=None)
    return float("inf") if best is not None and best <= max(failures) else best


def _settle_turns(folder: Path, min_outcome: float | None) -> pl.DataFrame:
    """Mark the turns of trajectories below the least outcome, and write their rejects."""
    places = pl.read_parquet(folder / "trajectories" / "*.parquet").select("trajectory_id", "source", "source_index")
    kept: list[pl.DataFrame] = []
    for number, path in enumerate(sorted((folder / "turns").iterdir())):
        turns = pl.read_parquet(path)
        low = pl.col("reject_reason").is_null() & (pl.col("outcome") < min_outcome).fill_null(value=False)
        lost = turns.filter(low).join(places, on="trajectory_id", how="left", maintain_order="left")
        turns = turns.with_columns(reject_reason=pl.when(low).then(pl.lit(LOW_OUTCOME)).otherwise("reject_reason"))
        rundir.write_table(path, turns.to_arrow().cast(TABLES["turns"]))
        rows = lost.select(
            pl.lit("extract").alias("stage"),
            pl.lit(LOW_OUTCOME).alias("reason"),
            "source",
            "source_index",
            "trajectory_id",
            "turn_id",
            "state_id",
            pl.lit(1, pl.Int32).alias("num_turns"),
            (pl.lit("outcome ") + pl.col("outcome").cast(pl.String)).alias("detail"),
        )
        rundir.write_table(folder / "rejects" / f"low-{number:05d}.parquet", rows.to_arrow().cast(TABLES["rejects"]))
        kept.append(turns.select("state_id", "kind", "reject_reason"))
    return pl.concat(kept)


def _check_something_left(tables: _Tables, folder: Path) -> None:
    """Everything rejected is an error: the first reasons say why."""
    if tables.counts["trajectories"]:
        return
    rejects = pl.read_parquet(folder / "rejects" / "*.parquet")
    shutil.rmtree(folder)
    if rejects.is_empty():
        raise UserError("the sources hold no record at all")
    first = rejects.row(0, named=True)
    place = first["source"] if first["source_index"] is None else f"{first['source']}, record {first['source_index']}"
    raise UserError(
        f"all {len(rejects)} records were rejected; the first, {place}: {first['reason']}: {first['detail']}"
    )


def _move_in(run: Path, folder: Path, identity: dict[str, Any]) -> None:
    for table in rundir.EXTRACT_TABLES:
        shutil.rmtree(run / table, ignore_errors=True)
        (folder / table).rename(run / table)
    rejects = rundir.rejects_dir(run, "extract", identity)
    shutil.rmtree(rejects.parent, ignore_errors=True)
    rejects.parent.mkdir()
    (folder / "rejects").rename(rejects)
    folder.rmdir()


def _summary(
    tables: _Tables,
    turns: pl.DataFrame,
    labels: Counter[float | None],
    min_outcome: float | None,
    run: Path,
    identity: dict[str, Any],
    seconds: float,
) -> dict[str, Any]:
    rejects = pl.read_parquet(rundir.rejects_dir(run, "extract", identity) / "*.parquet")
    demonstrated = turns.filter(pl.col("reject_reason").is_null())
    return {
        **{name: tables.counts[name] for name in rundir.EXTRACT_TABLES},
        "states": turns["state_id"].n_unique(),
        "demonstrations": len(demonstrated),
        "demonstrated_states": demonstrated["state_id"].n_unique(),
        "outcomes": {
            str(k): labels[k]
            for k in sorted(labels, key=lambda label: (label is None, label if label is not None else 0.0))
        },
        "min_outcome": None if min_outcome == float("inf") else min_outcome,
        "all_failed": min_outcome == float("inf"),
        "rejects": reject_counts(rejects),
        "seconds": round(seconds, 2),
    }


def reject_counts(rejects: pl.DataFrame) -> dict[str, dict[str, int]]:
    """Per reason: rejected rows, and turns lost with them."""
    counted = rejects.group_by("reason").agg(pl.len().alias("rows"), pl.col("num_turns").sum()).sort("reason")
    return {r["reason"]: {"rows": r["rows"], "turns": r["num_turns"]} for r in counted.iter_rows(named=True)}
