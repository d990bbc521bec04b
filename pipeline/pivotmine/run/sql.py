"""DuckDB over a run: every table is a view with its name, even if it is empty.

A plain `duckdb -init RUN/views.sql` in any directory gives the same views. The file contains absolute paths, so every
stage rewrites it, and `pivotmine sql` does so for a run that was moved.
"""

from __future__ import annotations

import contextlib
import re
from concurrent.futures import ThreadPoolExecutor
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

_OF_SELECTIONS = ("pivots", "demonstrations")
"""Tables in the folder of a selection; their views have its name as a column."""
_LAST = {
    "scores": "part-*.parquet",
    "profiles": "profiles.parquet",
    "pivots": "[tv]*.parquet",
    "demonstrations": "demonstrations.parquet",
    **{f"audit_{name}": f"{name}.parquet" for name in ("trials", "errors", "constants")},
}
"""File patterns of tables that share a folder with other tables."""

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
    first(domain order by turn_id) as domain,
    first(demonstration order by reject_reason is not null, turn_id) as demonstration
from turns
group by state_id;
"""


_LAST_VIEWS = """\
create or replace view last_{table} as
select * from {table}
qualify row_number() over (partition by {key}, state_id, sample_index order by budget desc nulls last) = 1;
"""
"""One row per sample, that of its largest token budget."""
_KEYS = {"rollouts": "policy_id", "scores": "policy_id, verifier_id"}


def views(run: Path) -> str:
    """SQL that creates one view per table, and `states`, `last_rollouts` and `last_scores`."""
    last = (_LAST_VIEWS.format(table=table, key=key) for table, key in _KEYS.items())
    return "\n".join([*(_view(run, name) for name in TABLES), _STATES_VIEW, *last])


def _view(run: Path, name: str) -> str:
    files = rundir.table_files(run, name)
    for path in files:
        rundir.require_whole(path, name)
    extra = ", regexp_extract(filename, '([^/]*)/[^/]*$', 1) as pivots_name" if name in _OF_SELECTIONS else ""
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
    """Select from parts that lack the same columns, with the value that `absent=` declares for each of them."""
    columns = ", ".join(
        f'{_absent(field)}::{_duckdb_type(field.type)} as "{field.name}"'
        if field.name in lacking
        else f'"{field.name}"'
        for field in TABLES[name]
    )
    filename = ", filename = true" if extra else ""
    return f"select {columns}{extra} from read_parquet([{', '.join(map(quoted, patterns))}]{filename})"


def _absent(column: pa.Field) -> str:
    value = absent_value(column)
    return "null" if value is None else quoted(str(value))


def _patterns(folder: Path, files: list[Path], name: str) -> dict[tuple[str, ...], list[str]]:
    """The table's files in one folder, grouped by the columns that they lack.

    A folder without older parts becomes a glob, so that a plain DuckDB also sees parts that are written later.
    """
    found: dict[tuple[str, ...], list[str]] = {}
    for path in files:
        found.setdefault(run_format.lacking(path, TABLES[name]), []).append(_escaped(path))
    if found.keys() == {()}:
        last = _LAST.get(name, "*.parquet")
        return {(): [f"{_escaped(folder)}/{last}"]}
    return found


def _escaped(path: Path) -> str:
    """A path for DuckDB: brackets make its wildcards literal."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in str(path.resolve()))


def quoted(text: str) -> str:
    """A text as an SQL string literal."""
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


def query(run: Path, statement: str, *, unsafe: bool = False) -> pa.Table:
    """The answer to the last of one or more SQL statements over a run; see `query_all`."""
    return query_all(run, statement, unsafe=unsafe)[-1]


def query_all(run: Path, statements: str, *, unsafe: bool = False) -> list[pa.Table]:
    """The answers to SQL statements over a run, in order; UserError if DuckDB refuses one.

    Only statements that read are run, and they can read only the run's files, because a statement may come from a page
    or a model. `unsafe` lifts both limits.
    """
    rundir.require_run(run)
    with contextlib.suppress(OSError):  # a run on a read-only disk can still be queried
        write_views(run)
    connection = connect(run)
    try:
        if not unsafe:
            connection.execute(
                "set allowed_directories = $folders", {"folders": [f"{run.resolve()}/", f"{_escaped(run)}/"]}
            )
            connection.execute("set enable_external_access = false")
            connection.execute("set lock_configuration = true")
        parsed = connection.extract_statements(statements)
        if not unsafe and (refused := next((one for one in parsed if not _reads(connection, one)), None)):
            kind = refused.type.name.replace("_", " ").lower()
            raise UserError(f"sql: {kind} statements are not allowed, only reading ones; --unsafe allows them")
        answers = [connection.sql(one.query) for one in parsed]
        tables = [_answer(connection, answer) for answer in answers if answer is not None]  # pyright: ignore[reportUnnecessaryComparison]
    except (duckdb.Error, pa.ArrowException) as error:
        # DuckDB repeats the statement below its message, and a message may quote a cell.
        raise UserError(f"DuckDB: {one_line(str(error).split(chr(10) * 2 + 'LINE ')[0])}") from None
    if not tables:
        raise UserError("the statement returns no table: use select")
    return [table.rename_columns(_distinct(table.column_names)) for table in tables]


def _answer(connection: duckdb.DuckDBPyConnection, relation: duckdb.DuckDBPyRelation) -> pa.Table:
    """Run a query in a thread, so that Ctrl-C and SIGTERM interrupt it: DuckDB does not check for signals."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(relation.to_arrow_table)
        try:
            return answer.result()
        except BaseException:
            connection.interrupt()
            raise


_EXPLAIN = re.compile(r"\s*explain\b(\s+analyze\b)?", re.IGNORECASE)


def _reads(connection: duckdb.DuckDBPyConnection, statement: duckdb.Statement) -> bool:
    """Whether a statement only reads. `explain analyze` runs its statement, so that one is checked too."""
    if statement.type != duckdb.StatementType.EXPLAIN:
        return statement.type == duckdb.StatementType.SELECT
    inner = connection.extract_statements(_EXPLAIN.sub("", statement.query, count=1))
    return len(inner) == 1 and inner[0].type == duckdb.StatementType.SELECT


def _distinct(names: list[str]) -> list[str]:
    """Unique column names: `select 1 as a, 2 as a` has `a` and `a_1`."""
    found: dict[str, None] = {}
    for name in names:
        numbered = (f"{name}_{i}" for i in count(1))
        found[name if name not in found else next(n for n in numbered if n not in found and n not in names)] = None
    return list(found)
