"""`sql`: statements that ask for the same, by their syntax, and queries that give the same rows, by trial.

The argument that holds the statement (or the code block of a message) is parsed by sqlglot; `sql_syntax` says
what its form leaves out. Statements that write are compared by their form alone.

Queries of different form are tried where the tables are known, from a SQLite file or from CREATE TABLE statements
in the state: both run in SQLite, on tables filled with generated rows that set apart what the queries' literals
set apart (test suites after Zhong et al. 2020, "Semantic Evaluation for Text-to-SQL with Distilled Test Suites"),
and on a copy of the file if there is one. They pass only if they read the same tables, hold the same literals,
both ask for an order or neither does, and give the same rows (values and column order; names are not compared) on
every database, with rows on several of them. One difference fails them. This is evidence and no proof: two
queries can agree on all of these and differ elsewhere, and another engine may read a query differently. So there
is `by_result = false`, and with a `dialect` other than SQLite's nothing is tried.

Queries run in a process of their own (`sql_worker.py`): memory, time and steps are bounded, nothing but SELECT is
allowed, and no file is written.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pivotmine.actions.action import Action
from pivotmine.errors import UserError
from pivotmine.verifiers.base import Outcome, State, Verdict, Verifier
from pivotmine.verifiers.sql.sql_schema import Schema, read_schema
from pivotmine.verifiers.sql.sql_syntax import Statements, UnreadableSql, read_sql
from pivotmine.verifiers.tool_calls.one_argument import prepare_code

MAX_DATABASE_BYTES = 64 * 1024 * 1024
TIMEOUT_S = 30.0
"""For the worker as a whole; its own limits are reached before on any machine that is not overloaded."""

_WORKER = Path(__file__).with_name("sql_worker.py")  # it is run, never imported
# What a query means by these is another thing each time.
_NOW = re.compile(
    r"\bnow\b|current_(?:date|time)|localtime|\b(?:date|time|datetime|julianday|unixepoch)\s{0,9}\(\s{0,9}\)"
    r"|\bstrftime\s{0,9}\([^,()]{0,80}\)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlOptions:
    arguments: tuple[str, ...] = ("query", "sql", "sql_query", "statement")
    """Arguments that hold a statement: the first of them that a call has. The rest compares as in `tool_call`."""
    dialect: str = ""
    """Name of sqlglot's dialect ("sqlite", "postgres", "mysql", ...); empty: common SQL. It decides whether
    letter case of names counts and what double quotes mean."""
    database: str = ""
    """A SQLite file that the queries are asked of, 64 MiB at most: read, never written. Empty: none."""
    by_result: bool = True
    """Queries of different form may pass by the rows that they give, where tables are known."""

    def __post_init__(self) -> None:
        if self.dialect:
            from sqlglot.dialects.dialect import Dialect

            if Dialect.get(self.dialect) is None:
                raise UserError(f'verifier sql, option dialect: sqlglot knows no "{self.dialect}": try "sqlite"')
        if not self.database:
            return
        path = Path(self.database)
        if not path.is_file() or path.stat().st_size > MAX_DATABASE_BYTES:
            raise UserError(f"verifier sql, option database: {self.database} is no file of 64 MiB at most")
        if self.dialect not in ("", "sqlite"):
            raise UserError(f'verifier sql, option database: leave out dialect "{self.dialect}", or the database')


class _Form(NamedTuple):
    text: str
    statements: Statements | None
    """None: not readable."""


def prepare(state: State, demonstration: Action, options: SqlOptions) -> Callable[[Action], Verdict]:
    """A judge of actions against one demonstration: calls with a statement, or a message that is one."""
    tries = options.by_result and options.dialect in ("", "sqlite")
    schema: Schema = read_schema(state.messages, state.tools) if tries and not options.database else {}

    def read(value: Any) -> _Form | None:
        return _read(value, options.dialect) if isinstance(value, str) else None

    def compare(demonstrated: _Form, given: _Form) -> Outcome:
        one, other = demonstrated.statements, given.statements
        if one is None or other is None:
            same = demonstrated.text.strip() == given.text.strip()
            return Outcome.CORRECT if same else Outcome.UNPROVEN
        if one.form == other.form and one.literals == other.literals:
            return Outcome.CORRECT
        if _are_different(one, other):
            return Outcome.WRONG_ARGUMENTS
        if not _may_agree(one, other):
            return Outcome.UNPROVEN
        known = bool(options.database) or one.tables <= schema.keys()
        if not tries or not known or _NOW.search(demonstrated.text) or _NOW.search(given.text):
            return Outcome.UNPROVEN
        return _by_trial(demonstrated.text, given.text, one, {t: schema[t] for t in one.tables if schema}, options)

    return prepare_code(state, demonstration, options.arguments, read, compare)


def _read(text: str, dialect: str) -> _Form:
    try:
        return _Form(text, read_sql(text, dialect))
    except UnreadableSql:
        return _Form(text, None)


def _are_different(one: Statements, other: Statements) -> bool:
    """Whether the syntax alone proves it: reading against writing, another table, or another literal and nothing else."""
    if one.is_query != other.is_query or one.tables != other.tables:
        return True
    return one.literals != other.literals and _without_literals(one.form) == _without_literals(other.form)


def _without_literals(form: Any) -> Any:
    """A form without the values of its literals, which also decide the order of some operands."""
    if not isinstance(form, tuple):
        return form
    if form[:1] == ("Literal",):
        return "Literal"
    if form[:1] and form[0] in ("And", "Or", "EQ", "NEQ") and len(form) == 2:
        return form[0], tuple(sorted(map(_without_literals, form[1]), key=repr))
    return tuple([_without_literals(part) for part in form])


def _may_agree(one: Statements, other: Statements) -> bool:
    """Two queries of the same tables with the same literals, both or neither in order."""
    both = one.is_query and other.is_query and one.is_ordered == other.is_ordered
    return both and one.tables == other.tables and one.literals == other.literals and bool(one.tables)


def _by_trial(one: str, other: str, statements: Statements, schema: Schema, options: SqlOptions) -> Outcome:
    task = {
        "schema": schema,
        "database": str(Path(options.database).resolve()) if options.database else "",
        "queries": [one, other],
        "literals": [_value(literal) for literal, _ in statements.literals],
        "is_ordered": statements.is_ordered,
    }
    try:
        # -I: neither the environment nor the working directory is looked at.
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
    version=2,
    kinds=frozenset({"tool_call", "message"}),
    abstains=True,
    reads_commands=True,
    needs_messages=True,
    requires=("sqlglot",),
    extra="verifiers",
)
