"""`sql`: statements that ask for the same, by their syntax, and queries that give the same rows, by trial.

sqlglot parses the argument that holds the statement, or the code block of a message. `sql_syntax` says what does not
count. Statements that write are compared by their form alone. Statements are different if one reads and the other
writes, if their tables differ, or if only their literals do. All other pairs of different forms are unproven, unless a
trial decides.

Queries are tried if their tables are known, from a SQLite file or from CREATE TABLE statements in the state. SQLite
runs both on a copy of the file, if there is one, and on generated tables, whose rows satisfy or just miss the queries'
conditions (test suites after Zhong et al. 2020, "Semantic Evaluation for Text-to-SQL with Distilled Test Suites"). If
the rows differ once, the queries are different. They pass only if all of this holds:

- They read the same tables and hold the same literals, and both or neither ask for an order.
- They give the same rows on every database: the same values in the same columns; names of columns do not count.
- The databases distinguish one of the queries from all its mutants (`sql_mutants`), and both from mutants that lack a
  function. A mutant may be equal if only the keys and NOT NULL make it so.

This is evidence, not a proof: two queries can agree on all databases and differ elsewhere, and another engine may read
a query differently. `by_result = false` switches trials off, and a `dialect` other than SQLite's has none.

Queries run in a separate process (`sql_worker.py`) with limits of memory, time and steps. Only SELECT is allowed, and
no file is written.
"""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from pivotmine.actions.action import Action
from pivotmine.errors import UserError
from pivotmine.verifiers.base import Outcome, State, Verdict, Verifier
from pivotmine.verifiers.sql import sql_worker
from pivotmine.verifiers.sql.sql_mutants import Kinds, TooManyMutants, mutants
from pivotmine.verifiers.sql.sql_schema import Keys, Schema, read_keys, read_schema
from pivotmine.verifiers.sql.sql_syntax import Statements, UnreadableSql, read_sql
from pivotmine.verifiers.sql.sql_trials import hints
from pivotmine.verifiers.tool_calls.one_argument import prepare_code
from pivotmine.verifiers.tool_calls.tool_call import ToolCallOptions

MAX_DATABASE_BYTES = 64 * 1024 * 1024
TIMEOUT_S = 30.0
"""Maximum wait for the worker. Its own limit of CPU time ends it earlier, unless the machine is overloaded."""

_WORKER = Path(__file__).with_name("sql_worker.py")  # run as a script, in a separate process
# The value of these depends on when the query runs.
_NOW = re.compile(
    r"\bnow\b|current_(?:date|time)|localtime|\b(?:date|time|datetime|julianday|unixepoch)\s{0,9}\(\s{0,9}\)"
    r"|\bstrftime\s{0,9}\([^,()]{0,80}\)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlOptions:
    arguments: tuple[str, ...] = ("query", "sql", "sql_query", "statement")
    """Arguments that may hold a statement; the first one that a call has counts. `tool_call` compares the rest."""
    dialect: str = ""
    """A dialect of sqlglot ("sqlite", "postgres", "mysql", ...). Empty means common SQL, or SQLite's with `database`.
    The dialect decides whether the letter case of names counts and what double quotes mean."""
    database: str = ""
    """The SQLite file that the queries are for, maximum 64 MiB. It is read and never written."""
    by_result: bool = True
    """Compare queries of different form by the rows that they give, if the tables are known."""
    rest: ToolCallOptions = field(default_factory=ToolCallOptions)
    """Options of `tool_call` for the other arguments. Default: those of the same config file, if it has any."""

    def __post_init__(self) -> None:
        if self.dialect:
            from sqlglot.dialects.dialect import Dialect

            if Dialect.get(self.dialect) is None:
                raise UserError(f'verifier sql, option dialect: sqlglot knows no "{self.dialect}": try "sqlite"')
        if not self.database:
            return
        path = Path(self.database)
        if not path.is_file() or path.stat().st_size > MAX_DATABASE_BYTES:
            raise UserError(f"verifier sql, option database: {self.database} is not a file of at most 64 MiB")
        if self.dialect not in ("", "sqlite"):
            raise UserError(f'verifier sql, option database: leave out dialect "{self.dialect}", or the database')


class _Form(NamedTuple):
    text: str
    statements: Statements | None
    """None if the text is not readable."""


def prepare(state: State, demonstration: Action, options: SqlOptions) -> Callable[[Action], Verdict]:
    """Return a scorer for one demonstration: a call with a statement, or a message that is one."""
    tries = options.by_result and options.dialect in ("", "sqlite")
    known = _Known({}, {}, {}, {})
    if options.database:
        known = _known_of_file(options.database)
    elif options.dialect in ("", "sqlite"):
        schema = read_schema(state.messages, state.tools)
        keys = {table: found for table, found in read_keys(state.messages, state.tools).items() if table in schema}
        kinds = {table: dict(columns) for table, columns in schema.items()}
        known = _Known(schema, keys, _columns(schema), kinds)
    dialect = "sqlite" if options.database else options.dialect

    def read(value: Any) -> _Form | None:
        return _read(value, dialect, known.columns) if isinstance(value, str) else None

    def compare(demonstrated: _Form, given: _Form) -> Outcome:
        one, other = demonstrated.statements, given.statements
        if one is None or other is None:
            same = demonstrated.text.strip() == given.text.strip()
            return Outcome.CORRECT if same else Outcome.UNPROVEN
        if one.form == other.form and one.literals == other.literals:
            return Outcome.CORRECT
        if _are_different(one, other):
            return Outcome.WRONG_ARGUMENTS
        may_try = tries and _may_agree(one, other) and one.tables <= known.columns.keys()
        if not may_try or _NOW.search(demonstrated.text) or _NOW.search(given.text):
            return Outcome.UNPROVEN
        return _by_trial((demonstrated.text, given.text), (one, other), known, options)

    return prepare_code(state, demonstration, options.arguments, read, compare, options.rest)


class _Known(NamedTuple):
    schema: Schema
    keys: Mapping[str, Keys]
    columns: Mapping[str, frozenset[str]]
    kinds: Kinds


def _columns(schema: Schema) -> dict[str, frozenset[str]]:
    return {table: frozenset(name for name, _ in columns) for table, columns in schema.items()}


@lru_cache(maxsize=32)
def _known_of_file(path: str) -> _Known:
    """Tables and columns of a SQLite file; the worker reads keys and rows itself."""
    database = sql_worker.open_database(str(Path(path).resolve()))
    try:
        tables = sql_worker.read_schema(database)
    except sqlite3.Error:
        return _Known({}, {}, {}, {})
    finally:
        database.close()
    columns = {table.lower(): frozenset(column[0].lower() for column in found) for table, found in tables.items()}
    kinds = {table.lower(): {name.lower(): kind for name, kind in found} for table, found in tables.items()}
    return _Known({}, {}, columns, kinds)


def _read(text: str, dialect: str, columns: Mapping[str, frozenset[str]]) -> _Form:
    try:
        return _Form(text, read_sql(text, dialect, columns))
    except UnreadableSql:
        return _Form(text, None)


def _are_different(one: Statements, other: Statements) -> bool:
    """Whether the syntax proves it: one reads and one writes, their tables differ, or only their literals do."""
    if one.is_query != other.is_query or one.tables != other.tables:
        return True
    return one.literals != other.literals and _without_literals(one.form) == _without_literals(other.form)


def _without_literals(form: Any) -> Any:
    """Drop the values of a form's literals, and sort again the operands that these values had ordered."""
    if not isinstance(form, tuple):
        return form
    if form[:1] == ("Literal",):
        return "Literal"
    if form[:1] and form[0] in ("And", "Or", "EQ", "NEQ") and len(form) == 2:
        return form[0], tuple(sorted(map(_without_literals, form[1]), key=repr))
    return tuple([_without_literals(part) for part in form])


def _may_agree(one: Statements, other: Statements) -> bool:
    """Whether both are queries of the same tables with the same literals, and both or neither ask for an order."""
    both = one.is_query and other.is_query and one.is_ordered == other.is_ordered
    return both and one.tables == other.tables and one.literals == other.literals and bool(one.tables)


def _by_trial(
    texts: tuple[str, str], statements: tuple[Statements, Statements], known: _Known, options: SqlOptions
) -> Outcome:
    trees = [statement.tree for statement in statements]
    values, groups = hints(trees, known.columns)
    try:
        changed = [mutants(tree, known.columns, known.kinds) for tree in trees]
    except TooManyMutants:
        return Outcome.UNPROVEN
    tables = statements[0].tables
    task = {
        "schema": {table: known.schema[table] for table in tables if table in known.schema},
        "keys": {table: known.keys[table] for table in tables if table in known.keys},
        "database": str(Path(options.database).resolve()) if options.database else "",
        "queries": texts,
        "mutants": [found.others for found in changed],
        "value_mutants": [found.with_less for found in changed],
        "values": values,
        "groups": groups,
        "literals": [_value(literal) for literal, _ in statements[0].literals],
        "is_ordered": statements[0].is_ordered,
    }
    try:
        # With -I, Python ignores the environment and the working directory.
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(_WORKER)],
            input=json.dumps(task),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=TIMEOUT_S,
            env={},
            cwd="/",
        )
    except subprocess.TimeoutExpired:
        return Outcome.UNPROVEN
    answers = {"equal": Outcome.CORRECT, "differ": Outcome.WRONG_ARGUMENTS}
    return answers.get(done.stdout, Outcome.UNPROVEN) if done.returncode == 0 else Outcome.UNPROVEN


def _value(literal: str) -> Any:
    if literal.startswith("'"):
        return literal[1:]
    try:
        number = float(literal)
    except ValueError:
        return literal
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


VERIFIER = Verifier(
    prepare=prepare,
    options=SqlOptions,
    version=5,
    kinds=frozenset({"tool_call", "message"}),
    abstains=True,
    reads_commands=True,
    needs_messages=True,
    requires=("sqlglot",),
    extra="verifiers",
)
