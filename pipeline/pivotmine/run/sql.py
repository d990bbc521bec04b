"""DuckDB over a run: every table a view by its name, the empty ones too.

`RUN/views.sql` says the same to a plain `duckdb -init RUN/views.sql` in any directory; it holds absolute paths and is
written anew by every stage (and by `pivotmine sql`, for a run that was moved).
"""

from __future__ import annotations

import contextlib
from itertools import count
from pathlib import Path

import duckdb
import pyarrow as pa

from pivotmine.errors import UserError
from pivotmine.escape import one_line
from pivotmine.run import rundir
from pivotmine.run.tables import TABLES

_TYPES = {
    pa.string(): "VARCHAR",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE",
    pa.float32(): "FLOAT",
    pa.bool_(): "BOOLEAN",
}

_STATES_VIEW = """\
create or replace view states as
select
    state_id,
    count(*)::INTEGER as num_turns,
    count(distinct trajectory_id)::INTEGER as num_trajectories,
    (count(*) filter (reject_reason is null))::INTEGER as num_demonstrations,
    min(turn_id) as turn_id,
    first(segment_id order by turn_id) as segment_id,
    first("position" order by turn_id) as "position",
    first(tools_id order by turn_id) as tools_id,
    first(domain order by turn_id) as domain
from turns
group by state_id;
"""


def views(run: Path) -> str:
    """SQL that creates a view a table, and `states`."""
    return "\n".join([*(_view(run, name) for name in TABLES), _STATES_VIEW])


def _view(run: Path, name: str) -> str:
    files = rundir.table_files(run, name)
    for path in files:
        rundir.require_whole(path, name)
    if files:
        columns = ", ".join(f'"{column}"' for column in TABLES[name].names)
        folders = sorted({path.parent for path in files})
        patterns = [_pattern(folder, name) for folder in folders]
        listed = ", ".join(_quote(pattern) for pattern in patterns)
        extra = ", regexp_extract(filename, '([^/]*)/[^/]*$', 1) as pivots_name" if name == "pivots" else ""
        filename = ", filename = true" if extra else ""
        return f'create or replace view "{name}" as select {columns}{extra} from read_parquet([{listed}]{filename});'
    columns = ", ".join(f'null::{_duckdb_type(f.type)} as "{f.name}"' for f in TABLES[name])
    extra = ", null::VARCHAR as pivots_name" if name == "pivots" else ""
    return f'create or replace view "{name}" as select {columns}{extra} where false;'


def _pattern(folder: Path, name: str) -> str:
    """The table's files in one folder as a DuckDB glob; brackets keep the folder's own wildcards literal."""
    escaped = "".join(f"[{c}]" if c in "*?[" else c for c in str(folder.resolve()))
    last = {"scores": "part-*.parquet", "profiles": "profiles.parquet"}.get(name, "*.parquet")
    return f"{escaped}/{last}"


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _duckdb_type(kind: pa.DataType) -> str:
    return f"{_TYPES[kind.value_type]}[]" if isinstance(kind, pa.ListType) else _TYPES[kind]


def write_views(run: Path) -> None:
    """Write `RUN/views.sql`."""
    rundir.write_text(run / "views.sql", views(run))


def connect(run: Path) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB that sees the run's tables."""
    connection = duckdb.connect()
    connection.execute("set enable_progress_bar = false")
    connection.execute(views(run))
    return connection


def query(run: Path, statement: str) -> pa.Table:
    """The answer to one SQL statement over a run; a statement that DuckDB refuses is a UserError."""
    rundir.require_run(run)
    with contextlib.suppress(OSError):  # a run on a read-only disk can be queried all the same
        write_views(run)
    connection = connect(run)
    try:
        answer = connection.sql(statement)
        if answer is None:  # pyright: ignore[reportUnnecessaryComparison]
            raise UserError("the statement gives no table: ask with select")
        table = answer.to_arrow_table()
    except (duckdb.Error, pa.ArrowException) as error:
        # DuckDB repeats the statement below its message, and a message may quote a cell.
        raise UserError(f"DuckDB: {one_line(str(error).split(chr(10) * 2 + 'LINE ')[0])}") from None
    return table.rename_columns(_distinct(table.column_names))


def _distinct(names: list[str]) -> list[str]:
    """Column names, none twice: `select 1 as a, 2 as a` has `a` and `a_1`."""
    found: dict[str, None] = {}
    for name in names:
        numbered = (f"{name}_{i}" for i in count(1))
        found[name if name not in found else next(n for n in numbered if n not in found and n not in names)] = None
    return list(found)
