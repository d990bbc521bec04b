"""Compare two queries on generated tables, in a separate process with little time and memory: `python -I THIS_FILE`.

Standard input is a JSON object: `schema` (columns by table) or `database` (a SQLite file, read as it is), `keys`,
`queries` (two texts), `mutants` and `value_mutants` (a list of texts for each query), `values` and `groups` (from
`sql_trials.hints`), `literals` (numbers and strings in the queries), `is_ordered`. Standard output is one word:

    equal    both gave the same rows every time, and at least three different sets of rows; every mutant of one of them
             and every value mutant of either gave other rows
    differ   they gave different rows at least once
    unknown  anything else: an error, a limit, a query that may not run, results that show nothing

The two queries are compared on tables that obey the declared keys. A mutant may also give other rows on tables that
break the keys: then only the keys make it equal. Only SELECT runs, on tables in memory. An authoriser refuses every
other action: no ATTACH, no PRAGMA, no write, no file, no function but the listed ones.
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
MEMORY_BYTES = 512 * 1024 * 1024
CPU_SECONDS = 4
STEPS_BETWEEN_CHECKS = 10_000

FUNCTIONS = frozenset((
    "abs", "avg", "char", "coalesce", "concat", "concat_ws", "count", "cume_dist", "date", "datetime", "dense_rank",
    "first_value", "floor", "ceil", "ceiling", "glob", "group_concat", "ifnull", "iif", "instr", "julianday", "lag",
    "last_value", "lead", "length", "like", "lower", "ltrim", "max", "min", "mod", "nth_value", "ntile", "nullif",
    "percent_rank", "rank", "replace", "round", "row_number", "rtrim", "sign", "strftime", "string_agg", "substr",
    "substring", "sum", "time", "total", "trim", "typeof", "unicode", "upper",
))  # fmt: skip
"""Functions that depend on their arguments alone. Date functions that mean now are refused earlier."""

ALLOWED = frozenset((sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE))

TEXTS = ["a", "A", "b", "B", " a", "a ", "ab c", "AB C", " ab ", "abcd", "1", "10", "9", "-2", "2.5", "", "héé"]
"""Texts that differ in letter case or outer blanks, and numbers as texts."""

Schema = dict[str, list[list[str]]]


def main() -> None:
    """Read a task from standard input and write the answer."""
    limit_resources()
    task = json.load(sys.stdin)
    try:
        answer = compare(task)
    except (sqlite3.Error, sqlite3.Warning, MemoryError, ValueError, OverflowError):
        answer = "unknown"
    sys.stdout.write(answer)


def limit_resources() -> None:
    """Limit memory and CPU time, and allow no byte to be written to a file."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def compare(task: dict[str, Any]) -> str:
    """Return the answer for two queries. Their order does not matter."""
    source = open_database(task["database"]) if task["database"] else None
    schema = read_schema(source) if source else task["schema"]
    keys = read_keys(source) if source else task.get("keys", {})
    hints = task.get("values", {}), task.get("groups", [])
    alive = [set(mutants) for mutants in task.get("mutants", [])]
    values_alive = [set(mutants) for mutants in task.get("value_mutants", [])]
    seen: Counter[str] = Counter()
    for number in range(-1 if source else 0, NUM_DATABASES):
        database = copied(source) if source and number < 0 else generated(schema, task["literals"], number, keys, hints)
        rows = rows_of(database, number, task)
        if rows[0] != rows[1]:
            return "differ"
        seen[repr(rows[0])] += bool(rows[0][1])
        kill(alive, rows, database, task)
        kill(values_alive, rows, database, task)
        database.close()
        if (all(alive) or any(values_alive)) and keys and number >= 0:
            free = generated(schema, task["literals"], number, {}, hints)
            free_rows = rows_of(free, number, task)
            kill(alive, free_rows, free, task)
            kill(values_alive, free_rows, free, task)
            free.close()
    # Results that hardly vary show nothing about the conditions.
    told_apart = (not alive or not all(alive)) and not any(values_alive)
    return "equal" if +seen and len(+seen) >= 3 and told_apart else "unknown"


def rows_of(database: sqlite3.Connection, number: int, task: dict[str, Any]) -> list[tuple[int, list[str]]]:
    """Run both queries on a database."""
    # On other engines LIKE distinguishes letter case, so it does on half of the databases.
    database.execute(f"pragma case_sensitive_like = {int(number > 0 and number % 2)}")
    restrict(database)
    return [run(database, query, is_ordered=task["is_ordered"]) for query in task["queries"]]


def kill(alive: list[set[str]], rows: list[Any], database: sqlite3.Connection, task: dict[str, Any]) -> None:
    """Drop the mutants that do not give the rows of their query, and those that cannot run."""
    for mutants, expected in zip(alive, rows, strict=True):
        for mutant in sorted(mutants):
            try:
                same = run(database, mutant, is_ordered=task["is_ordered"]) == expected
            except (sqlite3.Error, sqlite3.Warning, ValueError):
                same = False
            if not same:
                mutants.discard(mutant)


def open_database(path: str) -> sqlite3.Connection:
    """Open a file as it is: it is not written or locked, and its journal is not read."""
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


def read_keys(database: sqlite3.Connection) -> dict[str, list[Any]]:
    """By table: the columns that are never null, and the groups of columns in which no two rows are equal."""
    keys: dict[str, list[Any]] = {}
    for (name,) in database.execute("select name from sqlite_master where type = 'table' and name not like 'sqlite_%'"):
        quoted = name.replace('"', '""')
        columns = database.execute(f'pragma table_info("{quoted}")').fetchall()
        primary = [column[1] for column in columns if column[5]]
        unique = [primary] if primary else []
        for index in database.execute(f'pragma index_list("{quoted}")').fetchall():
            if index[2] and not index[4]:
                inner = index[1].replace('"', '""')
                unique.append([part[2] for part in database.execute(f'pragma index_info("{inner}")').fetchall()])
        keys[name] = [[column[1] for column in columns if column[3] or column[5]], unique]
    return keys


def affinity(declared: str) -> str:
    """The kind of values that a declared type stands for."""
    words = (declared or "").upper()
    if "DATE" in words or "TIME" in words:
        return "date"
    if "INT" in words or "BOOL" in words:
        return "integer"
    return "real" if any(word in words for word in ("REAL", "FLOA", "DOUB", "NUM", "DEC")) else "text"


def copied(source: sqlite3.Connection) -> sqlite3.Connection:
    """Copy a database into memory."""
    database = sqlite3.connect(":memory:")
    source.backup(database)
    return database


def generated(
    schema: Schema,
    literals: list[Any],
    number: int,
    keys: dict[str, Any] | None = None,
    hints: tuple[dict[str, Any], list[Any]] = ({}, []),
) -> sqlite3.Connection:
    """Generate tables in memory, with rows that depend on the arguments alone.

    The rows repeat few values, with nulls, duplicates and values next to each literal. So a difference between
    conditions, joins or counts shows in the results. About half of the rows satisfy the queries' conditions. Columns
    that the queries equate share their values. Rows that break the keys are repaired or left out.
    """
    database = sqlite3.connect(":memory:")
    values, groups = hints
    shared = {(table, column): place for place, group in enumerate(groups) for table, column in group}
    for name, columns in sorted(schema.items()):
        quoted = ", ".join(f'"{column}" {"" if kind == "date" else kind}'.replace("\0", "") for column, kind in columns)
        database.execute(f'create table "{name}" ({quoted})')
        draw = random.Random(f"{number} {name} {json.dumps(literals)}")
        pools = [[sample(draw, values) for values in pools_of(kind, literals)] for _, kind in columns]
        wanted = [
            [fitting(kind, found) for found in values.get(name.lower(), {}).get(column.lower(), ([], []))]
            for column, kind in columns
        ]
        joined = [shared.get((name.lower(), column.lower())) for column, _ in columns]
        size = draw.choice((1, 3, 8, 20, 40)) if number else 0
        rows = [[value(draw, pool) for pool in pools] for _ in range(size)]
        null_share = draw.choice((0, 0.1, 0.3))
        for row in rows[: size - size // 4 if values or groups else 0]:
            satisfies = draw.random() < 0.6
            for place, ((good, near), group) in enumerate(zip(wanted, joined, strict=True)):
                if near:
                    row[place] = draw.choice(good if good and satisfies else near)
                elif group is not None:
                    row[place] = common(draw, columns[place][1], number, group)
                if draw.random() < (null_share / 3 if near else null_share):
                    row[place] = None
        rows += [list(draw.choice(rows)) for _ in range(size // 4)]
        rows = obeying(rows, [column for column, _ in columns], (keys or {}).get(name), draw)
        database.executemany(f'insert into "{name}" values ({", ".join("?" * len(columns))})', rows)
    return database


def fitting(kind: str, values: list[Any]) -> list[Any]:
    """The values that a column of this kind may hold."""
    return [value for value in values if kind != "integer" or not isinstance(value, float) or value.is_integer()]


def common(draw: random.Random, kind: str, number: int, group: int) -> Any:
    """Draw a value of columns that queries equate, or a variant: in other letter case, padded or negated."""
    place = draw.randrange((2, 4, 9)[number % 3])
    is_twin = draw.random() < 0.2
    if kind != "text":
        return f"k{group}{place}" if kind == "date" else -place if is_twin else place
    return (
        draw.choice((f"K{group}{place}", f" k{group}{place}", f"k{group}{place} ")) if is_twin else f"k{group}{place}"
    )


def obeying(rows: list[list[Any]], columns: list[str], keys: Any, draw: random.Random) -> list[list[Any]]:
    """Make rows obey the keys: replace nulls in NOT NULL columns, and numbers that occur twice in a key.

    Of other rows with equal keys only the first is kept.
    """
    if not keys:
        return rows
    names = [column.lower() for column in columns]
    for column in keys[0]:
        place = names.index(column.lower())
        filled = [row[place] for row in rows if row[place] is not None] or [0]
        for row in rows:
            row[place] = draw.choice(filled) if row[place] is None else row[place]
    for group in keys[1]:
        places = [names.index(column.lower()) for column in group]
        kept: dict[Any, list[Any]] = {}
        for number, row in enumerate(rows):
            if len(places) == 1 and type(row[places[0]]) is int and (None, repr(row[places[0]])) in kept:
                row[places[0]] = next(free for free in range(1000) if (None, repr(free)) not in kept)
            key = tuple(row[place] for place in places)
            kept.setdefault((number if None in key else None, *map(repr, key)), row)
        rows = list(kept.values())
    return rows


def sample(draw: random.Random, values: list[Any]) -> list[Any]:
    """Draw some of the values, mostly few, so that rows share values."""
    return draw.sample(values, min(len(values), draw.choice((1, 2, 3, len(values)))))


def value(draw: random.Random, pools: list[list[Any]]) -> Any:
    """Draw a null, or a value of one of the pools."""
    return None if draw.random() < 0.1 else draw.choice(draw.choice([pool for pool in pools if pool]))


def pools_of(kind: str, literals: list[Any]) -> tuple[list[Any], list[Any], list[Any]]:
    """Values of one kind: the literals themselves, values just next to them, and others."""
    numbers = [literal for literal in literals if isinstance(literal, int | float)]
    texts = [literal for literal in literals if isinstance(literal, str)]
    if kind == "integer":
        near_numbers = sorted({found for n in map(int, numbers) for found in (n - 1, n + 1, -n)})
        return sorted(set(map(int, numbers))), near_numbers, [0, 1, 2, 3, 4, -1, -2, -3, 10]
    if kind == "real":
        near_numbers = sorted({found for n in numbers for found in (n - 1, n - 0.5, n + 0.25, n + 1, -n)})
        return numbers, near_numbers, [0, 0.5, 1, 2, 3, -1, -1.5, -0.25, 2.125, 10.0]
    dates = ["2019-12-31", "2020-01-01", "2020-06-15 12:00:00", "2021-01-02", "1999-02-03"]
    others = dates if kind == "date" else TEXTS
    near: set[str] = set()
    for text in texts:
        bare = text.strip("%_")
        near |= {bare, bare.swapcase(), f"{bare}x", f"x{bare}", bare[:-1], bare[:-1] + chr(ord(bare[-1:] or "a") + 1)}
        near |= {f" {bare}", f"{bare} ", bare.lower(), bare.upper()}
    return texts, sorted(near), others


def restrict(database: sqlite3.Connection) -> None:
    """Allow only bounded SELECTs from here on."""
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
    database.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, MAX_PATTERN_BYTES)
    database.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    database.set_authorizer(authorize)


def authorize(action: int, first: str | None, second: str | None, schema: str | None, trigger: str | None) -> int:
    """Answer SQLite whether a statement may take an action."""
    if action in ALLOWED or (action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in FUNCTIONS):
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def run(database: sqlite3.Connection, query: str, *, is_ordered: bool) -> tuple[int, list[str]]:
    """Run a query: the number of columns, and the rows, sorted unless the query asks for an order."""
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
