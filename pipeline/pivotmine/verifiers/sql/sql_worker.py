"""Two queries on generated tables, in a process of its own with little time and memory: `python -I THIS_FILE`.

Standard input is a JSON object: `schema` (columns by table) or `database` (a SQLite file, read as it is),
`queries` (two texts), `literals` (numbers and strings in them), `is_ordered`. Standard output is one word:

    equal    both gave the same rows every time, often enough rows, and not always the same ones
    differ   they gave different rows at least once
    unknown  anything else: an error, a limit, a query that may not run, results that show nothing

Only SELECT runs, on tables in memory, by an authoriser that refuses every other action: no ATTACH, no PRAGMA, no
write, no file, no function but the listed ones.
"""

from __future__ import annotations

import json
import random
import sqlite3
import sys
from collections import Counter
from typing import Any

NUM_DATABASES = 24
MAX_ROWS_READ = 20_000
MAX_STEPS = 1_000_000
"""Instructions of SQLite's virtual machine for one query on one database."""
MAX_VALUE_BYTES = 100_000
MAX_PATTERN_BYTES = 200
MEMORY_BYTES = 768 * 1024 * 1024
CPU_SECONDS = 10
STEPS_BETWEEN_CHECKS = 10_000

FUNCTIONS = frozenset((
    "abs", "avg", "char", "coalesce", "concat", "concat_ws", "count", "cume_dist", "date", "datetime", "dense_rank",
    "first_value", "floor", "ceil", "ceiling", "glob", "group_concat", "ifnull", "iif", "instr", "julianday", "lag",
    "last_value", "lead", "length", "like", "lower", "ltrim", "max", "min", "mod", "nth_value", "ntile", "nullif",
    "percent_rank", "rank", "replace", "round", "row_number", "rtrim", "sign", "strftime", "string_agg", "substr",
    "substring", "sum", "time", "total", "trim", "typeof", "unicode", "upper",
))  # fmt: skip
"""Functions that depend on their arguments alone; dates are refused earlier where they mean now."""

ALLOWED = frozenset((sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE))

Schema = dict[str, list[list[str]]]


def main() -> None:
    """Answer standard input."""
    limit_resources()
    task = json.load(sys.stdin)
    try:
        answer = compare(task)
    except (sqlite3.Error, sqlite3.Warning, MemoryError, ValueError, OverflowError):
        answer = "unknown"
    sys.stdout.write(answer)


def limit_resources() -> None:
    """Limits of the operating system, where it has them: memory, time, and no byte to any file."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def compare(task: dict[str, Any]) -> str:
    """The word for two queries; the same whichever of them comes first."""
    source = open_database(task["database"]) if task["database"] else None
    schema = read_schema(source) if source else task["schema"]
    seen: Counter[str] = Counter()
    for number in range(-1 if source else 0, NUM_DATABASES):
        database = copied(source) if source and number < 0 else generated(schema, task["literals"], number)
        # LIKE minds letter case on other engines.
        database.execute(f"pragma case_sensitive_like = {int(number > 0 and number % 2)}")
        restrict(database)
        rows = [run(database, query, is_ordered=task["is_ordered"]) for query in task["queries"]]
        if rows[0] != rows[1]:
            return "differ"
        seen[repr(rows[0])] += bool(rows[0][1])
        database.close()
    # Rows that are always there, or never, show nothing of conditions.
    return "equal" if +seen and len(+seen) >= 3 else "unknown"


def open_database(path: str) -> sqlite3.Connection:
    """A file as it is: neither written, nor locked, nor its journal read."""
    from urllib.parse import quote

    return sqlite3.connect(f"file:{quote(path)}?mode=ro&immutable=1", uri=True)


def read_schema(database: sqlite3.Connection) -> Schema:
    """Columns and kinds of every table."""
    schema: Schema = {}
    for (name,) in database.execute("select name from sqlite_master where type = 'table' and name not like 'sqlite_%'"):
        quoted = name.replace('"', '""')
        columns = database.execute(f'pragma table_info("{quoted}")').fetchall()
        schema[name] = [[column[1], affinity(column[2])] for column in columns]
    return schema


def affinity(declared: str) -> str:
    """Kind of values that a column is declared for."""
    words = (declared or "").upper()
    if "DATE" in words or "TIME" in words:
        return "date"
    if "INT" in words or "BOOL" in words:
        return "integer"
    return "real" if any(word in words for word in ("REAL", "FLOA", "DOUB", "NUM", "DEC")) else "text"


def copied(source: sqlite3.Connection) -> sqlite3.Connection:
    """The database in memory."""
    database = sqlite3.connect(":memory:")
    source.backup(database)
    return database


def generated(schema: Schema, literals: list[Any], number: int) -> sqlite3.Connection:
    """Tables in memory with rows that depend on the arguments alone: few values, nulls, doubles, and what stands
    just beside each literal, so that conditions, joins and counts come out differently where they differ."""
    database = sqlite3.connect(":memory:")
    for name, columns in sorted(schema.items()):
        quoted = ", ".join(f'"{column}" {"" if kind == "date" else kind}'.replace("\0", "") for column, kind in columns)
        database.execute(f'create table "{name}" ({quoted})')
        draw = random.Random(f"{number} {name} {json.dumps(literals)}")
        pools = [[sample(draw, values) for values in pools_of(kind, literals)] for _, kind in columns]
        size = draw.choice((1, 3, 8, 20, 40)) if number else 0
        rows = [[value(draw, pool) for pool in pools] for _ in range(size)]
        database.executemany(f'insert into "{name}" values ({", ".join("?" * len(columns))})', rows)
    return database


def sample(draw: random.Random, values: list[Any]) -> list[Any]:
    """Some of the values, few of them most of the time, so that equal ones meet."""
    return draw.sample(values, min(len(values), draw.choice((1, 2, 3, len(values)))))


def value(draw: random.Random, pools: list[list[Any]]) -> Any:
    """A null, or a value of one of the pools, of the literals' own more often than not."""
    return None if draw.random() < 0.1 else draw.choice(draw.choice([pool for pool in pools if pool]))


def pools_of(kind: str, literals: list[Any]) -> tuple[list[Any], list[Any], list[Any]]:
    """Values of one kind: the literals themselves, what stands just beside them, and others."""
    numbers = [literal for literal in literals if isinstance(literal, int | float)]
    texts = [literal for literal in literals if isinstance(literal, str)]
    if kind == "integer":
        return (
            sorted(set(map(int, numbers))),
            sorted({int(n) + step for n in numbers for step in (-1, 1)}),
            [0, 1, 2, 3, 4],
        )
    if kind == "real":
        return numbers, sorted({n + step for n in numbers for step in (-1, -0.5, 0.5, 1)}), [0, 0.5, 1, 2, 3]
    others = (
        ["2019-12-31", "2020-01-01", "2020-06-15 12:00:00", "2021-01-02"]
        if kind == "date"
        else ["a", "B", "ab c", "1", ""]
    )
    near: set[str] = set()
    for text in texts:
        bare = text.strip("%_")
        near |= {bare, bare.swapcase(), f"{bare}x", f"x{bare}", bare[:-1], bare[:-1] + chr(ord(bare[-1:] or "a") + 1)}
    return texts, sorted(near), others


def restrict(database: sqlite3.Connection) -> None:
    """From here on only bounded SELECTs."""
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
    database.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, MAX_PATTERN_BYTES)
    database.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    database.set_authorizer(authorize)


def authorize(action: int, first: str | None, second: str | None, schema: str | None, trigger: str | None) -> int:
    """SQLite's question whether a statement may do something."""
    if action in ALLOWED or (action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in FUNCTIONS):
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def run(database: sqlite3.Connection, query: str, *, is_ordered: bool) -> tuple[int, list[str]]:
    """Number of columns and the rows: in order where the query asks for one, else sorted."""
    checks = MAX_STEPS // STEPS_BETWEEN_CHECKS

    def out_of_steps() -> int:
        nonlocal checks
        checks -= 1
        return int(checks < 0)

    database.set_progress_handler(out_of_steps, STEPS_BETWEEN_CHECKS)
    cursor = database.execute(query)
    rows = cursor.fetchmany(MAX_ROWS_READ + 1)
    if len(rows) > MAX_ROWS_READ:
        raise ValueError("too many rows")
    shown = [repr([f"{value:.12g}." if isinstance(value, float) else value for value in row]) for row in rows]
    return len(cursor.description or ()), shown if is_ordered else sorted(shown)


if __name__ == "__main__":
    main()
