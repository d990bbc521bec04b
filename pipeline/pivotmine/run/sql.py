"""DuckDB over a run: every table a view by its name, the empty ones too.

`RUN/views.sql` says the same to a plain `duckdb -init RUN/views.sql` in any directory; it holds absolute paths and is
written anew by every stage (and by `pivotmine sql`, for a run that was moved).
"""

from __future__ import annotations

import contextlib
from itertools import count, groupby
from pathlib import Path

import duckdb
import pyarrow as pa

from pivotmine.errors import UserError
from pivotmine.escape import one_line
from pivotmine.run import run_format, rundir
from pivotmine.run.tables import TABLES, absent_value

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
    extra = ", regexp_extract(filename, '([^/]*)/[^/]*$', 1) as pivots_name" if name == "pivots" else ""
    if files:
        forms: dict[tuple[str, ...], list[str]] = {}
        for folder, group in groupby(files, key=lambda path: path.parent):
            for lacking, patterns in _patterns(folder, list(group), name).items():
                forms.setdefault(lacking, []).extend(patterns)
        parts = [_select(name, lacking, patterns, extra) for lacking, patterns in forms.items()]
        return f'create or replace view "{name}" as {" union all ".join(parts)};'
    columns = ", ".join(f'null::{_duckdb_type(f.type)} as "{f.name}"' for f in TABLES[name])
    extra = ", null::VARCHAR as pivots_name" if extra else ""
    return f'create or replace view "{name}" as select {columns}{extra} where false;'


def _select(name: str, lacking: tuple[str, ...], patterns: list[str], extra: str) -> str:
    """Parts that lack the same columns, each column with the value that its declaration gives for older parts."""
    columns = ", ".join(
        f'{_absent(field)}::{_duckdb_type(field.type)} as "{field.name}"'
        if field.name in lacking
        else f'"{field.name}"'
        for field in TABLES[name]
    )
    filename = ", filename = true" if extra else ""
    return f"select {columns}{extra} from read_parquet([{', '.join(map(_quote, patterns))}]{filename})"


def _absent(column: pa.Field) -> str:
    value = absent_value(column)
    return "null" if value is None else _quote(str(value))


def _patterns(folder: Path, files: list[Path], name: str) -> dict[tuple[str, ...], list[str]]:
    """By lacking columns, the table's files in one folder.

    A folder without older parts is a glob, so that a plain DuckDB sees parts that are written later.
    """
    found: dict[tuple[str, ...], list[str]] = {}
    for path in files:
        found.setdefault(run_format.lacking(path, TABLES[name]), []).append(_escaped(path))
    if found.keys() == {()}:
        last = {"scores": "part-*.parquet", "profiles": "profiles.parquet"}.get(name, "*.parquet")
        return {(): [f"{_escaped(folder)}/{last}"]}
    return found


def _escaped(path: Path) -> str:
    """A path for DuckDB: brackets make its wildcards literal."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in str(path.resolve()))


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
