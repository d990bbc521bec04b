"""The second pass of extract, for what depends on all blocks.

A message, a set of tools or a trajectory may occur in several blocks; the first block keeps it. How good a trajectory
must be depends on the best outcome label of all sources. So each block is first written raw, as lightly compressed
Arrow files, and then rewritten as the run keeps it. Blocks are compared by ids only, on disk if there are many.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from pyarrow import ipc

from pivotmine.actions import NATIVE
from pivotmine.run import arrow_columns, rundir
from pivotmine.run.parts import file_digest
from pivotmine.run.tables import TABLES

pc: Any = pyarrow.compute  # its functions are made on import: no type checker sees them

if TYPE_CHECKING:
    import duckdb

BLOCKS = "blocks"
"""Folder of the raw blocks."""
IDS = {"messages": "message_id", "tools": "tools_id", "trajectories": "trajectory_id"}
"""Tables whose rows may occur in several blocks -> the column that identifies a row."""
_IDS_SCHEMA = pa.schema([("name", pa.string()), ("block", pa.int32()), ("row", pa.int32()), ("id", pa.string())])
_IDS = "ids"
"""Folder of the ids of the blocks' rows, one Parquet file per block."""
_LIGHTLY = ipc.IpcWriteOptions(compression="lz4")
LOW_OUTCOME = "low_outcome"
SPILLED = "spilled"
"""Folder for what DuckDB spills to disk."""
_MEMORY = "128MB"
"""Memory limit of DuckDB: enough for one thread and any number of rows. Four threads exceed it at 20 million rows."""


class BlockJob(NamedTuple):
    folder: Path
    """Holds the raw blocks; the tables are written below it."""
    number: int
    """Number of the block."""
    repeated: dict[str, list[int]]
    """Table -> indices of its rows that an earlier block has."""
    floor: float
    """Minimum outcome label of a demonstration; -infinity accepts any."""


class RejectCount(NamedTuple):
    rows: int
    turns: int | None
    """Turns lost with these rows; None if no row knows its number."""
    first: tuple[str, int | None, str | None]
    """Source, index in it and detail of the first row."""


class BlockTotals(NamedTuple):
    counts: Counter[str]
    """Rows of each table."""
    formats: Counter[str]
    """Trajectories by reader."""
    outcomes: Counter[float | None]
    """Trajectories by label."""
    outcome_keys: Counter[str]
    """Labelled trajectories by the key that held the label, or by their reader."""
    calls_without_tools: int
    """Demonstrations that call a tool in a state that offers none."""
    undocumented_masks: int
    """Turns with `mask: false`."""
    rejects: dict[str, RejectCount]
    """By reason."""
    digests: dict[str, str]
    """Digests of the written parts, by their paths in the folder."""


NOTHING = BlockTotals(Counter(), Counter(), Counter(), Counter(), 0, 0, {}, {})
NOTED = (pa.field("outcome_key", pa.string()), pa.field("undocumented_masks", pa.int32()))
"""More columns of `trajectories` in a raw block. The summary counts them; the run does not keep them."""


def part(folder: Path, table: str, number: int) -> Path:
    """Return the path of a block's part of a table."""
    return folder / table / f"part-{number:06d}.parquet"


def _raw_path(folder: Path, table: str, number: int) -> Path:
    return part(folder / BLOCKS, table, number).with_suffix(".arrow")


def write_block(folder: Path, number: int, tables: dict[str, pa.Table]) -> None:
    """Write a raw block. A table without rows gets no file."""
    for name, table in tables.items():
        if table.num_rows:
            path = _raw_path(folder, name, number)
            path.parent.mkdir(parents=True, exist_ok=True)
            with ipc.new_file(path, table.schema, options=_LIGHTLY) as file:
                file.write_table(table)
    ids = part(folder / BLOCKS, _IDS, number)
    ids.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(_ids(number, tables), ids, compression="none")


def block_jobs(folder: Path, num_blocks: int, floor: float) -> Iterator[BlockJob]:
    """Yield a job for each block, with its rows that an earlier block has."""
    repeats = _repeats(folder) if num_blocks > 1 else iter(())
    found = next(repeats, None)
    for number in range(num_blocks):
        repeated: dict[str, list[int]] = {}
        while found is not None and found[0] == number:
            repeated[found[1]] = found[2]
            found = next(repeats, None)
        yield BlockJob(folder, number, repeated, floor)


def _repeats(folder: Path) -> Iterator[tuple[int, str, list[int]]]:
    """Yield (block, table, indices of its rows that an earlier block has), in the order of blocks."""
    # Most ids occur in one block only. The query drops them before it collects rows.
    query = """
        with ids as not materialized (select name, block, row, id::uuid as same from read_parquet(?)),
        repeated as (select name, same, min(block) as first from ids group by all having count(*) > 1)
        select block, name, list(row) from ids join repeated using (name, same) where block > first group by all
        order by block
    """
    files = [str(path) for path in sorted((folder / BLOCKS / _IDS).iterdir())]
    answer = connect(folder).execute(query, [files])
    while (found := answer.fetchone()) is not None:
        yield found


def _ids(number: int, tables: dict[str, pa.Table]) -> pa.Table:
    """Return the ids of a block's rows, as _IDS_SCHEMA."""
    parts = [_ids_of(name, number, tables[name][column]) for name, column in IDS.items()]
    return pa.concat_tables(parts)


def _ids_of(name: str, number: int, ids: pa.ChunkedArray) -> pa.Table:
    same = {"name": arrow_columns.scalar(name, pa.string()), "block": arrow_columns.scalar(number, pa.int32())}
    made = {key: pa.repeat(value, len(ids)) for key, value in same.items()}
    return arrow_columns.table({**made, "row": range(len(ids)), "id": ids}, _IDS_SCHEMA)


def connect(folder: Path) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB with little memory, which spills to disk below the folder."""
    import duckdb

    connection = duckdb.connect()
    connection.execute("set enable_progress_bar = false; set threads = 1; set preserve_insertion_order = false")
    connection.execute(f"set memory_limit = '{_MEMORY}'")
    spilled = str(folder / SPILLED).replace("'", "''")
    connection.execute(f"set temp_directory = '{spilled}'")
    return connection


def merge_block(given: BlockJob) -> BlockTotals:
    """Write a block's tables as the run keeps them, and return their totals."""
    tables = {name: _read(given, name) for name in (*rundir.EXTRACT_TABLES, "rejects")}
    tables = _without_repeats(tables, given.repeated)
    tables = _with_low_outcomes(tables, given.floor)
    digests: dict[str, str] = {}
    for name, table in tables.items():
        if table.num_rows or given.number == 0:  # every table has at least one part, even an empty one
            kept, path = table.select(TABLES[name].names).cast(TABLES[name]), part(given.folder, name, given.number)
            rundir.write_table(path, kept)
            digests[path.relative_to(given.folder).as_posix()] = file_digest(path)
    for name in tables:
        _raw_path(given.folder, name, given.number).unlink(missing_ok=True)
    counts = Counter({name: table.num_rows for name, table in tables.items()})
    trajectories = tables["trajectories"]
    return BlockTotals(
        counts,
        Counter(trajectories["format"].to_pylist()),
        Counter(trajectories["outcome"].to_pylist()),
        Counter(key for key in _noted(trajectories, NOTED[0]) if key is not None),
        _calls_without_tools(tables["turns"], tables["segments"]),
        sum(_noted(trajectories, NOTED[1])),
        _reject_counts(tables["rejects"]),
        digests,
    )


def _noted(trajectories: pa.Table, field: pa.Field) -> list[Any]:
    return trajectories[field.name].to_pylist() if field.name in trajectories.column_names else []


def _calls_without_tools(turns: pa.Table, segments: pa.Table) -> int:
    """Count the native demonstrations that call a tool in a state without tools.

    A text convention describes its tools in the prompt, so its calls do not count.
    """
    is_text = pc.not_equal(segments["action_format"], _text(NATIVE))  # null for null, which the filter drops as native
    in_text = pc.is_in(turns["segment_id"], segments["segment_id"].filter(is_text))
    calls = pc.and_(pc.equal(turns["kind"], _text("tool_call")), pc.invert(in_text))
    bare = pc.and_(pc.is_null(turns["tools_id"]), pc.is_null(turns["reject_reason"]))
    return pc.sum(pc.and_(calls, bare)).as_py() or 0


def _read(given: BlockJob, name: str) -> pa.Table:
    path = _raw_path(given.folder, name, given.number)
    return _load(path) if path.exists() else arrow_columns.table_of_rows([], TABLES[name])


def _load(path: Path) -> pa.Table:
    """Read a table of a raw block."""
    return ipc.open_file(pa.memory_map(str(path))).read_all()


def _without_repeats(tables: dict[str, pa.Table], repeated: dict[str, list[int]]) -> dict[str, pa.Table]:
    """Drop the rows that an earlier block has. A repeated trajectory loses all its rows and gets one reject."""
    left = dict(tables)
    if rows := repeated.get("trajectories"):
        lost = tables["trajectories"].take(arrow_columns.column(sorted(rows), pa.int32()))
        for name in ("segments", "turns", "rejects"):
            left[name] = _outside(tables[name], "trajectory_id", lost["trajectory_id"])
        left["rejects"] = pa.concat_tables([left["rejects"], _duplicates(lost)])
    for name, rows in repeated.items():
        places = arrow_columns.column(range(tables[name].num_rows), pa.int32())
        again = pc.is_in(places, value_set=arrow_columns.column(rows, pa.int32()))
        left[name] = tables[name].filter(pc.invert(again))
    return left


def _outside(table: pa.Table, column: str, ids: pa.ChunkedArray) -> pa.Table:
    return table.filter(pc.invert(pc.is_in(table[column], value_set=ids)))


def _duplicates(lost: pa.Table) -> pa.Table:
    same = pc.binary_join_element_wise(_text("the same as trajectory"), lost["trajectory_id"], _text(" "))
    return _rejects("duplicate_trajectory", lost, detail=same)


def _with_low_outcomes(tables: dict[str, pa.Table], floor: float) -> dict[str, pa.Table]:
    """Mark the turns of trajectories below the minimum outcome, and add their rejects."""
    turns, trajectories = tables["turns"], tables["trajectories"]
    if math.isinf(floor) and floor < 0:
        return tables
    below = pc.less(turns["outcome"], arrow_columns.scalar(floor, pa.float64()))
    # By Kleene's rules a null outcome is not below the minimum.
    low = pc.and_kleene(pc.is_null(turns["reject_reason"]), pc.and_kleene(pc.is_valid(turns["outcome"]), below))
    lost = turns.filter(low)
    if not lost.num_rows:
        return tables
    reasons = pc.if_else(low, _text(LOW_OUTCOME), turns["reject_reason"])
    at = pc.index_in(lost["trajectory_id"], value_set=trajectories["trajectory_id"])
    for name in ("source", "source_index"):
        lost = lost.append_column(name, trajectories[name].take(at))
    lost = lost.append_column("num_turns", pa.repeat(arrow_columns.scalar(1, pa.int32()), lost.num_rows))
    labels = [f"outcome {outcome}" for outcome in lost["outcome"].to_pylist()]
    index = turns.schema.get_field_index("reject_reason")
    turns = turns.set_column(index, TABLES["turns"].field("reject_reason"), reasons)
    low_rejects = _rejects(LOW_OUTCOME, lost, detail=arrow_columns.column(labels, pa.string()))
    rejects = pa.concat_tables([tables["rejects"], low_rejects])
    return {**tables, "turns": turns, "rejects": rejects}


def _rejects(reason: str, rows: pa.Table, *, detail: Any) -> pa.Table:
    """Make rows of `rejects` from rows that have some of its columns; the other columns are null."""
    schema = TABLES["rejects"]
    made: dict[str, Any] = {
        "stage": pa.repeat(_text("extract"), rows.num_rows),
        "reason": pa.repeat(_text(reason), rows.num_rows),
        "detail": detail,
    }
    names = ("turn_id", "state_id", "trajectory_id") if "turn_id" in rows.column_names else ()
    for name in ("source", "source_index", "num_turns", *names):
        made[name] = rows[name]
    return arrow_columns.table({f.name: made.get(f.name, pa.nulls(rows.num_rows, f.type)) for f in schema}, schema)


def _text(text: str) -> pa.Scalar:
    return arrow_columns.scalar(text, pa.string())


def add(a: BlockTotals, b: BlockTotals) -> BlockTotals:
    """Add the counts of both. For each reason, keep the first reject of `a` if it has one, else that of `b`."""
    rejects = dict(a.rejects)
    for reason, more in b.rejects.items():
        if reason in rejects:
            known = [n for n in (rejects[reason].turns, more.turns) if n is not None]
            rows = rejects[reason].rows + more.rows
            rejects[reason] = RejectCount(rows, sum(known) if known else None, rejects[reason].first)
        else:
            rejects[reason] = more
    return BlockTotals(
        a.counts + b.counts,
        a.formats + b.formats,
        a.outcomes + b.outcomes,
        a.outcome_keys + b.outcome_keys,
        a.calls_without_tools + b.calls_without_tools,
        a.undocumented_masks + b.undocumented_masks,
        rejects,
        a.digests | b.digests,
    )


def _reject_counts(rejects: pa.Table) -> dict[str, RejectCount]:
    # Arrow's own grouping would import pandas: see `pivotmine.run.arrow_columns`.
    places, turns = dict[str, list[int]](), rejects["num_turns"].to_pylist()
    for place, reason in enumerate(rejects["reason"].to_pylist()):
        places.setdefault(reason, []).append(place)
    found: dict[str, RejectCount] = {}
    for reason, of in places.items():
        known = [n for place in of if (n := turns[place]) is not None]
        source, index, detail = (rejects[name][of[0]].as_py() for name in ("source", "source_index", "detail"))
        found[reason] = RejectCount(len(of), sum(known) if known else None, (source, index, detail))
    return found
